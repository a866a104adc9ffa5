"""From a picture to the detector's input and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from everyframe.operators.types import F32, U8

GRID = 32
MEAN = (103.53, 116.28, 123.675)
STD = (57.375, 57.12, 58.395)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture lies in the net's input: scaled to `inner`, at the top left of `outer`.

    source, inner, outer: (width, height) in pixels. Top left, so that picture and input differ by a scale only.
    """

    source: tuple[int, int]
    inner: tuple[int, int]
    outer: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Source pixels per input pixel, (x, y)."""
        return self.source[0] / self.inner[0], self.source[1] / self.inner[1]

    def to_source(self, xyxy: F32) -> F32:
        """Boxes (n, 4) of the input in pixels of the source, clipped to it."""
        sx, sy = self.scale
        boxes = xyxy * np.array((sx, sy, sx, sy), np.float32)
        w, h = self.source
        return np.minimum(np.maximum(boxes, np.float32(0)), np.array((w, h, w, h), np.float32))

    def to_input(self, xyxy: F32) -> F32:
        """Boxes (n, 4) of the source in pixels of the input."""
        sx, sy = self.scale
        boxes: F32 = xyxy * np.array((1 / sx, 1 / sy, 1 / sx, 1 / sy), np.float32)
        return boxes


@lru_cache(maxsize=64)
def fit(width: int, height: int, imgsz: int) -> Letterbox:
    """The letterbox whose longer inner side is `imgsz`; outer sides are the next multiples of 32."""
    scale = imgsz / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    outer = (-(-inner[0] // GRID) * GRID, -(-inner[1] // GRID) * GRID)
    return Letterbox((width, height), inner, outer)


@lru_cache(maxsize=64)
def _affine(width: int) -> tuple[F32, F32]:
    """Factor and shift of the normalisation for one row of `width` BGR pixels."""
    factor = (1 / np.array(STD)).astype(np.float32)
    shift = (-np.array(MEAN) / np.array(STD)).astype(np.float32)
    return np.tile(factor, width), np.tile(shift, width)


def to_input(picture: U8, box: Letterbox) -> F32:
    """BGR (height, width, 3) uint8 to the net's input (1, outer height, outer width, 3) float32: resized,
    normalised, then padded with 0."""
    width, height = box.inner
    small = resize(picture, width, height)
    out = np.empty((1, box.outer[1], box.outer[0], 3), np.float32)
    out[0, height:] = 0
    out[0, :height, width:] = 0
    # Whole rows at once: numpy is several times slower over a last axis of 3.
    rows = out[0, :height, :width].reshape(height, -1)
    factor, shift = _affine(width)
    np.multiply(small.reshape(height, -1), factor, out=rows)
    np.add(rows, shift, out=rows)
    return out


def resize(picture: U8, width: int, height: int) -> U8:
    """A picture (h, w, 3) uint8 at another size: bilinear, after as many halvings as fit: large pictures don't alias, at a third of INTER_AREA's time."""
    while picture.shape[1] >= 2 * width and picture.shape[0] >= 2 * height:
        half = (picture.shape[1] // 2, picture.shape[0] // 2)
        picture = cv2.resize(picture, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR).astype(
            np.uint8, copy=False
        )
    return picture
