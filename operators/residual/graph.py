"""The shipped net as a list of steps over maps, with its weights packed for `kernel.convolve`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from everyframe.operators.detectors.nanodet import NECK, OUTPUTS, STRIDES, NanoDet
from everyframe.operators.residual import kernel
from everyframe.operators.residual.steps import Conv, Graph, Map, Part, Pool, Step, Sum, run_lengths
from everyframe.operators.residual.weigh import weigh
from everyframe.operators.types import F32

_UNWEIGHED: F32 = np.zeros(0, np.float32)
_GRAPHS: WeakKeyDictionary[nn.Module, Graph] = WeakKeyDictionary()


def graph_of(net: NanoDet) -> Graph:
    """The graph of a net, made once: all streams share its weights (float32 copies, on the CPU)."""
    if net not in _GRAPHS:
        _GRAPHS[net] = _graph(net)
    return _GRAPHS[net]


def _graph(net: NanoDet) -> Graph:
    maps: dict[str, Map] = {"input": Map("input", 1, 3)}
    body = (*_backbone(net, maps), *_neck(net, maps))
    heads = tuple(_heads(net, maps))
    features, outputs = (tuple(f"{kind}{s}" for s in STRIDES) for kind in ("neck", "out"))
    found = weigh((*body, *heads), maps, outputs)
    body, heads = (tuple(replace(step, weigh=found[step.name]) for step in part) for part in (body, heads))
    return Graph(maps, body, heads, features, outputs)


def _backbone(net: NanoDet, maps: dict[str, Map]) -> Iterator[Step]:
    maps["stem"] = Map("stem", 2, 32)
    yield _conv("stem", net.stem, Part("input", 0, 3), Part("stem", 0, 32), maps)
    maps["pool"] = Map("pool", 4, 32)
    yield Pool("pool", "stem", "pool", _UNWEIGHED)
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
    yield Sum("down16", "lateral16", "lateral32", "down16", finer=True, weigh=_UNWEIGHED)
    yield Sum("neck8", "lateral8", "down16", "neck8", finer=True, weigh=_UNWEIGHED)
    yield Sum("neck16", "down16", "neck8", "neck16", finer=False, weigh=_UNWEIGHED)
    yield Sum("neck32", "lateral32", "neck16", "neck32", finer=False, weigh=_UNWEIGHED)


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
        np.pad(bias, (0, spare)), np.square(weight).sum((2, 3)), _UNWEIGHED,
    )  # fmt: skip


def _tile_of(inputs: int, outputs: int) -> int:
    """The kernel's tile that wastes least."""
    if inputs % kernel.STEPS[kernel.WIDE]:
        return kernel.STEM
    fits = [tile for tile in (kernel.WIDE, kernel.MID, kernel.THIN) if outputs >= kernel.BLOCKS[tile]]
    return fits[0] if fits else kernel.THIN


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
