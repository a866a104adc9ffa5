"""The net as data: maps, the steps between them, and where a convolution's window lies in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import F32

I64 = NDArray[np.int64]
RUN = 256
"""Numbers of a window taken at a time: with their weights they stay in the fast caches."""


@dataclass(frozen=True, slots=True)
class Map:
    """stride: input pixels from one cell to the next."""

    name: str
    stride: int
    channels: int


@dataclass(frozen=True, slots=True)
class Part:
    """Some neighbouring channels of a map: what `torch.cat` joins lies in one map from the start."""

    map: str
    first: int
    channels: int


@dataclass(frozen=True, eq=False, slots=True)
class Conv:
    """One convolution. size: of its window, 3 or 1. slope: of what is below zero. tile: the kernel's.

    weight: packed by `graph.pack`; bias: made up to a whole number of tiles, as the outputs are. power: the squared weights
    summed over the window (outputs, inputs). weigh (outputs,): see `weigh`.
    """

    name: str
    source: Part
    target: Part
    size: int
    stride: int
    slope: float
    tile: int
    weight: F32
    bias: F32
    power: F32
    weigh: F32


@dataclass(frozen=True, eq=False, slots=True)
class Pool:
    name: str
    source: str
    target: str
    weigh: F32


@dataclass(frozen=True, eq=False, slots=True)
class Sum:
    """target = own + other resized to its size: by 2 where `finer`, else by 1/2."""

    name: str
    own: str
    other: str
    target: str
    finer: bool
    weigh: F32


Step = Conv | Pool | Sum


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """maps: by name. body: backbone and neck; heads: what follows. features, outputs: maps that each of both gives."""

    maps: dict[str, Map]
    body: tuple[Step, ...]
    heads: tuple[Step, ...]
    features: tuple[str, ...]
    outputs: tuple[str, ...]


def run_lengths(source: Part, channels: int, size: int) -> list[int]:
    """Lengths of the runs in one row of a window: whole rows where the source is the whole map, else one cell each."""
    whole = [size * channels] if source.channels == channels else [source.channels] * size
    return [min(RUN, length - at) for length in whole for at in range(0, length, RUN)]


def runs(step: Conv, width: int, channels: int) -> I64:
    """The windows of a convolution for `kernel.convolve`: (r, 3). width: cells in a row of the source map, its border
    included; channels: of the whole map."""
    rows = []
    weight = 0
    for y in range(step.size):
        whole = step.source.channels == channels
        at, x, done = y * width * channels, 0, 0
        for length in run_lengths(step.source, channels, step.size):
            rows.append((at + x * channels + done, weight, length))
            weight += length
            done += length
            if not whole and done == step.source.channels:
                x, done = x + 1, 0
    return np.array(rows, np.int64)
