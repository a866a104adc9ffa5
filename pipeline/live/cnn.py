"""The CNN that all cameras share, with what it tells of itself: used by both crews."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from everyframe.operators.base import Detector
from everyframe.operators.detectors.detector import MIN_SCORE
from everyframe.operators.region.crops import InParts
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.labelling.warm import warm_detector
from everyframe.pipeline.live.crew import CnnNews
from everyframe.pipeline.live.load import rss_bytes
from everyframe.pipeline.live.pool import DetectorPool
from everyframe.pipeline.settings import ModelSettings

USUAL = (1280, 720)
"""The picture size that the fastest runtime is chosen for."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What cameras must know of the detector. names, supercategory: of its classes, by `class_id`. imgsz: longer side of what it
    sees, 0 where a part of a picture costs as much as the whole."""

    names: tuple[str, ...]
    supercategory: tuple[str, ...]
    imgsz: int = 0


class Cnn:
    """cores: what it may use to begin with. Raises DetectorError."""

    def __init__(self, model: ModelSettings, cores: float) -> None:
        self._detector: Detector = open_detector(model, *USUAL, MIN_SCORE)
        warm_detector(self._detector, *USUAL)
        imgsz = self._detector.imgsz if isinstance(self._detector, InParts) else 0
        self.facts = Facts(self._detector.names, self._detector.supercategory, imgsz)
        self.pool = DetectorPool(lambda: self._detector, cores)

    def news(self) -> CnnNews:
        pool = self.pool
        return CnnNews(
            os.getpid(), not pool.fault, pool.cpu_s, time.process_time(), rss_bytes(), pool.waiting, pool.looks,
            pool.dropped, pool.fault, pool.queue_times(), pool.cnn_times(),
        )  # fmt: skip

    def pace(self, cores: float) -> None:
        """What it may use from now on."""
        self.pool.budget = cores

    def close(self) -> None:
        self.pool.close()
