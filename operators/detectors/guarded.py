"""A model made for one camera, watched by the model it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe.operators.boxes import iou, match
from everyframe.operators.detectors.detector import NanoDetDetector, Prepared
from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.types import U8, Objects

EVERY, SELDOM = 20, 160
"""Looks from one comparison to the next, at first and where the two agree well: then they are few enough to cost little."""
MEMORY = 0.9
"""Weight of what was seen before, at each comparison."""
MOST_OBJECTS = 6.0
"""That one comparison weighs, of both models together: a crowd that has gone is not to hide what is seen now."""
LEAST_OBJECTS = 10.0
"""Objects, weighed so, below which nothing is concluded."""
SAFE = 0.1
"""How much better than the least agreement lets comparisons become seldom."""
SCORE, IOU = 0.45, 0.5


@dataclass(frozen=True, slots=True)
class Watched(Prepared):
    """A picture made ready for the small model, and the picture itself: the other may see it larger. BGR (h, w, 3) uint8."""

    picture: U8


class GuardedDetector:
    """Satisfies `operators.base.Detector` and `region.crops.InParts`: looks with `small` while it agrees with `teacher`.

    At every 20th whole look the teacher looks too, and its answer is given. Their F1 is kept as a running mean in which ten
    comparisons weigh; where it falls below `least`, the teacher does all looks from then on and `note` says so. While it is
    higher by .1 the comparisons become seldom, up to every 160th look. Which looks are compared depends on what was found
    in earlier ones alone. least: of the F1, between 0 and 1. classes: ids of what the small model was taught, none for all; what
    else the teacher sees is left out.
    """

    def __init__(self, small: NanoDetDetector, teacher: NanoDetDetector, least: float, classes: tuple[int, ...] = ()) -> None:
        self._small = small
        self._teacher = teacher
        self._least = least
        self._classes = np.array(classes or range(len(small.names)), np.int32)
        self._active = small
        self._looks, self._next, self._pause = 0, EVERY, EVERY
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

    def prepare(self, picture: U8) -> Watched:
        ready = self._active.prepare(picture)
        return Watched(ready.input, ready.box, picture)

    def prepare_in(self, picture: U8, box: Letterbox) -> Prepared:
        return self._active.prepare_in(picture, box)

    def infer(self, prepared: Prepared) -> Objects:
        self._looks += 1
        if self._active is self._teacher:
            return self._taught(self._teacher.infer(self._for_teacher(prepared)))
        mine = self._taught(self._small.infer(prepared))
        if self._looks < self._next:
            return mine
        return self._compared(mine, self._taught(self._teacher.infer(self._for_teacher(prepared))))

    def infer_many(self, prepared: Sequence[Prepared]) -> list[Objects]:
        return [self._taught(found) for found in self._active.infer_many(prepared)]

    def _for_teacher(self, prepared: Prepared) -> Prepared:
        """What was prepared before it took over is prepared anew."""
        if isinstance(prepared, Watched) and max(prepared.box.inner) != self._teacher.imgsz:
            return self._teacher.prepare(prepared.picture)
        return prepared

    def _taught(self, found: Objects) -> Objects:
        return found[np.isin(found.class_id, self._classes)]

    def _compared(self, mine: Objects, wanted: Objects) -> Objects:
        a, b = mine[mine.score >= SCORE], wanted[wanted.score >= SCORE]
        groups = {name: i for i, name in enumerate(self.supercategory)}
        same: Any = [[groups[self.supercategory[i]] == groups[self.supercategory[j]] for j in b.class_id] for i in a.class_id]
        right = len(match(iou(a.xyxy, b.xyxy) * same, IOU)[0]) if len(a) and len(b) else 0
        shown = len(a) + len(b)
        weight = min(1.0, MOST_OBJECTS / shown) if shown else 0.0
        self._right = MEMORY * self._right + weight * right
        self._shown = MEMORY * self._shown + weight * shown
        if self._shown >= LEAST_OBJECTS:
            self._conclude(2 * right / shown if shown else 1.0)
        self._next = self._looks + self._pause
        return wanted

    def _conclude(self, now: float) -> None:
        """now: F1 of the last comparison alone: a bad one is followed up soon."""
        if self.agreement >= self._least:
            self._pause = min(2 * self._pause, SELDOM) if min(now, self.agreement) >= self._least + SAFE else EVERY
            return
        self._active, self.imgsz = self._teacher, self._teacher.imgsz
        self.note = (
            f"{self.model} no longer agreed with the model it was made from (F1 {self.agreement:.2f}), which took over after "
            f"{self._looks} looks: make it anew from recent video."
        )
