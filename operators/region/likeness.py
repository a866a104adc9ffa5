"""Whether a box still shows what it showed when it was looked at: block means of its luma, compared by correlation.

The appearance check of correlation trackers (Bolme et al., MOSSE, CVPR 2010), on a few block means in place of a filter:
it only has to notice that a box no longer sits on its object, and costs microseconds.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from everyframe.operators.types import F32, U8

COLUMNS, ROWS = 6, 8
BINS = COLUMNS * ROWS
FLAT = 2.0  # grey levels of spread, below which a box shows nothing to compare


@njit(cache=True, nogil=True)
def _signatures(luma, boxes, out):  # type: ignore[no-untyped-def]
    height, width = luma.shape
    for i in range(boxes.shape[0]):
        x1, y1 = boxes[i, 0], boxes[i, 1]
        dx, dy = (boxes[i, 2] - x1) / COLUMNS, (boxes[i, 3] - y1) / ROWS
        for r in range(ROWS):
            r0 = min(max(int(y1 + r * dy), 0), height - 1)
            r1 = min(max(int(y1 + (r + 1) * dy), r0 + 1), height)
            # At most 4 x 4 pixels of a bin: large boxes cost no more than small ones.
            sr = max((r1 - r0) // 4, 1)
            for c in range(COLUMNS):
                c0 = min(max(int(x1 + c * dx), 0), width - 1)
                c1 = min(max(int(x1 + (c + 1) * dx), c0 + 1), width)
                sc = max((c1 - c0) // 4, 1)
                total, n = 0, 0
                for y in range(r0, r1, sr):
                    for x in range(c0, c1, sc):
                        total += luma[y, x]
                        n += 1
                out[i, r * COLUMNS + c] = total / n


def signatures(luma: U8, boxes: F32) -> F32:
    """(n, 48) float32: mean luma of the 6 x 8 blocks of each box.

    luma (height, width) uint8, boxes (n, 4) in its pixels; what reaches beyond it repeats its border.
    """
    out = np.zeros((len(boxes), BINS), np.float32)
    _signatures(luma, np.ascontiguousarray(boxes, np.float32), out)
    return out


def likeness(a: F32, b: F32) -> F32:
    """(n,) float32 in -1..1: correlation of signatures (n, 48); 1 where both boxes are flat."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    spread = np.sqrt((a * a).mean(1) * (b * b).mean(1))
    out: F32 = np.where(spread < FLAT**2, 1.0, (a * b).mean(1) / np.maximum(spread, FLAT**2)).astype(np.float32)
    return out
