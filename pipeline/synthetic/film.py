"""Takes the pictures: scenery, plants in the wind, objects by their distance; and the truth of what is seen of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import F32, U8
from everyframe.pipeline.synthetic.camera import Camera, Generator
from everyframe.pipeline.synthetic.paint import I16, NOBODY, paint, seen
from everyframe.pipeline.synthetic.scenery import MARGIN, Scenery
from everyframe.pipeline.synthetic.sensor import Sensor
from everyframe.pipeline.synthetic.traffic import Placed, Traffic

LEAST_PIXELS = 16
"""Objects of which fewer pixels are seen have no row in the truth."""
LEAST_SIDE = 3.0

Box = tuple[float, float, float, float]
Row = tuple[float, ...]


@dataclass(slots=True)
class Shake:
    """The camera's own motion in pixels: jolts that die away in a swing, and a steady tremble (an AR(2) process)."""

    strength: float
    jolts_s: float
    rate: int
    rng: Generator
    _at: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    _speed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def step(self) -> tuple[float, float]:
        """Where the picture's corner is in the next frame, at most `MARGIN` - 2 pixels off."""
        if not self.strength:
            return 0.0, 0.0
        pull = min(0.9, 60.0 / self.rate**1.5)
        push = self.rng.normal(0, 0.35 * self.strength, 2)
        if self.rng.random() < 1 / (self.jolts_s * self.rate):
            push += self.rng.normal(0, 2 * self.strength, 2)
        self._speed = 0.8 * self._speed - pull * self._at + push
        self._at = np.clip(self._at + self._speed, 2 - MARGIN, MARGIN - 2)
        return float(self._at[0]), float(self._at[1])


def film(camera: Camera, scenery: Scenery, traffic: Traffic) -> Iterator[tuple[U8, list[Row]]]:
    """All frames of a camera: the planes of yuv420p, (height * 3 / 2, width) uint8, and the truth.

    Rows of truth: identity, x1, y1, x2, y2 (pixels, around what is seen), visibility, class id; see `SceneTruth`.
    """
    shake = Shake(camera.picture.shake, camera.picture.jolts_s, camera.rate, camera.rng(4))
    wind, sensor = Wind(camera, scenery), Sensor(camera)
    repeats = camera.rng(5)
    planes: U8 | None = None
    rows: list[Row] = []
    for index in range(camera.frames):
        off = shake.step()
        placed = traffic.step()
        if planes is None or repeats.random() >= camera.picture.repeats:
            picture, rows = take(camera, scenery, wind.blow(index / camera.rate), placed, off)
            planes = sensor.develop(picture, index)
        yield planes, rows


def take(
    camera: Camera, scenery: Scenery, background: U8, placed: list[Placed], off: tuple[float, float]
) -> tuple[U8, list[Row]]:
    """One picture, (height, width, 3) uint8 BGR, and its truth. off: pixels (x, y) by which the camera is turned."""
    width, height = camera.width, camera.height
    corner = (MARGIN + off[0], MARGIN + off[1])
    whole = (round(corner[0]), round(corner[1]))
    if off == (0.0, 0.0):
        picture = background[MARGIN : MARGIN + height, MARGIN : MARGIN + width].copy()
    else:
        shift = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]], np.float32)
        picture = np.asarray(cv2.warpAffine(background, shift, (width, height)), np.uint8)
    owner = np.full((height, width), NOBODY, np.int16)
    boxes = [_box(p, off) for p in placed]
    counts = [
        _draw(camera, scenery, picture, owner, whole, p, box, number)
        for number, (p, box) in enumerate(zip(placed, boxes, strict=True))
    ]
    rows = [
        row
        for number, (p, box) in enumerate(zip(placed, boxes, strict=True))
        if (row := _row(owner, number, p, box, counts[number])) is not None
    ]
    return picture, sorted(rows)


def _box(placed: Placed, off: tuple[float, float]) -> Box:
    """Left, top, width, height in the picture."""
    left, bottom, width, height = (side * placed.scale for side in placed.look.box)
    return placed.column + left - off[0], placed.row - bottom - height - off[1], width, height


def _draw(
    camera: Camera,
    scenery: Scenery,
    picture: U8,
    owner: I16,
    whole: tuple[int, int],
    p: Placed,
    box: Box,
    number: int,
) -> int:
    left, top, width, height = box
    if left > camera.width or left + width < 0 or top > camera.height or top + height < 0:
        return 0
    sprite = p.look.scale_for(height)
    if camera.picture.shadow and camera.place.layout != "indoor":
        tall = height * 0.22
        foot = (left + width * 0.12, top + height - tall * 0.62, width * 1.05, tall)
        dark = p.look.scale_for(tall).copy()
        dark[..., :3] = 0
        paint(picture, owner, scenery.cover, whole, dark, foot, NOBODY, p.row, camera.picture.shadow)
    haze = camera.picture.haze * min(1.0, camera.place.far / p.scale)
    return paint(picture, owner, scenery.cover, whole, sprite, box, number, p.row, haze=haze)


def _row(owner: I16, number: int, placed: Placed, box: Box, count: int) -> Row | None:
    """The truth of one object: the outline where nothing hides it, else the border of what is seen."""
    if count == 0:
        return None
    visible, tight = seen(owner, number, box)
    if visible < LEAST_PIXELS:
        return None
    left, top, width, height = box
    outline = (left, top, left + width, top + height)
    sides = [o if abs(o - t) <= 1.0 else float(t) for o, t in zip(outline, tight, strict=True)]
    rows, cols = owner.shape
    x1, y1, x2, y2 = max(0.0, sides[0]), max(0.0, sides[1]), min(cols, sides[2]), min(rows, sides[3])
    if x2 - x1 < LEAST_SIDE or y2 - y1 < LEAST_SIDE:
        return None
    return placed.identity, x1, y1, x2, y2, min(1.0, visible / count), placed.class_id


class Wind:
    """Moves the plants of a background."""

    def __init__(self, camera: Camera, scenery: Scenery) -> None:
        self._scenery = scenery
        self._sway = camera.place.sway
        rng = camera.rng(6)
        self._plants = [(part, *self._plan(rng, scenery.background[part])) for part in scenery.plants]

    def _plan(self, rng: Generator, part: U8) -> tuple[F32, F32, F32, F32, float]:
        """Row and column of each pixel of a plant, its phase, by how much it moves, and how often a second."""
        rows, cols = part.shape[:2]
        y, x = np.mgrid[:rows, :cols].astype(np.float32)
        phase = x / cols * np.float32(rng.uniform(2, 8)) + y / rows * np.float32(rng.uniform(2, 8))
        bend = np.sin(np.pi * (x + 0.5) / cols) * np.sin(np.pi * np.minimum((y + 0.5) / rows, 0.5))
        return y, x, phase, bend.astype(np.float32) * np.float32(self._sway), float(rng.uniform(0.3, 1.6))

    def blow(self, t: float) -> U8:
        """The background at a time in seconds; not to be written to."""
        if not self._plants:
            return self._scenery.background
        out = self._scenery.background.copy()
        gust = 0.55 + 0.45 * np.sin(t * 0.4) * np.sin(t * 0.13 + 1)
        for part, y, x, phase, bend, often in self._plants:
            still = self._scenery.background[part]
            moved = bend * np.sin(phase + np.float32(2 * np.pi * often * t)) * np.float32(gust)
            out[part] = cv2.remap(
                still, x + moved, y + moved * np.float32(0.4), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
        return out
