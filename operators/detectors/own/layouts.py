"""What the usual detectors give out, and how boxes are read from it. Pure: arrays in, arrays out.

Each layout is what the model's own exporter writes by default:

- `yolox`: (1, n, 5 + c): centre and size relative to the cell, objectness and class scores already in 0..1 (Ge et al.,
  YOLOX, 2021; exported without `decode_in_inference`). Cells of strides 8, 16, 32.
- `nanodet-plus`: (1, n, c + 4 (m + 1)): class scores in 0..1, then a distribution over m + 1 distances for each side
  (Li et al., Generalized Focal Loss, 2020). Cells of strides 8, 16, 32, 64.
- `yolov8`: (1, 4 + c, n): centre and size in pixels of the input, class scores in 0..1.
- `detr`: (1, q, c) class logits and (1, q, 4) centre and size in shares of the input (Zhao et al., RT-DETR, 2024;
  Peng et al., D-FINE, 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32, I32

LayoutName = Literal["yolox", "nanodet-plus", "yolov8", "detr"]
Size = tuple[int, int]
"""Width and height in pixels."""
Found = tuple[F32, I32, F32]
"""Score (n,), class (n,) and box xyxy (n, 4) in pixels of the input."""

_STRIDES: dict[str, tuple[int, ...]] = {"yolox": (8, 16, 32), "nanodet-plus": (8, 16, 32, 64), "yolov8": (8, 16, 32)}
_COCO = 80
_BINS = (8, 11)
"""Distances a side that exports of the NanoDet family have."""


@dataclass(frozen=True, slots=True)
class Layout:
    """decode: (outputs, input size, lowest score) to what was found. suppresses: doubles are still to be left out."""

    name: LayoutName
    classes: int
    decode: Callable[[Sequence[F32], Size, float], Found]
    suppresses: bool = True


def recognise(shapes: Sequence[Sequence[int]], size: Size, name: LayoutName | None = None, classes: int | None = None) -> Layout:
    """The layout of a model with these output shapes for an input of `size`.

    name, classes: where the user has declared them. Raises `OperatorError` with what was expected where nothing fits, or
    more than one thing does.
    """
    fitting = [
        layout for layout in _candidates([tuple(s) for s in shapes], size)
        if name in (None, layout.name) and classes in (None, layout.classes)
    ]  # fmt: skip
    if len(fitting) > 1:
        fitting = [layout for layout in fitting if layout.classes == _COCO] or fitting
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join("x".join(map(str, shape)) for shape in shapes)
    if fitting:
        names = " or ".join(dict.fromkeys(f"{found.name} with {found.classes} classes" for found in fitting))
        raise OperatorError(f"its outputs ({shown}) may be {names}: say which in a YAML file beside it (layout, names).")
    wanted = f" of layout {name}" if name else ""
    wanted += f" with {classes} classes" if classes else ""
    raise OperatorError(
        f"its outputs ({shown} for an input of {size[0]}x{size[1]}) are none that are known{wanted}: expected YOLOX "
        f"(1, {cells(size, _STRIDES['yolox'])}, 5 + classes), NanoDet-Plus (1, {cells(size, _STRIDES['nanodet-plus'])}, classes + "
        f"32), YOLOv8 (1, 4 + classes, {cells(size, _STRIDES['yolov8'])}) or DETR (1, queries, classes) and (1, queries, 4); for "
        "anything else write an adapter in Python (docs/models.md)."
    )


def _candidates(shapes: list[tuple[int, ...]], size: Size) -> list[Layout]:
    if len(shapes) == 1 and len(shapes[0]) == 3:
        _, a, b = shapes[0]
        found = []
        if a == cells(size, _STRIDES["yolox"]) and b > 5:
            found.append(Layout("yolox", b - 5, _yolox))
        if a == cells(size, _STRIDES["nanodet-plus"]):
            found += [Layout("nanodet-plus", b - 4 * m, _nanodet_plus(m)) for m in _BINS if b > 4 * m]
        if b == cells(size, _STRIDES["yolov8"]) and a > 4:
            found.append(Layout("yolov8", a - 4, _yolov8))
        return found
    if len(shapes) == 2 and all(len(shape) == 3 for shape in shapes) and shapes[0][1] == shapes[1][1]:
        last = [shape[2] for shape in shapes]
        return [Layout("detr", last[1 - at], _detr(at), suppresses=False) for at in (1, 0) if last[at] == 4][:1]
    return []


def cells(size: Size, strides: Sequence[int]) -> int:
    """How many cells the levels of these strides have together."""
    return sum(-(-size[0] // s) * -(-size[1] // s) for s in strides)


def _grid(size: Size, strides: Sequence[int]) -> tuple[F32, F32]:
    """Column and row (n, 2) of each cell, and its stride (n,), level after level, rows first."""
    places, steps = [], []
    for s in strides:
        cols, rows = -(-size[0] // s), -(-size[1] // s)
        y, x = np.mgrid[:rows, :cols]
        places.append(np.stack((x, y), -1).reshape(-1, 2))
        steps.append(np.full(rows * cols, s))
    return np.concatenate(places).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _good(scores: F32, least: float) -> tuple[NDArray[np.intp], Found]:
    """Rows of (n, c) scores that reach `least`, with score and class; boxes are still empty."""
    row, column = np.nonzero(scores >= least)
    return row, (scores[row, column].astype(np.float32), column.astype(np.int32), np.zeros((len(row), 4), np.float32))


def _corners(centre: F32, side: F32) -> F32:
    boxes: F32 = np.concatenate((centre - side / 2, centre + side / 2), 1).astype(np.float32)
    return boxes


def _yolox(outputs: Sequence[F32], size: Size, least: float) -> Found:
    out = outputs[0][0]
    row, (score, class_id, _) = _good(out[:, 4:5] * out[:, 5:], least)
    place, stride = (part[row] for part in _grid(size, _STRIDES["yolox"]))
    box = out[row, :4]
    side = np.exp(np.minimum(box[:, 2:], 20)) * stride[:, None]
    return score, class_id, _corners((box[:, :2] + place) * stride[:, None], side)


def _nanodet_plus(bins: int) -> Callable[[Sequence[F32], Size, float], Found]:
    def decode(outputs: Sequence[F32], size: Size, least: float) -> Found:
        out = outputs[0][0]
        classes = out.shape[1] - 4 * bins
        row, (score, class_id, _) = _good(out[:, :classes], least)
        place, stride = (part[row] for part in _grid(size, _STRIDES["nanodet-plus"]))
        weights = out[row, classes:].reshape(-1, 4, bins)
        weights = np.exp(weights - weights.max(2, keepdims=True, initial=-np.inf))
        away = (weights @ np.arange(bins, dtype=np.float32)) / weights.sum(2) * stride[:, None]
        centre = place * stride[:, None]
        return score, class_id, np.concatenate((centre - away[:, :2], centre + away[:, 2:]), 1).astype(np.float32)

    return decode


def _yolov8(outputs: Sequence[F32], size: Size, least: float) -> Found:
    out = outputs[0][0].T
    row, (score, class_id, _) = _good(out[:, 4:], least)
    return score, class_id, _corners(out[row, :2], out[row, 2:4])


def _detr(boxes_at: int) -> Callable[[Sequence[F32], Size, float], Found]:
    def decode(outputs: Sequence[F32], size: Size, least: float) -> Found:
        logits, boxes = outputs[1 - boxes_at][0], outputs[boxes_at][0]
        scores = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        row, (score, class_id, _) = _good(scores, least)
        box = boxes[row] * np.array((*size, *size), np.float32)
        return score, class_id, _corners(box[:, :2], box[:, 2:])

    return decode
