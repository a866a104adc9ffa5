"""A background and objects taken from real video: what a synthetic camera may be dressed with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import U8, Objects
from everyframe.pipeline.costs.measure import load
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.synthetic.camera import LANE_M, Camera
from everyframe.pipeline.synthetic.ground import Ground
from everyframe.pipeline.synthetic.scenery import MARGIN, NOTHING, Scenery
from everyframe.pipeline.synthetic.sprites import Sprite, look_of
from everyframe.pipeline.synthetic.truth import BUS, CAR, PERSON, TRUCK

PICTURES = 40
"""Pictures of a clip that its background is made of, spread evenly."""
LOOKS_EVERY = 2
"""Of them, one in so many is looked at by the CNN."""
MOST_SPRITES = 32
LEAST_SCORE, LEAST_HEIGHT = 0.5, 20
_HEIGHT_M = {PERSON: 1.7, CAR: 1.5, BUS: 3.0, TRUCK: 3.0}
_LENGTH_M = {PERSON: 0.5, CAR: 4.3, BUS: 11.0, TRUCK: 8.0}
_DIFFERS = 22.0

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lent:
    """What a clip lends. background (h, w, 3) uint8 BGR, without what moved. horizon, height_m: of the ground, in pixels of it
    and metres. smallest: pixels a metre of the farthest object. road: its axis in degrees and metres straight ahead, None
    without vehicles. vehicles: their share of the objects. sprites: cut out of it."""

    background: U8
    horizon: float
    height_m: float
    smallest: float
    road: tuple[float, float] | None
    vehicles: float
    sprites: tuple[Sprite, ...]

    def at(self, camera: Camera) -> tuple[Camera, Scenery]:
        """The camera moved to this place, at its own picture size, and the scenery there."""
        factor = camera.height / self.background.shape[0]
        ground = Ground(
            self.horizon * factor, self.height_m, camera.place.ground.focal, camera.width, camera.height
        )
        far = float(np.clip(self.smallest * factor, 3.0, ground.scale_at(camera.height) / 1.3))
        axis, ahead = self.road or (0.0, 1.0)
        place = replace(
            camera.place, layout="borrowed", ground=ground, far=far, axis=axis, road_z=ahead,
            road_half=LANE_M if self.road else 0.0, posts=0, parked=0, sway=0.0,
        )  # fmt: skip
        crowd = replace(camera.crowd, vehicles=self.vehicles if self.sprites else camera.crowd.vehicles)
        picture = cv2.resize(self.background, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        wide = cv2.copyMakeBorder(picture, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT)
        cover = np.full(wide.shape[:2], NOTHING, np.int16)
        return replace(camera, place=place, crowd=crowd), Scenery(np.asarray(wide, np.uint8), cover)


def borrow(video: str) -> Lent:
    """Looks at a clip with NanoDet-g and takes its background, the slope of its ground and its moving objects.

    Objects are what differs from the median of the pictures inside a detected box. Raises SourceError where the clip cannot
    be read.
    """
    pictures = list(_pictures(video))
    if not pictures:
        raise SourceError(f"{video} has no frames to take a background from: name another video.")
    background = np.median(np.stack(pictures), 0).astype(np.uint8)
    detector = load(ModelSettings())
    pictures = pictures[::LOOKS_EVERY]
    found = [_wanted(detector.detect(picture), picture.shape) for picture in pictures]
    everything = Objects.concat(found)
    horizon, height_m = _slope(everything, background.shape[0])
    cut = [
        (float(objects.score[i]), sprite)
        for picture, objects in zip(pictures, found, strict=True)
        for i in range(len(objects))
        if (sprite := _cut(picture, background, objects.xyxy[i], int(objects.class_id[i]))) is not None
    ]
    cut.sort(key=lambda pair: -pair[0])
    sprites = tuple(sprite for _, sprite in cut[:MOST_SPRITES])
    scale = (everything.xyxy[:, 3] - horizon) / height_m
    focal = 1.1 * background.shape[1]
    moving = [sprite.class_id != PERSON for sprite in sprites]
    return Lent(
        background,
        horizon,
        height_m,
        float(np.quantile(scale, 0.05)) if len(scale) else 12.0,
        _road(everything, horizon, height_m, focal, background.shape[1]) if any(moving) else None,
        float(np.mean(moving)) if moving else 0.0,
        sprites,
    )


def _pictures(video: str) -> Iterator[U8]:
    with FileSource(video) as source:
        step = max(1, (source.info.frames or 1000) // PICTURES)
        decoder = Decoder(source, vectors=False)
        index = taken = 0
        for packet in source.packets():
            for slot in decoder.push(packet, True):
                if slot.frame is not None and index % step == 0 and taken < PICTURES:
                    taken += 1
                    yield slot.frame.picture().copy()
                index += 1


def _wanted(objects: Objects, shape: tuple[int, ...]) -> Objects:
    """People and vehicles that are whole and large enough."""
    x1, y1, x2, y2 = objects.xyxy.T
    whole = (x1 > 2) & (y1 > 2) & (x2 < shape[1] - 2) & (y2 < shape[0] - 2) & (y2 - y1 >= LEAST_HEIGHT)
    return objects[whole & (objects.score >= LEAST_SCORE) & np.isin(objects.class_id, list(_HEIGHT_M))]


def _slope(objects: Objects, height: int) -> tuple[float, float]:
    """Row of the horizon and height of the camera in metres, from how large things look at which row."""
    tall = np.array([_HEIGHT_M[int(c)] for c in objects.class_id])
    foot = objects.xyxy[:, 3].astype(np.float64)
    scale = (foot - objects.xyxy[:, 1]) / tall
    if len(foot) >= 8 and np.ptp(foot) > 0.15 * height:
        slope, start = np.polyfit(foot, scale, 1)
        if slope > 0:
            horizon, height_m = -start / slope, 1 / slope
            if 1.5 <= height_m <= 40 and horizon < foot.min() - 5:
                return float(horizon), float(height_m)
    middle, size = (
        (float(np.median(foot)), float(np.median(scale))) if len(foot) else (0.7 * height, height / 12)
    )
    horizon = -0.3 * height
    return horizon, (middle - horizon) / size


def _cut(picture: U8, background: U8, box: NDArray[np.float32], class_id: int) -> Sprite | None:
    """What differs from the background in a box; None where that is no clear shape."""
    x1, y1, x2, y2 = (round(float(side)) for side in box)
    part, behind = picture[y1:y2, x1:x2], background[y1:y2, x1:x2]
    differs = np.asarray(cv2.GaussianBlur(cv2.absdiff(part, behind).max(2), (0, 0), 1.5), np.float32)
    mask = (differs > _DIFFERS).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    tall, wide = stats[largest, cv2.CC_STAT_HEIGHT], stats[largest, cv2.CC_STAT_WIDTH]
    if (
        stats[largest, cv2.CC_STAT_AREA] < 0.3 * mask.size
        or tall < 0.75 * (y2 - y1)
        or wide < 0.6 * (x2 - x1)
    ):
        return None
    alpha = cv2.GaussianBlur((labels == largest).astype(np.float32) * 255, (0, 0), 0.8)
    look = look_of(np.dstack([part, np.asarray(alpha, np.uint8)]), (y2 - y1) / _HEIGHT_M[class_id])
    return Sprite.of(class_id, [look], False, _LENGTH_M[class_id])


def _road(
    objects: Objects, horizon: float, height_m: float, focal: float, width: int
) -> tuple[float, float] | None:
    """Axis in degrees and distance straight ahead of the line along which vehicles are found."""
    boxes = objects.xyxy[objects.class_id != PERSON].astype(np.float64)
    if len(boxes) < 4:
        return None
    z = focal * height_m / np.maximum(boxes[:, 3] - horizon, 1.0)
    x = ((boxes[:, 0] + boxes[:, 2]) / 2 - width / 2) * z / focal
    (x0, z0), spread = (np.median(x), np.median(z)), np.cov(np.stack([x, z]))
    along = np.linalg.eigh(spread)[1][:, 1]
    turn = math.atan(along[1] / along[0]) if abs(along[0]) > 1e-6 else math.pi / 2
    turn = float(np.clip(turn, -1.48, 1.48))
    return math.degrees(turn), float(z0 - x0 * math.tan(turn))
