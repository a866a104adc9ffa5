"""Where points lie to polygons and lines. Pure; n points at once.

Points are (n, 2) float64 with y down, polygons (m, 2), both in one unit of length that is the same along x and y.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def depth(points: F64, polygon: F64) -> F64:
    """(n,) distance to the polygon's edge, negative outside. Inside by the even-odd rule."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    edge = end - start
    rel = points[:, None, :] - start
    length = np.maximum((edge**2).sum(1), 1e-30)
    along = np.clip((rel * edge).sum(2) / length, 0.0, 1.0)
    distance = np.hypot(*np.moveaxis(rel - along[..., None] * edge, 2, 0)).min(1)
    y = points[:, None, 1]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(edge[:, 1] == 0, 1.0, edge[:, 1])
    at = start[:, 0] + (y - start[:, 1]) / rise * edge[:, 0]
    is_inside = (spans & (points[:, None, 0] < at)).sum(1) % 2 == 1
    signed: F64 = np.where(is_inside, distance, -distance)
    return signed


def side(points: F64, start: F64, end: F64) -> F64:
    """(n,) distance to the straight line through start and end, positive on the right of start -> end."""
    along = end - start
    rel = points - start
    signed: F64 = (along[0] * rel[:, 1] - along[1] * rel[:, 0]) / max(float(np.hypot(*along)), 1e-15)
    return signed


def crossings(before: F64, after: F64, start: F64, end: F64) -> npt.NDArray[np.int64]:
    """(n,) 1 where the way before -> after meets the line between its ends and comes out on its right, -1 on its left, 0 where
    it does not meet it. A point on the line counts as on its right, so that ways in a row meet it once."""
    a, b = side(before, start, end), side(after, start, end)
    turns = (b >= 0).astype(np.int64) - (a >= 0)
    share = a / np.where(a == b, 1.0, a - b)
    meet = before + share[:, None] * (after - before)
    along = end - start
    where = ((meet - start) @ along) / max(float(along @ along), 1e-30)
    found: npt.NDArray[np.int64] = np.where((where >= 0) & (where <= 1), turns, 0)
    return found
