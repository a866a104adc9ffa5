"""`propagate`: boxes follow the motion vectors inside them.

As in trackers on motion vectors (Bommes et al., MVmed, 2020) the shift of a box is a robust statistic of the vectors
inside it. Deviations: the still background between a person's limbs is told from the person by speed, relative to the
fastest cells of the box. A box keeps its size until the next look.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from everyframe.operators.base import Needs
from everyframe.operators.boxes import LEAST_INSIDE, share_inside
from everyframe.operators.types import F32, MotionField, Objects, Origin, View

MOVING_PX = 0.3  # above the quarter-pixel noise of a still picture
MOVING_RELATIVE = 0.1  # of the box's fast cells (90th percentile): slower ones are background
MOVING_SHARE = 0.2  # with fewer moving cells the object stands still
COHERENCE = 0.5  # moving cells that point everywhere (0) are noise, those that agree (1) an object
CORE = 0.8  # part of width and height that is looked at: a box's rim is mostly background
LEAST_SEEN = 0.1  # with less of it in sight an object is moved by what hides it
MAX_CELLS = 16384


@njit(cache=True, nogil=True)
def _cells(low, high, cell, count):  # type: ignore[no-untyped-def]
    """First and last + 1 cell whose centre lies in [low, high); the nearest one where none does."""
    first = int(np.ceil(low / cell - 0.5))
    last = int(np.ceil(high / cell - 0.5))
    if last <= first:
        first = int(np.floor((low + high) / 2 / cell))
        last = first + 1
    return min(max(first, 0), count), min(max(last, 0), count)


@njit(cache=True, nogil=True)
def _median(values):  # type: ignore[no-untyped-def]
    """As np.median, without a selection where zeros lie in the middle, as they do in most boxes."""
    below = above = 0
    for value in values:
        below += value < 0
        above += value > 0
    half = (len(values) - 1) // 2
    if below <= half and above <= half:
        return 0.0
    return np.median(values)


@njit(cache=True, nogil=True)
def _shift(xs, ys, n):  # type: ignore[no-untyped-def]
    """Median (x, y) over the moving ones of n cells, over all where too few move."""
    speed = np.sqrt(xs[:n] ** 2 + ys[:n] ** 2)
    if (speed > MOVING_PX).sum() < max(MOVING_SHARE * n, 1.0):
        return _median(xs[:n]), _median(ys[:n])
    at = int(0.9 * (n - 1))
    fast = np.partition(speed, at)[at]
    least = max(MOVING_PX, MOVING_RELATIVE * fast)
    moving = speed > least
    count = moving.sum()
    if count > 0 and count >= MOVING_SHARE * n:
        mx, my = xs[:n][moving], ys[:n][moving]
        if np.sqrt(mx.mean() ** 2 + my.mean() ** 2) >= COHERENCE * speed[moving].mean():
            return np.median(mx), np.median(my)
    return _median(xs[:n]), _median(ys[:n])


@njit(cache=True, nogil=True)
def _is_hidden(x, y, i, boxes):  # type: ignore[no-untyped-def]
    """Whether a point of box i lies in a box that stands nearer to the camera (its lower edge is lower)."""
    for j in range(boxes.shape[0]):
        if boxes[j, 3] > boxes[i, 3] and boxes[j, 0] <= x < boxes[j, 2] and boxes[j, 1] <= y < boxes[j, 3]:
            return True
    return False


@njit(cache=True, nogil=True)
def _gather(motion, known, cell, boxes, i, only_seen, xs, ys):  # type: ignore[no-untyped-def]
    """Copies the vectors of box i's core into xs and ys; returns their number and the number of cells there."""
    rows, cols = known.shape
    cx, cy = 0.5 * (boxes[i, 0] + boxes[i, 2]), 0.5 * (boxes[i, 1] + boxes[i, 3])
    hw = 0.5 * CORE * (boxes[i, 2] - boxes[i, 0])
    hh = 0.5 * CORE * (boxes[i, 3] - boxes[i, 1])
    c0, c1 = _cells(cx - hw, cx + hw, cell, cols)
    r0, r1 = _cells(cy - hh, cy + hh, cell, rows)
    step = 1
    while ((r1 - r0 + step - 1) // step) * ((c1 - c0 + step - 1) // step) > MAX_CELLS:
        step += 1
    n = 0
    total = 0
    for r in range(r0, r1, step):
        for c in range(c0, c1, step):
            total += 1
            if known[r, c] and not (only_seen and _is_hidden((c + 0.5) * cell, (r + 0.5) * cell, i, boxes)):
                xs[n] = motion[r, c, 0]
                ys[n] = motion[r, c, 1]
                n += 1
    return n, total


@njit(cache=True, nogil=True)
def _box_motion(motion, known, cell, boxes, shift, support):  # type: ignore[no-untyped-def]
    xs = np.empty(MAX_CELLS, np.float32)
    ys = np.empty(MAX_CELLS, np.float32)
    for i in range(boxes.shape[0]):
        n, total = _gather(motion, known, cell, boxes, i, True, xs, ys)
        if n < LEAST_SEEN * total or n == 0:
            n, total = _gather(motion, known, cell, boxes, i, False, xs, ys)
        support[i] = n / total if total else 0.0
        shift[i, 0] = 0.0
        shift[i, 1] = 0.0
        if n > 0:
            shift[i, 0], shift[i, 1] = _shift(xs, ys, n)


def box_motion(field: MotionField, boxes: F32) -> tuple[F32, F32]:
    """How far each box moved since the frame before.

    boxes (n, 4) in this frame (the position in the frame before serves too: cells are coarser than one step). Returns
    shift (n, 2) float32 pixels and support (n,) float32 in 0..1, the share of the box's cells that have a vector.
    """
    shift = np.empty((len(boxes), 2), np.float32)
    support = np.empty(len(boxes), np.float32)
    _box_motion(field.motion, field.known, field.cell, np.ascontiguousarray(boxes), shift, support)
    return shift, support


def move(field: MotionField, boxes: F32, backwards: bool = False) -> F32:
    """(n, 4) boxes one frame on, or one frame back (given where they are in this field's picture)."""
    shift, _ = box_motion(field, boxes)
    step = np.concatenate([shift, shift], axis=1)
    out: F32 = boxes - step if backwards else boxes + step
    return out


class Propagate:
    """The rung: moves every box; a box that has left the picture ends."""

    name = "propagate"
    needs = Needs(motion=True)
    outcome = Origin.PROPAGATED

    def apply(self, view: View, objects: Objects) -> Objects:
        if view.motion is None:
            raise ValueError("propagate needs the motion field of a decoded frame")
        if not len(objects):
            return objects
        boxes = move(view.motion, objects.xyxy)
        origin = np.full(len(objects), Origin.PROPAGATED, np.uint8)
        moved = Objects(boxes, objects.score, objects.class_id, objects.track_id, origin)
        inside = share_inside(boxes, view.width, view.height) >= LEAST_INSIDE
        return moved if inside.all() else moved[inside]
