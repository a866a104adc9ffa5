"""Which rectangles are looked at: few sizes, on a grid, merged while that makes them cheaper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from everyframe.operators.base import Prices
from everyframe.operators.detectors.letterbox import GRID, Letterbox, fit
from everyframe.operators.types import F32, I32, Bool

CROPS: tuple[tuple[int, int], ...] = (
    (192, 192), (256, 192), (192, 256), (256, 256), (320, 192), (192, 320), (320, 256), (256, 320), (320, 320),
    (448, 256), (448, 320), (192, 448), (256, 448), (320, 448), (448, 448),
)  # fmt: skip
"""Sizes (width, height) of crops in net pixels, multiples of the grid: compiled runtimes stay warm."""
CONTEXT = 64
"""Net pixels around an object within which the detector takes notice of its surroundings: with more, crops find hardly
more of what the whole look finds on the training clips (benchmarks/region_context.py)."""
LARGE, LARGE_CONTEXT = 112, 32
"""Net pixels: objects with a longer side than this lose less with less context, and a crop around them is dear."""
MOST_CROPS = 6
"""Crops of one look at most; more are never cheaper than the whole."""


@lru_cache(maxsize=16)
def crop_sizes(whole: Letterbox) -> I32:
    """(n, 2) int32: the fixed list, cut to what the whole input holds, without the whole itself, smallest first."""
    sizes = np.unique(np.minimum(np.array(CROPS, np.int32), whole.outer), axis=0)
    sizes = sizes[(sizes < whole.outer).any(1)]
    return np.asarray(sizes[np.argsort(sizes.prod(1), kind="stable")], np.int32)


def snap(crops: I32, whole: Letterbox) -> I32:
    """(k, 4) crops in source pixels to net pixels on the grid, each grown to the next size of the list that holds it
    (the whole where none does)."""
    return fitted(whole.to_input(crops.astype(np.float32)), whole)


def fitted(boxes: F32, whole: Letterbox) -> I32:
    """(n, 4) rectangles in net pixels to the smallest of the list's sizes that hold them, placed on the grid and inside
    the input; (n, 4) int32. What no size holds gets the whole input."""
    # Half a source pixel: a crop that was rounded to source pixels comes back to the same place.
    slack = (0.5 / np.array(whole.scale) + 0.01) / GRID
    outer = np.array(whole.outer, np.int64)
    return np.asarray(_fit(np.asarray(boxes, np.float32), crop_sizes(whole), outer, slack), np.int32)


@njit(cache=True, nogil=True)
def _fit(boxes, sizes, outer, slack):  # type: ignore[no-untyped-def]
    out = np.empty((len(boxes), 4), np.int32)
    for row in range(len(boxes)):
        low, high = np.empty(2, np.int64), np.empty(2, np.int64)
        for k in range(2):
            low[k] = min(max(math.floor(boxes[row, k] / GRID + slack[k]) * GRID, 0), outer[k] - GRID)
            high[k] = min(max(math.ceil(boxes[row, 2 + k] / GRID - slack[k]) * GRID, low[k] + GRID), outer[k])
        size = outer
        for i in range(len(sizes)):
            if sizes[i, 0] >= high[0] - low[0] and sizes[i, 1] >= high[1] - low[1]:
                size = sizes[i].astype(np.int64)
                break
        for k in range(2):
            # Grown to both sides alike, then pushed back into the input.
            spare = (size[k] - (high[k] - low[k])) // 2 // GRID * GRID
            out[row, k] = min(max(low[k] - spare, 0), outer[k] - size[k])
            out[row, 2 + k] = out[row, k] + size[k]
    return out


def context_of(boxes: F32) -> F32:
    """(n, 4) boxes in net pixels to the context around each, (n,) float32 net pixels."""
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    return np.where(longer > LARGE, LARGE_CONTEXT, CONTEXT).astype(np.float32)


def inside(xyxy: F32, crops: I32, size: tuple[int, int], margin: float | F32) -> Bool:
    """(n, k) bool: boxes at least `margin`, one or (n, 1, 1), from each border of a crop that is not the picture's."""
    high = np.array(size, np.float32)
    low = np.where(crops[:, :2] <= 0, -np.inf, crops[:, :2] + margin)
    top = np.where(crops[:, 2:] >= high, np.inf, crops[:, 2:] - margin)
    boxes = np.concatenate((np.clip(xyxy[:, :2], 0, high), np.clip(xyxy[:, 2:], 0, high)), 1)
    out: Bool = np.all((boxes[:, None, :2] >= low) & (boxes[:, None, 2:] <= top), axis=2)
    return out


