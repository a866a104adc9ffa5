"""Stray motion: how strongly something moves outside of all tracks. Compiled, since it is asked once a frame."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.policies.base import F32

Bool = NDArray[np.bool_]

MOVING_PX = 0.5  # a step above quarter-pixel noise
FASTEST_PX = 4.0  # a faster cell counts as this fast
REACH = 5  # cells; motion is summed over windows of this side
NEIGHBOURS = 3  # moving cells beside a moving cell, without which it is noise
FORGET = 0.01  # share of one frame in what is known of a cell's restlessness
RESTLESS = 0.25  # a cell that moves in this share of the frames counts nothing


@njit(cache=True, nogil=True)
def _medians(motion, known):  # type: ignore[no-untyped-def]
    """Medians of both components over the known cells, by histograms of quarter pixels, and how many cells are not known."""
    counts = np.zeros((2, 513), np.int64)
    zeros = n = 0
    for r in range(known.shape[0]):
        for c in range(known.shape[1]):
            if not known[r, c]:
                continue
            n += 1
            x, y = motion[r, c, 0], motion[r, c, 1]
            if x == 0 and y == 0:
                zeros += 1
                continue
            counts[0, min(max(int(np.round(4 * x)), -256), 256) + 256] += 1
            counts[1, min(max(int(np.round(4 * y)), -256), 256) + 256] += 1
    counts[0, 256] += zeros
    counts[1, 256] += zeros
    out = np.zeros(2)
    for axis in range(2):
        passed = 0
        for bin in range(513):
            passed += counts[axis, bin]
            if 2 * passed >= n:
                out[axis] = (bin - 256) / 4.0
                break
    return out[0], out[1], known.size - n


@njit(cache=True, nogil=True)
def _mark(boxes, cell, covered):  # type: ignore[no-untyped-def]
    rows, cols = covered.shape
    for i in range(boxes.shape[0]):
        dx = 0.25 * (boxes[i, 2] - boxes[i, 0]) / cell + 1
        dy = 0.25 * (boxes[i, 3] - boxes[i, 1]) / cell + 1
        c0, c1 = max(int(boxes[i, 0] / cell - dx), 0), min(int(boxes[i, 2] / cell + dx) + 1, cols)
        r0, r1 = max(int(boxes[i, 1] / cell - dy), 0), min(int(boxes[i, 3] / cell + dy) + 1, rows)
        for r in range(r0, r1):
            for c in range(c0, c1):
                covered[r, c] = True


@njit(cache=True, nogil=True)
def _active(motion, known):  # type: ignore[no-untyped-def]
    """Cells (rows, cols) that move with their neighbours, beyond the picture's own motion; that motion in pixels; how many
    cells are not known."""
    rows, cols = known.shape
    mx, my, unknown = _medians(motion, known)
    moves = np.zeros((rows + 2, cols + 2), np.bool_)
    still = max(abs(mx), abs(my)) <= MOVING_PX
    for r in range(rows):
        for c in range(cols):
            x, y = motion[r, c, 0], motion[r, c, 1]
            if not known[r, c] or (still and x == 0 and y == 0):
                continue
            moves[r + 1, c + 1] = max(abs(x - mx), abs(y - my)) > MOVING_PX
    active = np.zeros((rows, cols), np.bool_)
    for r in range(rows):
        for c in range(cols):
            if moves[r + 1, c + 1]:
                beside = 0
                for y in range(r, r + 3):
                    for x in range(c, c + 3):
                        beside += moves[y, x]
                active[r, c] = beside > NEIGHBOURS
    return active, mx, my, unknown


@njit(cache=True, nogil=True)
def _stray(motion, known, boxes, cell, restless):  # type: ignore[no-untyped-def]
    rows, cols = known.shape
    active, mx, my, _ = _active(motion, known)
    covered = np.zeros((rows, cols), np.bool_)
    _mark(boxes, cell, covered)
    sums = np.zeros((rows + 1, cols + 1, 2))
    first, last = rows, 0  # rows between which something strays: all other windows are empty
    for r in range(rows):
        for c in range(cols):
            weight = 0.0
            if active[r, c] and not covered[r, c]:
                weight = max(0.0, 1 - restless[r, c] / RESTLESS) / FASTEST_PX
                first, last = min(first, r), r + 1
            restless[r, c] += FORGET * ((1.0 if active[r, c] else 0.0) - restless[r, c])
            if first == rows:
                continue
            for k in range(2):
                value = 0.0
                if weight > 0:
                    shift = motion[r, c, k] - (mx if k == 0 else my)
                    value = weight * min(max(shift, -FASTEST_PX), FASTEST_PX)
                sums[r + 1, c + 1, k] = value + sums[r, c + 1, k] + sums[r + 1, c, k] - sums[r, c, k]
    most = 0.0
    for r in range(max(first - REACH // 2, 0), min(last + REACH // 2, rows)):
        for c in range(cols):
            r0, r1 = max(r - REACH // 2, 0), min(r + REACH // 2 + 1, rows)
            c0, c1 = max(c - REACH // 2, 0), min(c + REACH // 2 + 1, cols)
            x = sums[r1, c1, 0] - sums[r0, c1, 0] - sums[r1, c0, 0] + sums[r0, c0, 0]
            y = sums[r1, c1, 1] - sums[r0, c1, 1] - sums[r1, c0, 1] + sums[r0, c0, 1]
            most = max(most, x * x + y * y)
    return np.sqrt(most)


def stray_motion(motion: F32, known: Bool, boxes: F32, cell: int, restless: F32) -> float:
    """The strongest common motion outside of all boxes, in cells at full speed (0 .. REACH squared).

    motion (rows, cols, 2) pixels and known (rows, cols) as in `Observation`; the picture's own motion (the median) is
    taken off. boxes (n, 4) pixels, each grown by a quarter of its size. restless (rows, cols): in which share of the
    frames so far each cell moved; such cells count less. It is brought up to date in place.
    """
    return float(_stray(motion, known, np.ascontiguousarray(boxes), cell, restless))


@njit(cache=True, nogil=True)
def _moving(motion, boxes, scores, cell, least_share):  # type: ignore[no-untyped-def]
    rows, cols, _ = motion.shape
    count = 0
    for i in range(boxes.shape[0]):
        if scores[i] <= 0:
            continue
        c0, c1 = max(int(boxes[i, 0] / cell), 0), min(int(boxes[i, 2] / cell) + 1, cols)
        r0, r1 = max(int(boxes[i, 1] / cell), 0), min(int(boxes[i, 3] / cell) + 1, rows)
        moves = 0
        for r in range(r0, r1):
            for c in range(c0, c1):
                moves += abs(motion[r, c, 0]) + abs(motion[r, c, 1]) > MOVING_PX
        total = max(r1 - r0, 0) * max(c1 - c0, 0)
        count += total > 0 and moves > least_share * total
    return count


def moving_tracks(motion: F32, boxes: F32, scores: F32, cell: int) -> int:
    """How many tracks with a score have more than 15 % of moving cells."""
    return int(_moving(motion, np.ascontiguousarray(boxes), scores, cell, 0.15))
