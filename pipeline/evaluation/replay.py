"""A detector that gives known detections again, for sweeps in which accuracy matters and cost does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from everyframe.operators.detectors import Prepared
from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.region.crops import InParts
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.evaluation.dense import Dense, picture_key
from everyframe.pipeline.models import LoadedDetector


@dataclass(frozen=True, slots=True)
class _Seen:
    picture: U8
    key: int


class PlainReplay:
    """Stands for `detector` on the pictures of a clip whose detections are known; others it hands on.

    Known by their pixels, so that it does not matter in which order, or after which gap, a picture comes. Costs
    measured with it mean nothing.
    """

    def __init__(self, known: Dense, detector: LoadedDetector) -> None:
        self._detector = detector
        self._known = dict(zip(known.pictures.tolist(), known.frames, strict=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def detect(self, picture: U8) -> Objects:
        return self.infer(self.prepare(picture))

    def prepare(self, picture: U8) -> Any:
        return _Seen(picture, picture_key(picture))

    def infer(self, prepared: Any) -> Objects:
        if not isinstance(prepared, _Seen):  # made of a part of a picture, or to measure a price
            return self._detector.infer(prepared)
        known = self._known.get(prepared.key)
        return self._detector.detect(prepared.picture) if known is None else known


class ReplayDetector(PlainReplay):
    """The same of a detector `InParts`: parts of pictures are really looked at."""

    @property
    def imgsz(self) -> int:
        return self._detector.imgsz

    def prepare_in(self, picture: U8, box: Letterbox) -> Prepared:
        made: Prepared = self._detector.prepare_in(picture, box)  # type: ignore[attr-defined]
        return made

    def infer_many(self, prepared: Sequence[Prepared]) -> list[Objects]:
        found: list[Objects] = self._detector.infer_many(prepared)  # type: ignore[attr-defined]
        return found


def replaying(known: Dense, detector: LoadedDetector) -> PlainReplay:
    """The stand-in that can do what the detector can."""
    return (ReplayDetector if isinstance(detector, InParts) else PlainReplay)(known, detector)
