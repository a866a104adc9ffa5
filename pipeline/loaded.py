"""Detectors that are loaded once in a process and used for every stream of a like picture."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

from everyframe.operators.base import Detector
from everyframe.operators.detectors.detector import MIN_SCORE
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.labelling.capacities import check_alike
from everyframe.pipeline.labelling.warm import warm_crops, warm_detector, warm_rungs
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.policies.registry import make_policy

_WARM: WeakKeyDictionary[Detector, set[tuple[tuple[str, ...], tuple[int, int]]]] = WeakKeyDictionary()
"""What each detector was warmed for: rungs, and the size of pictures whose crops it has seen."""


class Detectors:
    """Gives the detector for a stream, warm. given: used for every stream in place of the one the settings name."""

    def __init__(self, given: Detector | None = None) -> None:
        self._given = given
        self._loaded: dict[tuple[ModelSettings, int, int, float], Detector] = {}

    def get(self, settings: LabelSettings, info: SourceInfo) -> Detector:
        """Raises DetectorError. Its lowest score is that of the settings, or lower: weak detections continue tracks."""
        detector = self._given or self._load(settings, info)
        traits = make_policy(settings.policy, settings.mode).traits
        size = (info.width, info.height) if traits.looks_at_crops else (0, 0)
        done = _WARM.setdefault(detector, set())
        if (traits.rungs, size) not in done:
            warm_rungs(detector, traits.rungs)
            warm_crops(detector, *size)
            done.add((traits.rungs, size))
        return detector

    def capacities(self, settings: LabelSettings, info: SourceInfo, detector: Detector) -> dict[str, Detector]:
        """Those of the settings' capacities that are cheaper here than `detector`, the run's own, by rung; warm.

        settings: with the prices of capacities. Raises DetectorError, also where one knows other classes.
        """
        found = {}
        for capacity in settings.capacities:
            if capacity.cost < 1:
                other = self._load(replace(settings, model=capacity.model), info)
                check_alike(detector, other, capacity.name)
                found[capacity.rung.name] = other
        return found

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
