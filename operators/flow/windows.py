"""Which rectangle of the picture is computed anew: the one whose expected gain most exceeds its price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from everyframe.operators.flow.memory import GRID, Rect
from everyframe.operators.types import F32, I32, Bool

COLS, ROWS = (4, 6, 8, 10, 12, 16), (4, 6, 8, 10, 12)
"""Sides of rectangles in cells of the grid."""
RIM = 1  # cells: what appears nearer to a rectangle's border may be cut by it
EACH = 0.04  # of the whole net: what any rectangle costs
MARGIN = 16.0  # pixels of the net's input: a box that ends nearer to a rectangle's border may be cut by it


@dataclass(frozen=True, slots=True)
class Need:
    """Wrong labels that are to be expected in this frame.

    cells (rows, cols) float32: for each cell of the grid, objects that nothing announced. values (n,) float32: for each
    track and for each thing that moves beside them; boxes (n, 4) float32 of these in pixels of the net's input: a
    rectangle must show them whole.
    """

    cells: F32
    values: F32
    boxes: F32


def price(cols: int, rows: int, grid: tuple[int, int]) -> float:
    """Cost of a rectangle in shares of the whole net: in proportion to its area with a border of one cell, and a little.

    grid: (rows, cols). Fixed, so that labels are the same on every machine; `benchmarks/flow.py` shows measured ones.
    """
    return EACH + (cols + 2) * (rows + 2) / ((grid[1] + 2) * (grid[0] + 2))


def choose(need: Need, worth: float, most: float) -> tuple[Rect, float] | None:
    """The rectangle with the greatest need less `worth` times its price, and its price.

    most: the highest price. None where no rectangle gains more than it costs.
    """
    grid = need.cells.shape
    sizes = _sizes((grid[0], grid[1]))
    prices = np.array([price(c, r, (grid[0], grid[1])) for c, r in sizes.tolist()], np.float64)
    sums = np.zeros((grid[0] + 1, grid[1] + 1))
    sums[1:, 1:] = need.cells.cumsum(0, dtype=np.float64).cumsum(1)
    some = need.values > 0
    size, left, top = _best(
        sums, need.boxes[some].astype(np.float64), need.values[some].astype(np.float64), sizes, prices, worth, most
    )
    if size < 0:
        return None
    cols, rows = sizes[size].tolist()
    return (left, top, left + cols, top + rows), float(prices[size])


def _sizes(grid: tuple[int, int]) -> I32:
    """(n, 2) int32: the sides (cols, rows) that fit into the grid, and the whole."""
    every = {(min(c, grid[1]), min(r, grid[0])) for c in COLS for r in ROWS} | {(grid[1], grid[0])}
    return np.array(sorted(every), np.int32)


def bounds(rect: Rect, grid: tuple[int, int], margin: float) -> tuple[float, float, float, float]:
    """A rectangle in pixels of the net's input, less a margin where its border is not the picture's."""
    left, top, right, bottom = rect
    return (
        left * GRID + margin if left > 0 else -np.inf,
        top * GRID + margin if top > 0 else -np.inf,
        right * GRID - margin if right < grid[1] else np.inf,
        bottom * GRID - margin if bottom < grid[0] else np.inf,
    )


def inside(boxes: F32, rect: Rect, grid: tuple[int, int], margin: float = MARGIN) -> Bool:
    """(n,) bool: which boxes, in pixels of the net's input, a rectangle shows whole. grid: (rows, cols)."""
    x0, y0, x1, y1 = bounds(rect, grid, margin)
    out: Bool = (boxes[:, 0] >= x0) & (boxes[:, 1] >= y0) & (boxes[:, 2] <= x1) & (boxes[:, 3] <= y1)
    return out


def inner(rect: Rect, grid: tuple[int, int]) -> Rect:
    """The rectangle without its rim, which it has where its border is not the picture's."""
    left, top, right, bottom = rect
    return (
        left + RIM * (left > 0), top + RIM * (top > 0), right - RIM * (right < grid[1]), bottom - RIM * (bottom < grid[0])
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _best(sums, boxes, values, sizes, prices, worth, most):  # type: ignore[no-untyped-def]
    """Index of the best size, left and top; -1 where none is worth it."""
    rows, cols = sums.shape[0] - 1, sums.shape[1] - 1
    best, found = 0.0, (-1, 0, 0)
    for k in range(sizes.shape[0]):
        if prices[k] > most:
            continue
        w, h = sizes[k]
        for top in range(rows - h + 1):
            for left in range(cols - w + 1):
                right, bottom = left + w, top + h
                x0, y0 = left + RIM * (left > 0), top + RIM * (top > 0)
                x1, y1 = right - RIM * (right < cols), bottom - RIM * (bottom < rows)
                gain = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] - worth * prices[k]
                for i in range(boxes.shape[0]):
                    if (
                        (left == 0 or boxes[i, 0] >= left * GRID + MARGIN)
                        and (top == 0 or boxes[i, 1] >= top * GRID + MARGIN)
                        and (right == cols or boxes[i, 2] <= right * GRID - MARGIN)
                        and (bottom == rows or boxes[i, 3] <= bottom * GRID - MARGIN)
                    ):
                        gain += values[i]
                if gain > best:
                    best, found = gain, (k, left, top)
    return found