@dataclass(frozen=True, slots=True)
class Bill:
    """What looks cost for one size of picture: a start and so much for each net pixel, in the unit of `Prices`.

    Crops of one size share the start: they are one batch. whole: a look at the whole picture.
    """

    start: float
    pixel: float
    whole: float

    @classmethod
    def of(cls, prices: Prices, whole: Letterbox) -> Bill:
        """A line through the measured prices (least squares); by area alone where fewer than two were measured."""
        pixels = whole.outer[0] * whole.outer[1]
        total = prices.rungs.get("detect", 1.0)
        known = [(w * h, ms) for (w, h), ms in prices.crops.items()]
        if len(known) < 2:
            return cls(0.0, total / pixels, total)
        area, ms = np.array([*known, (pixels, total)], np.float64).T
        slope, start = np.polyfit(area, ms, 1)
        return cls(max(float(start), 0.0), max(float(slope), 1e-9), total)

    def crops(self, rects: I32) -> float:
        """Of a look at (k, 4) rectangles in net pixels."""
        if not len(rects):
            return 0.0
        sides = rects[:, 2:] - rects[:, :2]
        return self.start * len(np.unique(sides, axis=0)) + self.pixel * float(sides.prod(1).sum())

    def smallest(self, whole: Letterbox) -> float:
        """Of the cheapest look there is, as a share of the whole."""
        sizes = crop_sizes(whole)
        return (self.start + self.pixel * float(sizes[0].prod())) / self.whole if len(sizes) else 1.0


def with_context(boxes: F32) -> F32:
    """(n, 4) boxes in net pixels, grown by the context that each needs."""
    margin = context_of(boxes)[:, None]
    return np.concatenate((boxes[:, :2] - margin, boxes[:, 2:] + margin), 1)


def cover(boxes: F32, width: int, height: int, imgsz: int, prices: Prices) -> I32:
    """Few rectangles that hold boxes (n, 4), source pixels, with the context that each needs: (k, 4) int32, source pixels,
    sizes from the list.

    Greedy: of all pairs of rectangles the one whose union saves most is merged, while any saves. Where the sum is no
    cheaper than the whole, or there are more than `MOST_CROPS`, the answer is the whole picture.
    """
    whole = fit(width, height, imgsz)
    if not len(boxes):
        return np.zeros((0, 4), np.int32)
    bill = Bill.of(prices, whole)
    rects = merged(with_context(whole.to_input(boxes)), whole, bill)
    if len(rects) > MOST_CROPS or bill.crops(rects) >= bill.whole:
        return np.array([[0, 0, width, height]], np.int32)
    return to_source(rects, whole)


def to_source(rects: I32, whole: Letterbox) -> I32:
    """(k, 4) rectangles in net pixels to source pixels, rounded, at the picture's border exact."""
    sx, sy = whole.scale
    out = np.rint(rects * np.array([sx, sy, sx, sy]))
    w, h = whole.source
    return np.asarray(np.clip(out, 0, [w, h, w, h]), np.int32)


def merged(needs: F32, whole: Letterbox, bill: Bill) -> I32:
    """(n, 4) rectangles in net pixels to fewer, (k, 4) int32 of the list's sizes, that hold them all."""
    slack = (0.5 / np.array(whole.scale) + 0.01) / GRID
    outer = np.array(whole.outer, np.int64)
    rects = _merge(needs.astype(np.float32), crop_sizes(whole), outer, slack, bill.start, bill.pixel)
    return np.asarray(rects, np.int32)


@njit(cache=True, nogil=True)
def _merge(needs, sizes, outer, slack, start, pixel):  # type: ignore[no-untyped-def]
    n = len(needs)
    rects = _fit(needs, sizes, outer, slack)
    saved = np.full((n, n), -np.inf)
    for i in range(n):
        for j in range(i + 1, n):
            saved[i, j] = _saving(needs, rects, i, j, sizes, outer, slack, start, pixel)
    left = np.ones(n, np.bool_)
    for _ in range(n - 1):
        k = int(np.argmax(saved))
        i, j = k // n, k % n
        if saved[i, j] <= 0:
            break
        needs[i, :2], needs[i, 2:] = np.minimum(needs[i, :2], needs[j, :2]), np.maximum(needs[i, 2:], needs[j, 2:])
        rects[i] = _fit(needs[i : i + 1], sizes, outer, slack)[0]
        left[j] = False
        saved[j, :] = saved[:, j] = -np.inf
        for other in range(n):
            if left[other] and other != i:
                a, b = min(i, other), max(i, other)
                saved[a, b] = _saving(needs, rects, a, b, sizes, outer, slack, start, pixel)
    return rects[left]


@njit(cache=True, nogil=True)
def _saving(needs, rects, i, j, sizes, outer, slack, start, pixel):  # type: ignore[no-untyped-def]
    """What one rectangle for two needs costs less than one for each."""
    union = np.empty((1, 4), np.float32)
    union[0, :2], union[0, 2:] = np.minimum(needs[i, :2], needs[j, :2]), np.maximum(needs[i, 2:], needs[j, 2:])
    joint = _fit(union, sizes, outer, slack)[0]
    return pixel * (_area(rects[i]) + _area(rects[j]) - _area(joint)) + 0.5 * start


@njit(cache=True, nogil=True)
def _area(rect):  # type: ignore[no-untyped-def]
    return (rect[2] - rect[0]) * (rect[3] - rect[1])
