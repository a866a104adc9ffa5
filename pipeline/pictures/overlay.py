"""Drawing labels into pictures: colour and line say how a box came to be. Pictures are BGR uint8, changed in place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from everyframe.operators.types import NO_TRACK, U8, Objects, Origin
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
    Origin.REGION: Style((60, 160, 20), (14, 3.5), 1.0),
    Origin.RESIDUAL: Style((150, 220, 90), SOLID, 0.7),
    Origin.FLOW: Style((200, 120, 0), (9, 2, 2, 2), 1.0),
    Origin.PROPAGATED: Style((0, 165, 255), (5, 3.5), 1.0),
    Origin.INTERPOLATED: Style((255, 180, 86), (1, 2.4), 1.0),
    Origin.HELD: Style((225, 150, 235), (7, 3.5, 1, 3.5), 0.6),
}


def line_width(width: int, height: int) -> int:
    """A line's width in pixels that suits a picture of this size."""
    return max(1, round(math.sqrt(min(width, height)) / 8))


def draw_labels(
    picture: U8, labels: FrameLabels, names: tuple[str, ...], scale: float = 1.0, line: int | None = None
) -> None:
    """Draws every box of a frame's labels; see `draw_objects`."""
    draw_objects(picture, labels.objects, names, scale, line)


def draw_objects(
    picture: U8, objects: Objects, names: tuple[str, ...], scale: float = 1.0, line: int | None = None
) -> None:
    """Draws every box, and class, track and score beside it.

    scale: size of this picture over that of the source's. line: width in pixels, default one that suits the picture.
    Held boxes come first, detected ones on top.
    """
    height, width = picture.shape[:2]
    line = line or line_width(width, height)
    boxes = np.rint(objects.xyxy * scale).astype(np.int64).clip(-4 * width, 5 * width).tolist()
    order = np.argsort(-objects.origin.astype(np.int64), kind="stable").tolist()
    for i in order:
        draw_box(picture, boxes[i][:2], boxes[i][2:], STYLES[Origin(int(objects.origin[i]))], line)
    size = 8 + 2 * line
    taken: list[tuple[int, int, int, int]] = []
    for i in reversed(order):
        text = _tag_text(objects, i, names, boxes[i][2] - boxes[i][0], size)
        colour = STYLES[Origin(int(objects.origin[i]))].colour
        _tag(picture, boxes[i], text, size, colour, taken)


def _tag_text(objects: Objects, i: int, names: tuple[str, ...], room: int, size: int) -> str:
    """Class, track and score; less of it above a narrow box, so that neighbours stay readable."""
    class_id, track_id = int(objects.class_id[i]), int(objects.track_id[i])
    name = names[class_id] if class_id < len(names) else str(class_id)
    short = name if track_id == NO_TRACK else f"{name} {track_id}"
    full = f"{short}  {objects.score[i]:.2f}"
    return full if text_size(full, size)[0] <= 1.5 * room else short


def draw_box(picture: U8, start: Sequence[int], end: Sequence[int], style: Style, line: int) -> None:
    """A rectangle in a style, over a thin dark shadow that keeps it visible on bright ground."""
    (x1, y1), (x2, y2) = start, end
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))
    width = max(1, round(line * style.weight))
    if not style.dashes:
        cv2.rectangle(picture, start, end, INK, width + 2)
        cv2.rectangle(picture, start, end, style.colour, width)
        return
    strokes = [s for a, b in pairwise(corners) for s in _dashes(a, b, style.dashes, width)]
    for colour, thickness in ((INK, width + 2), (style.colour, width)):
        for a, b in strokes:
            cv2.line(picture, a, b, colour, thickness)


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


def _tag(
    picture: U8, box: list[int], text: str, size: int, colour: Colour, taken: list[tuple[int, int, int, int]]
) -> None:
    """A filled label above a box, else below or inside it: the first place that is in the picture and not taken."""
    (width, height), pad = text_size(text, size), 3
    width, height = width + 2 * pad, height + 2 * pad
    left = min(max(box[0], 0), max(0, picture.shape[1] - width))
    places = [(left, y) for y in (box[1] - height, box[3], box[1], box[3] - height)]
    places = [(x, y) for x, y in places if 0 <= y <= picture.shape[0] - height] or [(left, max(0, box[1]))]
    free = [(x, y) for x, y in places if not any(_overlap((x, y, x + width, y + height), t) for t in taken)]
    x, y = (free or places)[0]
    taken.append((x, y, x + width, y + height))
    cv2.rectangle(picture, (x, y), (x + width, y + height), colour, cv2.FILLED)
    put_text(picture, (x + pad, y + height - pad), text, size, INK)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


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
