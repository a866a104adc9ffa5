"""The shipped net as a list of steps over maps, with its weights packed for `kernel.convolve`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from everyframe.operators.detectors.nanodet import NECK, OUTPUTS, STRIDES, NanoDet
from everyframe.operators.residual import kernel
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
    """One convolution. weight: packed, flat; bias: made up to a whole number of tiles, as the outputs are.

    window (rows, 3) int64: its runs of neighbouring numbers as (row and column of the window in cells, first number
    there, first row of the weights, length): see `runs`.
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


@dataclass(frozen=True, slots=True)
class Pool:
    name: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Sum:
    """target = own + other resized to its size: by 2 where `finer`, else by 1/2."""

    name: str
    own: str
    other: str
    target: str
    finer: bool


Step = Conv | Pool | Sum


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """maps: by name. body: backbone and neck; heads: what follows. features, outputs: maps that each of both gives."""

    maps: dict[str, Map]
    body: tuple[Step, ...]
    heads: tuple[Step, ...]
    features: tuple[str, ...]
    outputs: tuple[str, ...]


_GRAPHS: WeakKeyDictionary[nn.Module, Graph] = WeakKeyDictionary()


def graph_of(net: NanoDet) -> Graph:
    """The graph of a net, made once: all streams share its weights (float32 copies, on the CPU)."""
    if net not in _GRAPHS:
        maps: dict[str, Map] = {"input": Map("input", 1, 3)}
        body = (*_backbone(net, maps), *_neck(net, maps))
        heads = tuple(_heads(net, maps))
        features, outputs = (tuple(f"{kind}{s}" for s in STRIDES) for kind in ("neck", "out"))
        _GRAPHS[net] = Graph(maps, body, heads, features, outputs)
    return _GRAPHS[net]


def _backbone(net: NanoDet, maps: dict[str, Map]) -> Iterator[Step]:
    maps["stem"] = Map("stem", 2, 32)
    yield _conv("stem", net.stem, Part("input", 0, 3), Part("stem", 0, 32), maps)
    maps["pool"] = Map("pool", 4, 32)
    yield Pool("pool", "stem", "pool")
    source, stride = Part("pool", 0, 32), 4
    for number in range(1, 5):
        stage = net.get_submodule(f"stage{number}")
        entry = _module(stage, "entry")
        stride *= entry.stride[0]
        name, c = f"stage{number}", entry.out_channels
        maps[name] = Map(name, stride, 2 * c)
        inner = Part(name, c, c)
        yield _conv(f"{name}.entry", entry, source, inner, maps)
        for i in range(int(getattr(stage, "blocks"))):  # noqa: B009
            block = f"{name}.block{i}"
            maps[block] = Map(block, stride, c)
            a, b = Part(block, c // 2, c // 2), Part(block, 0, c // 2)
            yield _conv(f"{block}.a", _module(stage, f"block{i}.conv_a"), inner, a, maps)
            yield _conv(f"{block}.b", _module(stage, f"block{i}.conv_b"), a, b, maps)
            inner = Part(block, 0, c)
        yield _conv(f"{name}.exit", _module(stage, "exit"), inner, Part(name, 0, c), maps)
        source = Part(name, 0, 2 * c)


def _neck(net: NanoDet, maps: dict[str, Map]) -> Iterator[Step]:
    for number, s in zip((2, 3, 4), STRIDES, strict=True):
        lateral, source = f"lateral{s}", maps[f"stage{number}"]
        maps[lateral] = Map(lateral, s, NECK)
        conv = _module(net, f"lateral.{s}")
        yield _conv(lateral, conv, Part(source.name, 0, source.channels), Part(lateral, 0, NECK), maps, 1.0)
    maps["down16"] = Map("down16", 16, NECK)
    maps.update({f"neck{s}": Map(f"neck{s}", s, NECK) for s in STRIDES})
    yield Sum("down16", "lateral16", "lateral32", "down16", finer=True)
    yield Sum("neck8", "lateral8", "down16", "neck8", finer=True)
    yield Sum("neck16", "down16", "neck8", "neck16", finer=False)
    yield Sum("neck32", "lateral32", "neck16", "neck32", finer=False)


def _heads(net: NanoDet, maps: dict[str, Map]) -> Iterator[Step]:
    for s in STRIDES:
        neck, inner, out = f"neck{s}", f"head{s}", f"out{s}"
        maps[inner], maps[out] = Map(inner, s, NECK), Map(out, s, OUTPUTS)
        yield _conv(inner, _module(net, f"heads.{s}.conv"), Part(neck, 0, NECK), Part(inner, 0, NECK), maps)
        yield _conv(out, _module(net, f"heads.{s}.out"), Part(inner, 0, NECK), Part(out, 0, OUTPUTS), maps, 1.0)


def _module(parent: nn.Module, name: str) -> nn.Conv2d:
    module = parent.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    return module


def _conv(
    name: str, conv: nn.Conv2d, source: Part, target: Part, maps: dict[str, Map], slope: float = 0.1
) -> Conv:
    assert conv.bias is not None
    size, tile = conv.kernel_size[0], _tile_of(source.channels, conv.out_channels)
    weight, bias = (t.detach().to("cpu", torch.float32).numpy() for t in (conv.weight, conv.bias))
    spare = -len(bias) % kernel.BLOCKS[tile]
    rows = weight.transpose(2, 3, 1, 0).reshape(-1, len(bias))
    rows = np.pad(rows, ((0, 0), (0, spare)))
    lengths = run_lengths(source, maps[source.map].channels, size)
    return Conv(
        name, source, target, size, conv.stride[0], slope, tile, pack(rows, lengths, kernel.BLOCKS[tile]),
        np.pad(bias, (0, spare)),
    )  # fmt: skip


def _tile_of(inputs: int, outputs: int) -> int:
    """The kernel's tile that wastes least."""
    if inputs % kernel.STEPS[kernel.WIDE]:
        return kernel.STEM
    fits = [tile for tile in (kernel.WIDE, kernel.MID, kernel.THIN) if outputs >= kernel.BLOCKS[tile]]
    return fits[0] if fits else kernel.THIN


def run_lengths(source: Part, channels: int, size: int) -> list[int]:
    """Lengths of the runs in one row of a window: whole rows where the source is the whole map, else one cell each."""
    whole = [size * channels] if source.channels == channels else [source.channels] * size
    return [min(RUN, length - at) for length in whole for at in range(0, length, RUN)]


def pack(rows: F32, lengths: list[int], block: int) -> F32:
    """Weights (inputs of a window, outputs) in the order in which the kernel reads them: run by run, in each the blocks of
    `block` outputs, in each its rows."""
    parts = []
    at = 0
    while at < len(rows):
        for length in lengths:
            run = rows[at : at + length].reshape(length, -1, block)
            parts.append(run.transpose(1, 0, 2).ravel())
            at += length
    return np.ascontiguousarray(np.concatenate(parts), np.float32)


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
