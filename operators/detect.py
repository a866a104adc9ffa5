"""The CNN on a whole frame: the rung that finds new objects. In more than one capacity where a run has several models."""

from __future__ import annotations

from everyframe.operators.base import Detector, Needs
from everyframe.operators.types import Objects, Origin, View


class Detect:
    """The detector's objects of this picture; what was known before plays no part.

    capacity: which of a run's models it is, as in "detect@fast"; "" for the one that labels are held to.
    """

    needs = Needs(pixels=True)
    outcome = Origin.DETECTED

    def __init__(self, detector: Detector, capacity: str = "") -> None:
        self.name = f"detect@{capacity}" if capacity else "detect"
        self.detector = detector

    def apply(self, view: View, objects: Objects) -> Objects:
        """Objects of `view.picture`, `NO_TRACK`, origin detected, sorted by falling score."""
        if view.picture is None:
            raise ValueError("detect needs pixels, and this frame was not decoded")
        return self.detector.detect(view.picture())
