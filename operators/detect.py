"""The full CNN on a frame: the most expensive rung, and the one that finds new objects."""

from __future__ import annotations

from everyframe.operators.base import Detector, Needs
from everyframe.operators.types import Objects, Origin, View


class Detect:
    """The detector's objects of this picture; what was known before plays no part."""

    name = "detect"
    needs = Needs(pixels=True)
    outcome = Origin.DETECTED

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def apply(self, view: View, objects: Objects) -> Objects:
        """Objects of `view.picture`, `NO_TRACK`, origin detected, sorted by falling score."""
        if view.picture is None:
            raise ValueError("detect needs pixels, and this frame was not decoded")
        return self.detector.detect(view.picture())
