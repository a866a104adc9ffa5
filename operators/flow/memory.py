"""All that the net computed of a stream's picture, kept, so that any rectangle of it can be computed anew.

Spatially adaptive partial feature updating (Zhu et al., Towards High Performance Video Object Detection, CVPR 2018), with
one deviation: not the last features alone are kept but those of every layer. A rectangle that is computed anew then reads
true values around it, of its own frame inside and of earlier frames outside, where a cut-out would read zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from everyframe.operators.detectors.nanodet import NECK, STRIDES, Head, NanoDet, Stage
from everyframe.operators.detectors.packed import PackedConv
from everyframe.operators.types import F32

GRID = 32
"""Pixels of the net's input: what rectangles are made of, and the coarsest stride."""
SLOPE = 0.1
LOWEST = -1e30

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom in cells of the grid; right and bottom are the first ones outside."""
Convolution = Callable[[Tensor], Tensor]


class Layer:
    """A layer's values (1, channels, rows, cols) with a border of one cell of zeros, as the next convolution wants it."""

    def __init__(self, channels: int, stride: int, grid: tuple[int, int], like: Tensor) -> None:
        rows, cols = grid[0] * GRID // stride, grid[1] * GRID // stride
        made = torch.zeros(1, channels, rows + 2, cols + 2, dtype=like.dtype, device=like.device)
        self.values = made.contiguous(memory_format=torch.channels_last)
        self.stride = stride

    def part(self, rect: Rect, channels: slice = slice(None), border: int = 0) -> Tensor:
        """A view of a rectangle, with as many cells around it."""
        k = GRID // self.stride
        left, top, right, bottom = (side * k for side in rect)
        return self.values[:, channels, top + 1 - border : bottom + 1 + border, left + 1 - border : right + 1 + border]


@dataclass(frozen=True, slots=True)
class Step:
    """One convolution, from some channels of one layer to some of another."""

    conv: Convolution
    kernel: int
    stride: int
    source: Layer
    target: Layer
    reads: slice
    writes: slice

    def run(self, rect: Rect) -> None:
        border = self.kernel // 2
        x = self.source.part(rect, self.reads, border)
        if self.stride == 2:  # the cell after the last is not read
            x = x[:, :, :-1, :-1]
        self.target.part(rect, self.writes).copy_(self.conv(x))


