"""A scene in which something moves, for what must run before there is a video: measuring costs, compiling kernels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from everyframe.operators.types import MotionField, Objects, View

OBJECTS = 5
STEP = 2.0  # pixels in a frame, to the right


def moving_scene(width: int, height: int, index: int) -> tuple[View, Objects]:
    """Textured squares on a textured ground, a tenth of the picture together, moved by `index` steps; and their tracks."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 200, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    picture = cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    side = max(8, round((0.1 * width * height / OBJECTS) ** 0.5))
    corner = np.stack((
        np.linspace(0.05, 0.75, OBJECTS) * width + STEP * index, rng.uniform(0, 0.9, OBJECTS) * (height - side)
    ), 1)  # fmt: skip
    corner = np.floor(corner)
    xyxy = np.concatenate((corner, corner + side), 1)
    still = MotionField.still(width, height)
    motion = still.motion.copy()
    for x1, y1, x2, y2 in xyxy.astype(int).tolist():
        cloth = rng.integers(0, 256, (side // 4 + 1, side // 4 + 1, 3), np.uint8)
        part = picture[y1:y2, x1:x2]
        part[:] = cv2.resize(cloth, (side, side), interpolation=cv2.INTER_CUBIC)[: part.shape[0], : part.shape[1]]
        motion[y1 // 8 : -(-y2 // 8), x1 // 8 : -(-x2 // 8), 0] = STEP
    objects = Objects.of(xyxy, np.full(OBJECTS, 0.9), np.zeros(OBJECTS), np.arange(1, OBJECTS + 1))
    luma = picture[:, :, 1].copy()
    return View(width, height, replace(still, motion=motion), lambda: picture, lambda: luma), objects
