"""Functions on boxes: arrays in, arrays out, no state. Boxes are (x1, y1, x2, y2) in pixels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from everyframe.operators.types import F32

Rows = NDArray[np.intp]

LEAST_INSIDE = 0.25  # a box with less of it in the picture has left


def area(boxes: F32) -> F32:
    """(n, 4) -> (n,): areas in square pixels."""
    out: F32 = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return out


def iou(a: F32, b: F32) -> F32:
    """(n, 4), (m, 4) -> (n, m): intersection over union, 0 for boxes without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    side = np.clip(high - low, 0, None)
    overlap = side[..., 0] * side[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - overlap
    out: F32 = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return out


def centre_size(boxes: F32) -> tuple[F32, F32]:
    """(n, 4) -> centres (n, 2) and sizes (n, 2)."""
    centre = (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5)
    return centre, boxes[:, 2:] - boxes[:, :2]


def clip(boxes: F32, width: int, height: int) -> F32:
    """Boxes cut at the picture's border; a box outside of it keeps no area."""
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)


@njit(cache=True, nogil=True)
def _share_inside(boxes, width, height, out):  # type: ignore[no-untyped-def]
    zero, right, bottom = np.float32(0), np.float32(width), np.float32(height)
    for i in range(len(boxes)):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        whole = (x2 - x1) * (y2 - y1)
        w = min(max(x2, zero), right) - min(max(x1, zero), right)
        h = min(max(y2, zero), bottom) - min(max(y1, zero), bottom)
        out[i] = w * h / whole if whole > 0 else zero


def share_inside(boxes: F32, width: int, height: int) -> F32:
    """(n, 4) -> (n,): which share of each box lies inside the picture, 0 for boxes without area."""
    out = np.empty(len(boxes), np.float32)
    _share_inside(boxes, width, height, out)
    return out


def match(affinity: F32, least: float) -> tuple[Rows, Rows]:
    """Pairs (rows, columns) of greatest total affinity (Kuhn, 1955); pairs below `least` are not made.

    Affinities below `least` count as 0 in the assignment, so that a poor pair never displaces a good one.
    """
    if affinity.size == 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    usable = np.where(affinity >= least, affinity, 0)
    rows, columns = linear_sum_assignment(usable, maximize=True)
    kept = usable[rows, columns] > 0
    return rows[kept], columns[kept]


def rest(count: int, rows: Rows) -> Rows:
    """The rows 0 .. count - 1 that are not among `rows`, in order."""
    left = np.ones(count, np.bool_)
    left[rows] = False
    return np.flatnonzero(left)


def without_doubles(boxes: F32, scores: F32, kinds: NDArray[np.int32], most: float) -> Rows:
    """Rows to keep, in order: of two boxes of one kind that overlap by more than `most`, the better one stays."""
    if len(scores) < 2:
        return np.arange(len(scores))
    overlap = np.where(kinds[:, None] == kinds[None, :], iou(boxes, boxes), 0) > most
    if overlap.sum() == len(scores):  # each box overlaps only itself
        return np.arange(len(scores))
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if not overlap[row, kept].any():
            kept.append(row)
    return np.sort(np.array(kept, np.intp))
