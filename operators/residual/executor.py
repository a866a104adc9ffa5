"""One stream's maps, and the net run on them where something changed.

After DeltaCNN (Parger et al., CVPR 2022) and the recurrent residual module (Pan et al., CVPR 2018): a cell is computed
anew only where its inputs changed, and what changes too little is cut off layer by layer. Deviations: values are kept and
computed anew, never sums of differences, so that nothing drifts and what is not linear is exact; single cells in place of
tiles, since the kernel takes any list of cells at full speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.residual import cells, kernel
from everyframe.operators.residual.steps import Conv, Graph, Pool, Step, Sum, runs
from everyframe.operators.types import F32, U8, Bool

FAST = 10_000
"""Weights, in numbers, that stay in the fastest cache beside the inputs."""
TILE = 16
"""Side of the tiles of the input, in pixels."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may differ without being computed anew; (0, 0) gives the dense net's outputs.

    tile: grey levels (0..255) by which a block of 4 x 4 pixels may differ in the mean of its absolute differences. cell:
    by how much a cell may differ, in class logits: what its difference comes to at the net's outputs (`weigh`).
    """

    tile: float = 0.0
    cell: float = 0.0


class Executor:
    """The maps of one picture size. What it keeps is bounded by that size: `nbytes`.

    width, height: of the input, multiples of 32; inner: (width, height) of the picture in it. table (256, 3) float32: the
    input's value for each grey level of each colour.
    """

    def __init__(self, graph: Graph, width: int, height: int, inner: tuple[int, int], table: F32) -> None:
        self._graph = graph
        self._table = table
        self._maps: dict[str, F32] = {}
        self._marks: dict[str, U8] = {}
        self._make_maps(width, height)
        self._picture = np.zeros((inner[1], inner[0], 3), np.uint8)
        self.tiles: U8 = np.zeros((-(-inner[1] // TILE), -(-inner[0] // TILE)), np.uint8)
        self._sums = np.zeros(3 * inner[0], np.uint16)
        self._changes = np.zeros(-(-inner[0] // cells.BLOCK), np.int64)
        self._found = np.zeros(width * height // 4 + 1, np.int64)
        self._line = np.zeros(width + 2, np.uint8)
        self._at = np.zeros(cells.BATCH + kernel.MOST_CELLS, np.int64)
        widths = {len(step.bias) for step in self._steps if isinstance(step, Conv)}
        self._results = {n: np.zeros((cells.BATCH + kernel.MOST_CELLS, n), np.float32) for n in widths}
        self._calls = {step.name: self._call(step) for step in self._steps}
        self.active: dict[str, int] = {}

    @property
    def _steps(self) -> tuple[Step, ...]:
        return (*self._graph.body, *self._graph.heads)

    def _make_maps(self, width: int, height: int) -> None:
        shapes = {m.name: (height // m.stride, width // m.stride, m.channels) for m in self._graph.maps.values()}
        self._all_marks = np.zeros(sum((r + 2) * (c + 2) for r, c, _ in shapes.values()), np.uint8)
        at = 0
        for name, (rows, cols, channels) in shapes.items():
            border = 0 if name in self._graph.outputs else 2
            self._maps[name] = np.zeros((rows + border, cols + border, channels), np.float32)
            size = (rows + 2) * (cols + 2)
            self._marks[name] = self._all_marks[at : at + size].reshape(rows + 2, cols + 2)
            at += size

    @property
    def nbytes(self) -> int:
        """Bytes kept for the stream."""
        kept: list[NDArray[Any]] = [*self._maps.values(), *self._results.values(), self._all_marks, self._picture, self._found]
        return sum(array.nbytes for array in kept)

    def load(self, picture: U8, limit: float) -> float:
        """Takes over what changed of a picture (inner height, inner width, 3) uint8; share of tiles that did.

        limit: as `Limits.tile`; a negative one takes over everything.
        """
        self._all_marks[:] = 0
        taken = cells.load_tiles(
            picture, TILE, limit, self._table, self._picture, self._sums, self._changes, self._maps["input"],
            self._marks["input"], self.tiles,
        )  # fmt: skip
        return float(taken) / self.tiles.size

    def run(self, limit: float, heads: bool = True) -> None:
        """Brings all maps up to date after `load`. limit: as `Limits.cell`; heads: with those of the heads.

        What the heads give out is no input of anything: there nothing is cut off.
        """
        for step in self._steps if heads else self._graph.body:
            self.active[step.name] = self._calls[step.name](0.0 if step.name in self._graph.outputs else limit * limit)

    def run_whole(self, picture: U8, heads: bool = True) -> None:
        """The net on all of a picture, as if nothing were known."""
        self.load(picture, -1.0)
        self._marks["input"][1:-1, 1:-1] = 1
        for step in self._steps if heads else self._graph.body:
            self.active[step.name] = self._calls[step.name](-1.0)

    def outputs(self) -> list[F32]:
        """The heads' maps (rows, cols, outputs), views of what is kept: good until the next run."""
        return [self._maps[name] for name in self._graph.outputs]

    def features(self) -> list[F32]:
        """The neck's maps (rows, cols, 128), views as in `outputs`."""
        return [self._maps[name][1:-1, 1:-1] for name in self._graph.features]

    def changed(self, name: str) -> Bool:
        """The cells of a map (rows, cols) that changed in the last run. name: as in `graph`, stage1 to neck32."""
        marked: Bool = self._marks[name][1:-1, 1:-1] != 0
        return marked

    def _call(self, step: Step) -> Callable[[float], int]:
        if isinstance(step, Conv):
            return self._conv(step)
        if isinstance(step, Pool):
            return self._pool(step)
        return self._sum(step)

    def _conv(self, step: Conv) -> Callable[[float], int]:
        x, stored = self._maps[step.source.map], self._maps[step.target.map]
        marks_in, marks = self._marks[step.source.map], self._marks[step.target.map]
        width, channels = x.shape[1:]
        reach = step.size // 2
        start = (1 - reach) * (width + 1) * channels + step.source.first
        window = np.array((step.stride * width * channels, step.stride * channels, start), np.int64)
        find = partial(
            cells.reached, marks_in, reach, step.stride, marks.shape[0] - 2, marks.shape[1] - 2, self._line, self._found
        )
        rows = runs(step, width, channels)
        group = len(rows) if len(step.weight) <= FAST else 1
        convolve = partial(cells.conv, x, window, rows, group, step.weight, step.bias, step.tile, self._found)
        at, results, target = self._at, self._results[len(step.bias)], step.target
        slope, weigh = np.float32(step.slope), step.weigh

        def call(limit: float) -> int:
            n = find()
            if n:
                convolve(n, at, results, np.float32(limit), weigh, slope, stored, target.first, target.channels, marks)
            return int(n)

        return call

    def _pool(self, step: Pool) -> Callable[[float], int]:
        x, stored, marks = self._maps[step.source], self._maps[step.target], self._marks[step.target]
        find = partial(
            cells.reached, self._marks[step.source], 1, 2, marks.shape[0] - 2, marks.shape[1] - 2, self._line, self._found
        )
        results = self._results[stored.shape[2]]

        def call(limit: float) -> int:
            n = find()
            cells.pool(x, self._found, n, results, np.float32(limit), step.weigh, stored, marks)
            return int(n)

        return call

    def _sum(self, step: Sum) -> Callable[[float], int]:
        kind = cells.add_finer if step.finer else cells.add_coarser
        other, own = (self._maps[name] for name in (step.other, step.own))
        stored, marks = self._maps[step.target], self._marks[step.target]
        results = self._results[stored.shape[2]]
        add = partial(kind, other, self._marks[step.other], own, self._marks[step.own], results)

        def call(limit: float) -> int:
            return int(add(np.float32(limit), step.weigh, stored, marks))

        return call
