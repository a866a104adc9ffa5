"""Detectors that are loaded once in a process and used for every stream of a like picture."""

from __future__ import annotations

from everyframe.operators.base import Detector
from everyframe.operators.detectors.detector import MIN_SCORE
from everyframe.pipeline.costs import open_detector
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.pipeline.warm import warm_detector, warm_rungs
from everyframe.policies.registry import make_policy


class Detectors:
    """Gives the detector for a stream, warm. given: used for every stream in place of the one the settings name."""

    def __init__(self, given: Detector | None = None) -> None:
        self._given = given
        self._loaded: dict[tuple[ModelSettings, int, int, float], Detector] = {}
        self._warm: set[tuple[int, tuple[str, ...]]] = set()

    def get(self, settings: LabelSettings, info: SourceInfo) -> Detector:
        """Raises DetectorError. Its lowest score is that of the settings, or lower: weak detections continue tracks."""
        detector = self._given or self._load(settings, info)
        rungs = make_policy(settings.policy, settings.mode).traits.rungs
        if (id(detector), rungs) not in self._warm:
            warm_rungs(detector, rungs)
            self._warm.add((id(detector), rungs))
        return detector

    def _load(self, settings: LabelSettings, info: SourceInfo) -> Detector:
        least = min(MIN_SCORE, settings.conf)
        key = (settings.model, info.width, info.height, least)
        if key not in self._loaded:
            detector = open_detector(settings.model, info.width, info.height, least)
            warm_detector(detector, info.width, info.height)
            self._loaded[key] = detector
        return self._loaded[key]

    def clear(self) -> None:
        self._loaded.clear()
        self._warm.clear()
