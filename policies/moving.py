"""The parts of `policies.features` that read a motion field. Compiled, since a run asks for them once a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.features import STRONG, TRACKS
from everyframe.policies.stray import (
    FASTEST_PX,
    FORGET,
    MOVING_PX,
    REACH,
    RESTLESS,
    Bool,
    _active,
    _mark,
)


@dataclass(frozen=True, slots=True)
class Active:
    """What moves in a frame. cells (n, 2) int32 (row, column) of moving cells; weight (n, 2) float32: their motion beyond
    the picture's own in `FASTEST_PX`, less where a cell is always restless. values (len(FRAME),) float32."""

    cells: NDArray[np.int32]
    weight: F32
    values: F32


@njit(cache=True, nogil=True)
def _frame_part(motion, known, restless):  # type: ignore[no-untyped-def]
    rows, cols = known.shape
    active, mx, my, unknown = _active(motion, known)
    cells = np.empty((rows * cols, 2), np.int32)
    weight = np.empty((rows * cols, 2), np.float32)
    n = 0
    for r in range(rows):
        for c in range(cols):
            if active[r, c]:
                w = max(0.0, 1 - restless[r, c] / RESTLESS) / FASTEST_PX
                cells[n, 0], cells[n, 1] = r, c
                weight[n, 0] = w * min(max(motion[r, c, 0] - mx, -FASTEST_PX), FASTEST_PX)
                weight[n, 1] = w * min(max(motion[r, c, 1] - my, -FASTEST_PX), FASTEST_PX)
                n += 1
            restless[r, c] += FORGET * ((1.0 if active[r, c] else 0.0) - restless[r, c])
    total = max(rows * cols, 1)
    values = np.empty(3, np.float32)
    values[0] = min(np.log1p(np.sqrt(mx * mx + my * my)), 5.0)
    values[1] = n / total
    values[2] = unknown / total
    return cells[:n].copy(), weight[:n].copy(), values


def frame_part(motion: F32, known: Bool, restless: F32) -> Active:
    """motion (rows, cols, 2) pixels, known (rows, cols) as in `Observation`; restless (rows, cols): in which share of the
    frames so far each cell moved, brought up to date in place."""
    return Active(*_frame_part(motion, known, restless))


@njit(cache=True, nogil=True)
def _stray(cells, weight, covered, sums):  # type: ignore[no-untyped-def]
    """The strongest common motion of uncovered cells in any window of `REACH` cells; sums is left at zero."""
    rows, cols = covered.shape
    half = REACH // 2
    most = 0.0
    for i in range(cells.shape[0]):
        r, c = cells[i, 0], cells[i, 1]
        if covered[r, c]:
            continue
        for y in range(max(r - half, 0), min(r + half + 1, rows)):
            for x in range(max(c - half, 0), min(c + half + 1, cols)):
                sums[y, x, 0] += weight[i, 0]
                sums[y, x, 1] += weight[i, 1]
    for i in range(cells.shape[0]):
        r, c = cells[i, 0], cells[i, 1]
        for y in range(max(r - half, 0), min(r + half + 1, rows)):
            for x in range(max(c - half, 0), min(c + half + 1, cols)):
                most = max(most, sums[y, x, 0] ** 2 + sums[y, x, 1] ** 2)
                sums[y, x, 0] = 0.0
                sums[y, x, 1] = 0.0
    return np.sqrt(most)


