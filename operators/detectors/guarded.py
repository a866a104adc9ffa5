"""A model made for one camera, watched by the model it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everyframe.operators.boxes import iou, match
from everyframe.operators.detectors.detector import NanoDetDetector, Prepared
from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.types import U8, Objects

EVERY = 20
"""Looks from one comparison to the next."""
MEMORY = 0.9
"""Weight of what was seen before, at each comparison."""
LEAST_OBJECTS = 10.0
"""Objects, weighed so, below which nothing is concluded."""
SCORE, IOU = 0.45, 0.5


class GuardedDetector:
    """Satisfies `operators.base.Detector` and `region.crops.InParts`: looks with `small` while it agrees with `teacher`.

    Every 20th whole look the teacher looks too, and its answer is given. Their F1 is kept as a running mean in which ten
    comparisons weigh; where it falls below `least`, the teacher does all looks from then on and `note` says so. Which looks
    are compared depends on their number alone. least: of the F1, between 0 and 1.
    """

    def __init__(self, small: NanoDetDetector, teacher: NanoDetDetector, least: float) -> None:
        self._small = small
        self._teacher = teacher
        self._least = least
        self._active = small
        self._looks = 0
        self._right = self._shown = 0.0
        self.note = ""
        self.names, self.supercategory = small.names, small.supercategory
        self.runtime, self.precision = small.runtime, small.precision
        self.model, self.digest = small.model, small.digest
        self.imgsz, self.min_score = small.imgsz, small.min_score

    @property
    def describe(self) -> str:
        """Model, size, runtime and precision in one short line."""
        return self._active.describe

    @property
    def agreement(self) -> float:
        """F1 of the two so far, recent looks first; 1 before anything was seen."""
        return 2 * self._right / self._shown if self._shown else 1.0

    def detect(self, picture: U8) -> Objects:
        return self.infer(self.prepare(picture))

    def prepare(self, picture: U8) -> Prepared:
        return self._small.prepare(picture)

    def prepare_in(self, picture: U8, box: Letterbox) -> Prepared:
        return self._small.prepare_in(picture, box)

    def infer(self, prepared: Prepared) -> Objects:
        self._looks += 1
        if self._active is self._small and self._looks % EVERY == 0:
            return self._compared(self._small.infer(prepared), self._teacher.infer(prepared))
        return self._active.infer(prepared)

    def infer_many(self, prepared: Sequence[Prepared]) -> list[Objects]:
        return self._active.infer_many(prepared)

    def _compared(self, mine: Objects, wanted: Objects) -> Objects:
        a, b = mine[mine.score >= SCORE], wanted[wanted.score >= SCORE]
        groups = {name: i for i, name in enumerate(self.supercategory)}
        same: Any = [[groups[self.supercategory[i]] == groups[self.supercategory[j]] for j in b.class_id] for i in a.class_id]
        right = len(match(iou(a.xyxy, b.xyxy) * same, IOU)[0]) if len(a) and len(b) else 0
        self._right = MEMORY * self._right + right
        self._shown = MEMORY * self._shown + len(a) + len(b)
        if self._shown >= LEAST_OBJECTS and self.agreement < self._least:
            self._active = self._teacher
            self.note = (
                f"{self.model} no longer agreed with the model it was made from (F1 {self.agreement:.2f}), which took over after "
                f"{self._looks} looks: make it anew from recent video."
            )
        return wanted
