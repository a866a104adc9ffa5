"""What moves: sprites with an outline, in several views or steps of a walk, at several scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from everyframe.operators.types import U8

_LEAST_SIDE = 6
_SOLID = 128
_STEP_M = 0.19  # metres from one picture of a walk to the next


@dataclass(frozen=True, slots=True)
class Look:
    """One picture of an object. scales: (h, w, 4) uint8, colour times alpha, each half as large as the one before.
    box: left, bottom, width, height in metres from the middle of its foot, up and right positive."""

    scales: tuple[U8, ...]
    box: tuple[float, float, float, float]

    def scale_for(self, height: float) -> U8:
        """The smallest that is at least as high as `height` pixels, else the largest."""
        fit = [scale for scale in self.scales if scale.shape[0] >= height]
        return fit[-1] if fit else self.scales[0]

    def mirrored(self) -> Look:
        left, bottom, width, height = self.box
        flipped = tuple(np.ascontiguousarray(scale[:, ::-1]) for scale in self.scales)
        return Look(flipped, (-left - width, bottom, width, height))


@dataclass(frozen=True, slots=True)
class Sprite:
    """An object's looks, going right and going left. walks: they are steps of a walk, else views from straight from the
    side (first) to straight from the front (last). length_m: from end to end along its way."""

    class_id: int
    right: tuple[Look, ...]
    left: tuple[Look, ...]
    walks: bool
    length_m: float

    @classmethod
    def of(cls, class_id: int, looks: list[Look], walks: bool, length_m: float) -> Sprite:
        return cls(class_id, tuple(looks), tuple(look.mirrored() for look in looks), walks, length_m)

    def look(self, heading: float, walked_m: float) -> Look:
        """heading: radians on the ground from straight to the right. walked_m: metres on its way so far."""
        looks = self.right if math.cos(heading) >= 0 else self.left
        if self.walks:
            return looks[int(walked_m / _STEP_M) % len(looks)]
        turned = math.atan2(abs(math.sin(heading)), abs(math.cos(heading))) / (math.pi / 2)
        return looks[min(len(looks) - 1, round(turned * (len(looks) - 1)))]


class Sheet:
    """A transparent sheet to draw on, in metres: x to the right of its middle, y up from its lower border."""

    def __init__(self, width_m: float, height_m: float, per_m: float) -> None:
        self._per_m = per_m
        self._width, self._height = round(width_m * per_m), round(height_m * per_m)
        self.pixels = np.zeros((self._height, self._width, 4), np.uint8)

    def _at(self, x: float, y: float) -> tuple[int, int]:
        return round(self._width / 2 + x * self._per_m), round(self._height - y * self._per_m)

    def polygon(self, points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
        corners = np.array([self._at(*point) for point in points], np.int32)
        cv2.fillPoly(self.pixels, [corners], (*colour, 255))

    def line(self, points: list[tuple[float, float]], thick_m: float, colour: tuple[int, int, int]) -> None:
        corners = np.array([self._at(*point) for point in points], np.int32)
        cv2.polylines(self.pixels, [corners], False, (*colour, 255), max(1, round(thick_m * self._per_m)))

    def oval(self, x: float, y: float, across: float, up: float, colour: tuple[int, int, int]) -> None:
        axes = (max(1, round(across * self._per_m)), max(1, round(up * self._per_m)))
        cv2.ellipse(self.pixels, self._at(x, y), axes, 0, 0, 360, (*colour, 255), -1)

    def look(self, rng: np.random.Generator, rough: float, smaller: int = 2) -> Look:
        """Shaded, roughened by `rough` grey levels, cut to its outline and scaled down `smaller` times."""
        grain = rng.normal(0, rough, (self._height // 6 + 1, self._width // 6 + 1)).astype(np.float32)
        grain = np.asarray(
            cv2.resize(grain, (self._width, self._height), interpolation=cv2.INTER_CUBIC), np.float32
        )
        light = np.linspace(12, -18, self._height, dtype=np.float32)[:, None]
        colour = np.clip(self.pixels[..., :3] + (grain + light)[..., None], 0, 255).astype(np.uint8)
        size = (max(1, self._width // smaller), max(1, self._height // smaller))
        whole = cv2.resize(np.dstack([colour, self.pixels[..., 3]]), size, interpolation=cv2.INTER_AREA)
        return look_of(np.asarray(whole, np.uint8), self._per_m / smaller)


def look_of(picture: U8, per_m: float) -> Look:
    """A look from a picture (h, w, 4) whose lower border is the ground, with `per_m` pixels a metre.

    Raises ValueError where nothing of it is solid.
    """
    solid = picture[..., 3] >= _SOLID
    rows, cols = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not len(rows):
        raise ValueError("a sprite without solid pixels")
    top, bottom, left, right = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
    height, width = picture.shape[:2]
    box = (
        (left - width / 2) / per_m,
        (height - bottom) / per_m,
        (right - left) / per_m,
        (bottom - top) / per_m,
    )
    cut = picture[top:bottom, left:right]
    alpha = cut[..., 3:].astype(np.uint16)
    scales = [np.dstack([(cut[..., :3] * alpha // 255).astype(np.uint8), cut[..., 3]])]
    while min(scales[-1].shape[:2]) >= 2 * _LEAST_SIDE:
        h, w = scales[-1].shape[:2]
        half = cv2.resize(scales[-1], ((w + 1) // 2, (h + 1) // 2), interpolation=cv2.INTER_AREA)
        scales.append(np.asarray(half, np.uint8))
    return Look(tuple(np.ascontiguousarray(scale) for scale in scales), box)