class Memory:
    """The values of every layer of `net` for one picture size.

    rows, cols: of the grid. `update` computes rectangles, `head` gives the output maps there. Weights are read from the
    net, on its device and in its type. Some 33 numbers for each pixel of the net's input.
    """

    def __init__(self, net: NanoDet, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        self._net = net
        self._like = net.stem.weight
        self._input = self._layer(3, 1)
        self._stem = self._layer(32, 2)
        self._pool = self._layer(32, 4)
        self._first = Step(_convolution(net.stem, SLOPE), 3, 2, self._input, self._stem, slice(None), slice(None))
        self._steps: list[Step] = []
        self._laterals: list[Layer] = []
        self._build(net)
        self.maps = [self._layer(NECK, stride) for stride in STRIDES]
        self._heads = [_head(net.heads[str(stride)]) for stride in STRIDES]

    @property
    def whole(self) -> Rect:
        return (0, 0, self.cols, self.rows)

    def _layer(self, channels: int, stride: int) -> Layer:
        return Layer(channels, stride, (self.rows, self.cols), self._like)

    def _build(self, net: NanoDet) -> None:
        source, stride = self._pool, 4
        stages = [(net.stage1, 1), (net.stage2, 2), (net.stage3, 2), (net.stage4, 2)]
        for stage, step in stages:
            stride *= step
            source = self._add_stage(stage, source, stride, step)
            if stride >= STRIDES[0]:
                lateral = net.lateral[str(stride)]
                self._laterals.append(self._layer(NECK, stride))
                self._add(lateral, source, self._laterals[-1], slope=None)

    def _add_stage(self, stage: Stage, source: Layer, stride: int, step: int) -> Layer:
        """The stage's own concatenations cost nothing: halves of one layer are written in place."""
        width = stage.entry.in_channels
        out = self._layer(2 * width, stride)
        entry = slice(width, 2 * width)
        self._add(stage.entry, source, out, writes=entry, stride=step)
        y, reads = out, entry
        for i in range(stage.blocks):
            block, layer, half = stage.get_submodule(f"block{i}"), self._layer(width, stride), width // 2
            assert isinstance(block.conv_a, nn.Conv2d) and isinstance(block.conv_b, nn.Conv2d)
            self._add(block.conv_a, y, layer, reads, slice(half, width))
            self._add(block.conv_b, layer, layer, slice(half, width), slice(0, half))
            y, reads = layer, slice(None)
        self._add(stage.exit, y, out, reads, slice(0, width))
        return out

    def _add(
        self, conv: nn.Module, source: Layer, target: Layer, reads: slice = slice(None), writes: slice = slice(None),
        stride: int = 1, slope: float | None = SLOPE,
    ) -> None:  # fmt: skip
        assert isinstance(conv, nn.Conv2d)
        run = _convolution(conv, slope)
        self._steps.append(Step(run, conv.kernel_size[0], stride, source, target, reads, writes))

    @torch.inference_mode()
    def update(self, pixels: F32, rect: Rect) -> None:
        """Computes a rectangle anew in all layers. pixels: (1, h, w, 3) float32, the rectangle of the net's input."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        self._input.part(rect).copy_(x)
        self._first.run(rect)
        self._pool_part(rect)
        for step in self._steps:
            step.run(rect)
        self._neck(rect)

    def _pool_part(self, rect: Rect) -> None:
        x = self._stem.part(rect, border=1)[:, :, :-1, :-1]
        if rect[0] == 0 or rect[1] == 0:  # no border of zeros here: it would win over negative values
            x = x.clone()
            x[:, :, : rect[1] == 0] = LOWEST
            x[:, :, :, : rect[0] == 0] = LOWEST
        self._pool.part(rect).copy_(F.max_pool2d(x, 3, 2))

    def _neck(self, rect: Rect) -> None:
        """`NanoDet.neck` in a rectangle; what comes from a coarser level is interpolated with the cells around it."""
        lateral8, lateral16, lateral32 = self._laterals
        lateral16.part(rect).add_(self._doubled(lateral32, rect))
        p8 = lateral8.part(rect) + self._doubled(lateral16, rect)
        p16 = lateral16.part(rect) + _halved(p8)
        p32 = lateral32.part(rect) + _halved(p16)
        for level, values in zip(self.maps, (p8, p16, p32), strict=True):
            level.part(rect).copy_(values)

    def _doubled(self, layer: Layer, rect: Rect) -> Tensor:
        left, top, right, bottom = rect
        wide = (max(left - 1, 0), max(top - 1, 0), min(right + 1, self.cols), min(bottom + 1, self.rows))
        x = F.interpolate(layer.part(wide), scale_factor=2.0, mode="bilinear", align_corners=False)
        k = 2 * GRID // layer.stride
        y0, x0 = (top - wide[1]) * k, (left - wide[0]) * k
        return x[:, :, y0 : y0 + (bottom - top) * k, x0 : x0 + (right - left) * k]

    @torch.inference_mode()
    def head(self, rect: Rect) -> list[F32]:
        """The output maps (rows, cols, 124) float32 of a rectangle, one for each stride."""
        out = []
        for level, (conv, last) in zip(self.maps, self._heads, strict=True):
            y = last(conv(level.part(rect, border=1)))
            out.append(y[0].permute(1, 2, 0).float().cpu().numpy())
        return out


def _head(head: nn.Module) -> tuple[Convolution, Convolution]:
    assert isinstance(head, Head)
    return _convolution(head.conv, SLOPE), _convolution(head.out, None)


def _halved(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)


def _convolution(conv: nn.Conv2d, slope: float | None) -> Convolution:
    """A convolution without padding, its activation fused and its weights packed where the CPU can."""
    bare = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride).requires_grad_(False)  # type: ignore[arg-type]
    bare.weight.data, bare.bias = conv.weight.data, conv.bias
    if conv.weight.device.type == "cpu":
        try:
            return PackedConv(bare, slope, [1, conv.in_channels, 16, 24])
        except (RuntimeError, AttributeError, NotImplementedError, TypeError):
            pass

    def plain(x: Tensor) -> Tensor:
        y = bare(x)
        return y if slope is None else F.leaky_relu(y, slope, inplace=True)

    return plain
