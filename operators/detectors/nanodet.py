"""NanoDet-g in PyTorch: a plain-convolution detector, split at the features that its neck gives.

`features` is backbone and neck, `head` the three heads: warped or patched features go into the same `head` as
fresh ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (8, 16, 32)
CLASSES = 80
BINS = 11
OUTPUTS = CLASSES + 4 * BINS
NECK = 128

BLOCKS = (1, 2, 2, 3)
"""Of the four stages."""

Maps = tuple[Tensor, Tensor, Tensor]


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


def _act(x: Tensor) -> Tensor:
    # In place: half of the buffers, and with them a fifth of the time on a CPU.
    return F.leaky_relu(x, 0.1, inplace=True)


class Block(nn.Module):
    """Two convolutions in a row, both results kept: c channels in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = _conv(channels, channels // 2)
        self.conv_b = _conv(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        a = _act(self.conv_a(x))
        return torch.cat((_act(self.conv_b(a)), a), 1)


class Stage(nn.Module):
    """Cross-stage-partial stage: (1, c, h, w) to (1, 2c, h / stride, w / stride)."""

    def __init__(self, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.entry = _conv(channels, channels, stride=stride)
        self.blocks = blocks
        for i in range(blocks):
            self.add_module(f"block{i}", Block(channels))
        self.exit = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        entry = _act(self.entry(x))
        y = entry
        for i in range(self.blocks):
            y = self.get_submodule(f"block{i}")(y)
        return torch.cat((_act(self.exit(y)), entry), 1)


class Head(nn.Module):
    """One level's class logits and side bins: (1, 128, h, w) to (1, 124, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = _conv(NECK, NECK)
        self.out = _conv(NECK, OUTPUTS, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(_act(self.conv(x)))
        return out


@dataclass(frozen=True, slots=True)
class Quantized:
    """How a net is computed in int8 where the runtime can.

    scales: by convolution, float32 (outputs,): its weights are whole multiples, -127 to 127, of the scale of their output.
    ranges: by node of the traced net, lowest and highest of what it gives: 256 levels; none: only weights are rounded.
    states: by convolution, how many levels its weights have (`bits`) where these are not 255: 15, 3 or 2.
    """

    scales: dict[str, Tensor]
    ranges: dict[str, tuple[float, float]]
    states: dict[str, int] = field(default_factory=dict)


class NanoDet(nn.Module):
    """The whole net; parameter names are those of the weights file. quantized: None for plain float32. blocks: of each stage, 0
    and more; nets that `search` found may have fewer."""

    def __init__(self, blocks: tuple[int, int, int, int] = BLOCKS) -> None:
        super().__init__()
        self.quantized: Quantized | None = None
        self.stem = _conv(3, 32, stride=2)
        self.stage1 = Stage(32, blocks[0], stride=1)
        self.stage2 = Stage(64, blocks[1], stride=2)
        self.stage3 = Stage(128, blocks[2], stride=2)
        self.stage4 = Stage(256, blocks[3], stride=2)
        self.lateral = nn.ModuleDict(
            {str(s): _conv(c, NECK, kernel=1) for s, c in zip(STRIDES, (128, 256, 512), strict=True)}
        )
        self.heads = nn.ModuleDict({str(s): Head() for s in STRIDES})

    def features(self, x: Tensor) -> Maps:
        """(1, 3, h, w) normalised BGR, h and w divisible by 32, to maps of 128 channels at stride 8, 16, 32."""
        return self.neck(self.backbone(x))

    def backbone(self, x: Tensor) -> Maps:
        """As `features`, to maps of 128, 256, 512 channels."""
        x = F.max_pool2d(_act(self.stem(x)), 3, 2, 1)
        p8: Tensor = self.stage2(self.stage1(x))
        p16: Tensor = self.stage3(p8)
        p32: Tensor = self.stage4(p16)
        return p8, p16, p32

    def neck(self, maps: Maps) -> Maps:
        """The backbone's maps, each with what the other levels see (path aggregation)."""
        p8, p16, p32 = (self.lateral[str(s)](f) for s, f in zip(STRIDES, maps, strict=True))
        p16 = p16 + _resize(p32, 2.0)
        p8 = p8 + _resize(p16, 2.0)
        p16 = p16 + _resize(p8, 0.5)
        return p8, p16, p32 + _resize(p16, 0.5)

    def head(self, features: Maps) -> Maps:
        """Features to one map a level, (1, h, w, 124): 80 class logits, then 11 bins for each of left, top,
        right, bottom."""
        o8, o16, o32 = (
            self.heads[str(s)](p).permute(0, 2, 3, 1) for s, p in zip(STRIDES, features, strict=True)
        )
        return o8, o16, o32

    def forward(self, x: Tensor) -> Maps:
        return self.head(self.features(x))


def _resize(x: Tensor, scale: float) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def convolutions(net: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """By the names that the net has for them."""
    return [(name, conv) for name, conv in net.named_modules() if isinstance(conv, nn.Conv2d)]
