"""How an object looks, as a short vector: colour histograms of its head, body and leg part.

The square root of a histogram makes the Euclidean distance of two vectors the Hellinger distance, which bears
the noise of small crops better than a difference of means (Bhattacharyya, 1943; used for tracking by
Comaniciu et al.).
"""

from __future__ import annotations

import cv2
import numpy as np

from everyframe.operators.types import F32, U8

PATCH = (16, 32)  # width, height of the crop that is looked at
PARTS = ((0, 11), (8, 22), (18, 32))  # rows: they overlap, for boxes are never cut alike twice
BINS = 8
RANGE = ((0.0, 256.0), (96.0, 160.0), (96.0, 160.0))  # of L, a, b: colours of real scenes are pale
INNER = (0.7, 0.9)  # part of the box's width and height: the sides hold background
SIZE = len(PARTS) * len(RANGE) * BINS


def _weights() -> F32:
    x = np.arange(PATCH[0], dtype=np.float32) - (PATCH[0] - 1) / 2
    return np.broadcast_to(np.exp(-0.5 * (x / 4) ** 2), PATCH[::-1]).astype(np.float32)


_WEIGHTS = _weights()


def look(picture: U8, boxes: F32) -> F32:
    """Appearance (n, SIZE) float32 of boxes (n, 4) in a BGR picture (height, width, 3) uint8; rows have
    length 1."""
    out = np.zeros((len(boxes), SIZE), np.float32)
    if len(boxes) == 0:
        return out
    crops = np.concatenate([_crop(picture, box) for box in boxes])
    lab: U8 = cv2.cvtColor(crops, cv2.COLOR_BGR2LAB).astype(np.uint8, copy=False)
    lab = lab.reshape(len(boxes), PATCH[1], PATCH[0], 3)
    column = 0
    for top, bottom in PARTS:
        for channel, (low, high) in enumerate(RANGE):
            values = lab[:, top:bottom, :, channel]
            out[:, column : column + BINS] = _histograms(values, _WEIGHTS[top:bottom], low, high)
            column += BINS
    return np.sqrt(out / (len(PARTS) * len(RANGE)))


def distance(a: F32, b: F32) -> F32:
    """Hellinger distance (n, m), 0 to 1, between appearances (n, SIZE) and (m, SIZE)."""
    out: F32 = np.sqrt(np.clip(1 - a @ b.T, 0, None))
    return out


def _crop(picture: U8, box: F32) -> U8:
    x1, y1, x2, y2 = (float(v) for v in box)
    size = (max(2, round((x2 - x1) * INNER[0])), max(4, round((y2 - y1) * INNER[1])))
    part = cv2.getRectSubPix(picture, size, ((x1 + x2) / 2, (y1 + y2) / 2))
    return cv2.resize(part, PATCH, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _histograms(values: U8, weights: F32, low: float, high: float) -> F32:
    """Weighted histograms (n, BINS), each of sum 1, of values (n, rows, cols); a value is shared by two
    bins."""
    n = len(values)
    place = np.clip((values.reshape(n, -1) - low) * (BINS / (high - low)) - 0.5, 0, BINS - 1.001)
    left = place.astype(np.intp)
    share = place - left
    at = left + BINS * np.arange(n)[:, None]
    weight = weights.reshape(1, -1)
    total = np.bincount(at.ravel(), (weight * (1 - share)).ravel(), n * BINS)
    total += np.bincount(at.ravel() + 1, (weight * share).ravel(), n * BINS)
    out: F32 = (total.reshape(n, BINS) / weights.sum()).astype(np.float32)
    return out