@njit(cache=True, nogil=True)
def _box(motion, known, box, cell, out):  # type: ignore[no-untyped-def]
    """Into out: mean speed of the box's cells in pixels, share of moving ones, share coded anew, moving cells and all
    cells of the ring around it."""
    rows, cols = known.shape
    w, h = box[2] - box[0], box[3] - box[1]
    c0, c1 = max(int(box[0] / cell), 0), min(int(box[2] / cell) + 1, cols)
    r0, r1 = max(int(box[1] / cell), 0), min(int(box[3] / cell) + 1, rows)
    g0, g1 = max(int((box[0] - 0.5 * w) / cell), 0), min(int((box[2] + 0.5 * w) / cell) + 1, cols)
    h0, h1 = max(int((box[1] - 0.5 * h) / cell), 0), min(int((box[3] + 0.5 * h) / cell) + 1, rows)
    speed, moving, anew, total, ring, ring_moving = 0.0, 0, 0, 0, 0, 0
    for r in range(h0, h1):
        for c in range(g0, g1):
            v = abs(motion[r, c, 0]) + abs(motion[r, c, 1])
            if r0 <= r < r1 and c0 <= c < c1:
                total += 1
                speed += np.sqrt(motion[r, c, 0] ** 2 + motion[r, c, 1] ** 2)
                moving += v > MOVING_PX
                anew += not known[r, c]
            else:
                ring += 1
                ring_moving += v > MOVING_PX and known[r, c]
    n = max(total, 1)
    out[0], out[1], out[2], out[3], out[4] = speed / n, moving / n, anew / n, ring_moving, ring


@njit(cache=True, nogil=True)
def _track_part(motion, known, cells, weight, boxes, scores, cell, width, height, covered, sums, out):  # type: ignore[no-untyped-def]
    covered[:] = False
    _mark(boxes, cell, covered)
    out[:] = 0.0
    out[0] = _stray(cells, weight, covered, sums)
    n = boxes.shape[0]
    of_box = np.zeros(5, np.float64)
    ring, ring_moving = 0.0, 0.0
    out[11] = 1.0 if n else 0.0
    for i in range(n):
        _box(motion, known, boxes[i], cell, of_box)
        area = max((boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1]), 1.0)
        speed = min(of_box[0] / np.sqrt(area), 1.0)
        out[2] += speed / n
        out[3] = max(out[3], speed)
        out[6] += of_box[2] / n
        out[9] += of_box[1] > 0.15
        ring_moving += of_box[3]
        ring += of_box[4]
        out[10] += scores[i] / n
        out[11] = min(out[11], scores[i])
        out[12] += _touches(boxes, i) / n
        mx, my = 0.02 * width, 0.02 * height
        at_edge = boxes[i, 0] < mx or boxes[i, 1] < my or boxes[i, 2] > width - mx or boxes[i, 3] > height - my
        out[13] += at_edge / n
        out[14] += min(np.sqrt(area / (width * height)), 1.0) / n
    out[5] = ring_moving / max(ring, 1.0)
    out[8] = np.log1p(n)
    out[9] = np.log1p(out[9])
    out[15] = np.log1p(out[0])


@njit(cache=True, nogil=True)
def _touches(boxes, i):  # type: ignore[no-untyped-def]
    for j in range(boxes.shape[0]):
        if j != i:
            w = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            h = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if w > 0 and h > 0:
                return 1.0
    return 0.0


class TrackPart:
    """The part that motion and tracks give together; keeps buffers for one size of field."""

    def __init__(self, rows: int, cols: int) -> None:
        self._covered = np.zeros((rows, cols), np.bool_)
        self._sums = np.zeros((rows, cols, 2), np.float64)

    def __call__(
        self, motion: F32, known: Bool, active: Active, boxes: F32, scores: F32, cell: int
    ) -> F32:
        """(len(TRACKS),) float32 with `stray` raw (as `stray_motion` gives it), and 0 for what is summed up over frames.

        boxes (n, 4) pixels and scores (n,) of the tracks; those scored below `STRONG` at the last look are left out:
        which of them there are depends on all looks before.
        """
        seen = scores >= STRONG
        out = np.zeros(len(TRACKS), np.float32)
        rows, cols = known.shape
        _track_part(
            motion, known, active.cells, active.weight, np.ascontiguousarray(boxes[seen]), scores[seen], cell,
            cols * cell, rows * cell, self._covered, self._sums, out,
        )  # fmt: skip
        return out
