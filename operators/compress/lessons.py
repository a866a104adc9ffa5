"""Pictures to learn from, with what a teacher found in them, changed at random as a camera's light and view change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everyframe.operators.detectors.letterbox import MEAN, STD, Letterbox, fit
from everyframe.operators.types import F32, U8, Objects

F64 = NDArray[np.float64]

ZOOM = (0.85, 1.2)
LEAST_SHOWN = 0.35
"""Share of an object's area that the cut must show; with less it is background."""
BUSY = 0.3
"""The teacher's score from which a picture is one that shows something."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One picture and what the teacher found in it. picture: BGR (h, w, 3) uint8. objects: boxes in its pixels, scores from
    low ones up: what the teacher is unsure of, the pupil is to be as unsure of."""

    picture: U8
    objects: Objects


def sample(lesson: Lesson, rng: np.random.Generator, imgsz: int) -> tuple[F32, Objects]:
    """A picture as the net will see it, often zoomed, shifted, mirrored and toned: (h, w, 3) float32, normalised, padded with 0;
    and its objects there."""
    picture, objects = lesson.picture, lesson.objects
    box = fit(picture.shape[1], picture.shape[0], imgsz)
    shift, zoom, mirror = np.zeros(2), 1.0, False
    if rng.random() < 0.75:
        zoom = math.exp(rng.uniform(*np.log(ZOOM)))
        slack = np.array(box.inner) * (1 - zoom)
        shift = rng.uniform(np.minimum(slack, 0), np.maximum(slack, 0) + 8)
        mirror = rng.random() < 0.5
    scale = zoom / np.array(box.scale)
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float64)
    if mirror:
        matrix[0] = (-matrix[0, 0], 0, box.inner[0] - 1 - matrix[0, 2])
    small = cv2.warpAffine(picture, matrix, box.inner, flags=cv2.INTER_AREA if scale.max() < 0.6 else cv2.INTER_LINEAR)
    out = np.zeros((box.outer[1], box.outer[0], 3), np.float32)
    out[: box.inner[1], : box.inner[0]] = _toned(small.astype(np.float32), rng)
    return out, _moved(objects, matrix, box)


def _moved(objects: Objects, matrix: F64, box: Letterbox) -> Objects:
    """Objects as the affine picture shows them, clipped to it; those of which too little is left are gone."""
    x = objects.xyxy[:, 0::2] * matrix[0, 0] + matrix[0, 2]
    y = objects.xyxy[:, 1::2] * matrix[1, 1] + matrix[1, 2]
    whole = np.stack((x.min(1), y.min(1), x.max(1), y.max(1)), 1) if len(objects) else np.zeros((0, 4))
    seen = np.clip(whole, 0, np.array(box.inner * 2))
    area = np.prod(seen[:, 2:] - seen[:, :2], axis=1)
    good = area >= LEAST_SHOWN * np.prod(whole[:, 2:] - whole[:, :2], axis=1) + 1e-6
    return Objects.of(seen[good].astype(np.float32), objects.score[good], objects.class_id[good])


def often(lessons: Sequence[Lesson]) -> F64:
    """Chance of each picture to be drawn: a half is for those that show something."""
    busy = np.array([float((lesson.objects.score >= BUSY).any()) for lesson in lessons])
    alike: F64 = np.full(len(lessons), 1 / len(lessons))
    if not 0 < busy.mean() < 0.5:
        return alike
    chance: F64 = 0.5 * (busy / busy.sum() + alike)
    return chance


def _toned(picture: F32, rng: np.random.Generator) -> F32:
    """Other light, now and then grey or noisy; then normalised as the net wants it."""
    if rng.random() < 0.6:
        gain, shift = rng.uniform(0.75, 1.25), rng.uniform(-20, 20)
        picture = ((picture - 128) * gain + 128 + shift).astype(np.float32) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    if rng.random() < 0.1:
        picture = picture.mean(2, keepdims=True).repeat(3, 2)
    if rng.random() < 0.15:
        picture = picture + rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(1, 6))
    out: F32 = ((np.clip(picture, 0, 255) - np.array(MEAN)) / np.array(STD)).astype(np.float32)
    return out
