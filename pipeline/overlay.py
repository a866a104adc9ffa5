"""Drawing labels into pictures: colour and line say how a box came to be. Pictures are BGR uint8, changed in place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from everyframe.operators.types import NO_TRACK, U8, Origin
from everyframe.pipeline.records import FrameLabels

Colour = tuple[int, int, int]
Point = tuple[int, int]

INK: Colour = (33, 28, 24)
PAPER: Colour = (255, 255, 255)
# Line patterns in units of the line's width: on, off, on, off ...
SOLID: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Style:
    """colour: BGR, told apart by colour-blind eyes too. dashes: lengths on and off in line widths. weight: of the line."""

    colour: Colour
    dashes: tuple[float, ...]
    weight: float


STYLES: dict[Origin, Style] = {
    Origin.DETECTED: Style((92, 200, 60), SOLID, 1.0),
    Origin.PROPAGATED: Style((0, 165, 255), (5, 3.5), 1.0),
    Origin.INTERPOLATED: Style((255, 180, 86), (1.2, 2.2), 1.0),
    Origin.HELD: Style((205, 140, 220), (5, 2.5, 1, 2.5), 0.6),
}


def line_width(width: int, height: int) -> int:
    """A line's width in pixels that suits a picture of this size."""
    return max(1, round(min(width, height) / 270))


def draw_labels(picture: U8, labels: FrameLabels, names: tuple[str, ...], scale: float = 1.0, text: bool = True) -> None:
    """Draws every box, and class, track and score above it.

    scale: size of this picture over that of the source's. Held boxes come first, detected ones on top.
    """
    height, width = picture.shape[:2]
    line = line_width(width, height)
    objects = labels.objects
    boxes = np.rint(objects.xyxy * scale).astype(np.int64).clip(-4 * width, 5 * width)
    for i in np.argsort(-objects.origin.astype(np.int64), kind="stable").tolist():
        style = STYLES[Origin(int(objects.origin[i]))]
        x1, y1, x2, y2 = boxes[i].tolist()
        draw_box(picture, (x1, y1), (x2, y2), style, line)
        if text:
            class_id, track_id = int(objects.class_id[i]), int(objects.track_id[i])
            name = names[class_id] if class_id < len(names) else str(class_id)
            track = "" if track_id == NO_TRACK else f" {track_id}"
            _tag(picture, (x1, y1), f"{name}{track}  {objects.score[i]:.2f}", style.colour, line)


def draw_box(picture: U8, start: Point, end: Point, style: Style, line: int) -> None:
    """A rectangle in a style, over a thin dark shadow that keeps it visible on bright ground."""
    (x1, y1), (x2, y2) = start, end
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))
    width = max(1, round(line * style.weight))
    if not style.dashes:
        cv2.rectangle(picture, start, end, INK, width + 2)
        cv2.rectangle(picture, start, end, style.colour, width)
        return
    strokes = [s for a, b in pairwise(corners) for s in _dashes(a, b, style.dashes, width)]
    for colour, extra in ((INK, 2), (style.colour, 0)):
        for a, b in strokes:
            cv2.line(picture, a, b, colour, width + extra)


def draw_line(picture: U8, start: Point, end: Point, style: Style, line: int) -> None:
    """One straight line in a style, for legends."""
    width = max(1, round(line * style.weight))
    for a, b in _dashes(start, end, style.dashes, width):
        cv2.line(picture, a, b, style.colour, width)


def _dashes(start: Point, end: Point, pattern: tuple[float, ...], width: int) -> Iterable[tuple[Point, Point]]:
    """The strokes of a line, a whole number of patterns so that corners look alike."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    if not pattern or length == 0:
        return [(start, end)]
    unit = max(width, 1.6)
    wanted = sum(pattern) * unit
    repeats = min(max(1, round(length / wanted)), 400)
    stretch = length / (repeats * wanted + pattern[0] * unit)
    edges = np.cumsum([0.0, *(list(pattern) * repeats), pattern[0]]) * unit * stretch / length
    a, b = np.array(start), np.array(end)
    points = np.rint(a + edges[:, None] * (b - a)).astype(int).tolist()
    return [((p[0], p[1]), (q[0], q[1])) for p, q in zip(points[::2], points[1::2], strict=True)]


def _tag(picture: U8, corner: Point, text: str, colour: Colour, line: int) -> None:
    """A filled label above a box, inside it where there is no room above, moved into the picture at the sides."""
    size = 11 + 2 * line
    width, height = text_size(text, size)
    pad = 2 + line
    x = min(max(corner[0], 0), max(0, picture.shape[1] - width - 2 * pad))
    y = corner[1] - height - 2 * pad
    y = y if y >= 0 else max(0, corner[1])
    cv2.rectangle(picture, (x, y), (x + width + 2 * pad, y + height + 2 * pad), colour, cv2.FILLED)
    put_text(picture, (x + pad, y + pad + height), text, size, INK)


def put_text(picture: U8, origin: Point, text: str, size: int, colour: Colour, bold: bool = False) -> None:
    """Text with its base line at `origin`; size: height of a line in pixels."""
    if (face := _face()) is not None:
        cv2.putText(picture, text, origin, colour, face, size, 700 if bold else 500)
    else:
        text = text.encode("ascii", "replace").decode()
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size / 32, colour, 1 + bold, cv2.LINE_AA)


def text_size(text: str, size: int, bold: bool = False) -> Point:
    """Width of a text and height of its capitals, pixels."""
    if (face := _face()) is not None:
        width = cv2.getTextSize((1 << 14, 1 << 14), text, (0, 0), face, size, 700 if bold else 500)[2]
        return int(width), round(size * 0.72)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size / 32, 1 + bold)
    return int(width), int(height)


@cache
def _face() -> Any:
    """OpenCV's own TrueType font; None before OpenCV 5, which has stroke fonts only."""
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
