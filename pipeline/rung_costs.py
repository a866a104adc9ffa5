"""CPU ms of the rungs that run a part of the CNN, on a scene of which a tenth moves: what `everyframe costs` shows of them.

What such a rung costs depends on what there is to do; on a video, `everyframe evaluate` measures it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import process_time

import cv2
import numpy as np

from everyframe.operators.base import Detector, Prices
from everyframe.operators.registry import OPERATORS
from everyframe.operators.types import MotionField, Objects, View
from everyframe.pipeline.cost_table import Cost, CostTable, default_table
from everyframe.pipeline.costs import cost_row, open_detector, settled, translated
from everyframe.pipeline.ladder import ALWAYS, Ladder
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.prices import prices_for
from everyframe.pipeline.settings import ModelSettings

FRAMES = 8
OBJECTS = 5
STEP = 2.0  # pixels in a frame, to the right


def measure_rungs(settings: ModelSettings, width: int, height: int, table: CostTable | None = None) -> list[Cost]:
    """Every rung between propagate and detect, measured on the runtime that "auto" comes to; kept in the table.

    The median of a few frames after the first. Raises DetectorError.
    """
    table = table or default_table()
    detector = open_detector(settings, width, height, table=table)
    model = settled(settings, detector)
    prices = prices_for(model, width, height, detector, table)
    rows = []
    for name in OPERATORS:
        if name in ALWAYS:
            continue
        row = cost_row(name, (width, height), detector.digest, model.runtime, model.precision, model.threads)
        with translated():
            ms = float(np.median(list(_frames(name, detector, prices, width, height))))
        rows.append(replace(row, ms=ms))
    table.put(rows)
    return rows


def _frames(name: str, detector: Detector, prices: Prices, width: int, height: int) -> Iterator[float]:
    """CPU ms of the rung, what it keeps up to date included, for each frame after a whole look and a first try."""
    ladder = Ladder(detector, (name,), prices, Meter())
    for index in range(FRAMES + 2):
        view, objects = _scene(width, height, index)
        start = process_time()
        ladder.follow(view)
        ladder.look("detect" if index == 0 else name, view, objects)
        if index > 1:
            yield (process_time() - start) * 1e3


def _scene(width: int, height: int, index: int) -> tuple[View, Objects]:
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
