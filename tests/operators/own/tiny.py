"""Tiny nets with the outputs of well-known detectors: each finds squares of 32 pixels that lie on its grid, red ones as class 0
("person"), blue ones as class 2 ("car")."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from everyframe.operators.detectors.letterbox import MEAN, STD

SIDE = 32
LAYOUTS = ("yolox", "nanodet-plus", "yolov8", "detr")
BINS = 8


def picture(width: int, height: int, red: tuple[int, int] | None, blue: tuple[int, int] | None = None, scale: int = 1) -> Any:
    """A dark BGR picture with squares at these cells (column, row)."""
    out = np.full((height, width, 3), 10, np.uint8)
    for cell, channel in ((red, 2), (blue, 0)):
        if cell is not None:
            x, y = (c * SIDE * scale for c in cell)
            out[y : y + SIDE * scale, x : x + SIDE * scale] = 0
            out[y : y + SIDE * scale, x : x + SIDE * scale, channel] = 255
    return out


class Tiny(nn.Module):
    """Scores are how much one channel stands out of the others in a cell of 32 pixels; finer levels find nothing."""

    def __init__(self, layout: str, classes: int = 80) -> None:
        super().__init__()
        self.layout = layout
        self.classes = classes

    def logits(self, x: Tensor, stride: int) -> Tensor:
        """(1, classes, h, w)."""
        mean = F.avg_pool2d(x, stride, stride)
        blue, red = mean[:, :1], mean[:, 2:]
        first, third = 40 * (red - blue - 0.8), 40 * (blue - red - 0.8)
        low = torch.full_like(first, -40.0)
        parts = [first, low, third][: self.classes] + [low] * (self.classes - 3)
        out = torch.cat(parts[: self.classes], 1)
        return out if stride == SIDE else torch.full_like(out, -40.0)

    def places(self, x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Column and row number of each cell, (1, 1, h, w)."""
        ones = torch.ones_like(F.avg_pool2d(x[:, :1], stride, stride))
        return torch.cumsum(ones, 3) - 1, torch.cumsum(ones, 2) - 1

    def forward(self, x: Tensor) -> Any:
        if self.layout == "yolox":
            x = x / 255
            levels = [self._yolox(x, s).flatten(2) for s in (8, 16, 32)]
            return torch.cat(levels, 2).transpose(1, 2)
        if self.layout == "nanodet-plus":
            mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
            x = (x * std + mean) / 255
            levels = [self._nanodet(x, s).flatten(2) for s in (8, 16, 32, 64)]
            return torch.cat(levels, 2).transpose(1, 2)
        x = x.flip(1)  # RGB
        if self.layout == "yolov8":
            return torch.cat([self._yolov8(x, s).flatten(2) for s in (8, 16, 32)], 2)
        column, row = self.places(x, SIDE)
        wide, high = torch.ones_like(column).sum(3, keepdim=True), torch.ones_like(column).sum(2, keepdim=True)
        one = torch.ones_like(column)
        boxes = torch.cat(((column + 0.5) / wide, (row + 0.5) / high, one / wide, one / high), 1)
        return self.logits(x, SIDE).flatten(2).transpose(1, 2), boxes.flatten(2).transpose(1, 2)

    def _yolox(self, x: Tensor, stride: int) -> Tensor:
        scores = self.logits(x, stride).sigmoid()
        one = torch.ones_like(scores[:, :1])
        return torch.cat((one * 0.5, one * 0.5, one * 0, one * 0, one, scores), 1)

    def _nanodet(self, x: Tensor, stride: int) -> Tensor:
        scores = self.logits(x, stride).sigmoid()
        one = torch.ones_like(scores[:, :1])
        near = [one * 60] + [one * 0] * (BINS - 1)
        far = [one * 0, one * 60] + [one * 0] * (BINS - 2)
        return torch.cat((scores, *near, *near, *far, *far), 1)

    def _yolov8(self, x: Tensor, stride: int) -> Tensor:
        column, row = self.places(x, stride)
        side = torch.full_like(column, float(stride))
        return torch.cat(((column + 0.5) * stride, (row + 0.5) * stride, side, side, self.logits(x, stride).sigmoid()), 1)


def export(path: Path, layout: str, size: tuple[int, int] | None, classes: int = 80) -> str:
    """Writes an ONNX file. size: width and height of its input, None for a free one."""
    width, height = size or (128, 64)
    axes = {"images": {2: "height", 3: "width"}} if size is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tiny(layout, classes), (torch.zeros(1, 3, height, width),), str(path), dynamo=False, input_names=["images"],
            dynamic_axes=axes,
        )  # fmt: skip
    return str(path)
