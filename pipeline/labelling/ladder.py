"""One stream's rungs: made once, kept up to date, and their CPU time charged to the steps that users see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from everyframe.operators.base import Detector, Keyed, Operator, Prices, Remembering
from everyframe.operators.region.crops import look_at
from everyframe.operators.registry import make_operator
from everyframe.operators.types import I32, U8, MotionField, Objects, Origin, View
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.records import Frame

WHOLE = frozenset({Origin.DETECTED, Origin.RESIDUAL})
"""Outcomes of a rung that has seen the whole picture."""
ALWAYS = ("hold", "propagate", "detect")


class Ladder:
    """Applies rungs by name. rungs: those wanted beside hold, propagate and detect. capacities: further detectors by the name
    of their rung, as "detect@fast"."""

    def __init__(
        self, detector: Detector, rungs: Sequence[str], prices: Prices, meter: Meter,
        capacities: Mapping[str, Detector] | None = None,
    ) -> None:  # fmt: skip
        self._detector = detector
        self._meter = meter
        names = dict.fromkeys((*ALWAYS, *rungs))
        self._rungs: dict[str, Operator] = {name: make_operator(name, detector, prices) for name in names}
        self._whole = {"detect": self._rungs["detect"]}
        self._whole |= {name: make_operator(name, other) for name, other in (capacities or {}).items()}
        self._rungs |= self._whole
        for rung in list(self._rungs.values()):
            if isinstance(rung, Keyed):
                self._rungs["detect"] = rung.key
        self._remembering = [rung for rung in self._rungs.values() if isinstance(rung, Remembering)]

    def view(self, frame: Frame, motion: MotionField | None) -> View:
        return View(frame.width, frame.height, motion, self._metered(frame.picture), frame.luma)

    def hold(self, objects: Objects) -> Objects:
        return self._rungs["hold"].apply(View(0, 0), objects)

    def propagate(self, view: View, objects: Objects) -> Objects:
        with self._meter.step("propagate"):
            return self._rungs["propagate"].apply(view, objects)

    def follow(self, view: View) -> None:
        """Keeps the rungs that remember up to date with one more decoded frame."""
        with self._meter.step("propagate"):
            for rung in self._remembering:
                rung.follow(view)

    def forget(self) -> None:
        for rung in self._remembering:
            rung.forget()

    def detect(self, frame: Frame, step: str = "cnn", rung: str = "detect") -> Objects:
        """A look at a whole picture out of turn, charged to `step`: the rungs that remember are not told."""
        with self._meter.step(step):
            return self._whole[rung].apply(self.view(frame, None), Objects.empty())

    def detect_part(self, frame: Frame, crops: I32) -> Objects:
        """A look at rectangles (k, 4) of a picture out of turn."""
        picture = self._metered(frame.picture)()
        with self._meter.step("region"):
            return look_at(self._detector, picture, crops)

    def look(self, name: str, view: View, objects: Objects) -> tuple[Objects, Origin]:
        """What a rung gives for a frame, and how its labels came to be."""
        with self._meter.step(name) as step:
            rung = self._rungs[name]
            found = rung.apply(view, objects)
            if rung.outcome == Origin.DETECTED:
                step.name = "cnn"
            if rung.outcome in WHOLE:
                for other in self._remembering:
                    if other is not rung:
                        other.looked(view)
        return found, rung.outcome

    def _metered(self, picture: Callable[[], U8]) -> Callable[[], U8]:
        def converted() -> U8:
            with self._meter.step("convert"):
                return picture()

        return converted
