"""Where designs become nets: cut, found anew from the user's pictures, taught, rounded, and judged against the teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from everyframe.operators.compress.lessons import Lesson
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.compress.ranges import rounded
from everyframe.operators.compress.refit import Memory, refit, remember
from everyframe.operators.compress.subnet import cut
from everyframe.operators.compress.teach import RATE, Course, Plan, teach
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.slim import Slim
from everyframe.operators.types import F32
from everyframe.pipeline.compression.designs import Design, opened_as
from everyframe.pipeline.compression.make import Tell
from everyframe.pipeline.compression.recipe import inputs_of
from everyframe.pipeline.compression.specialize import UNSURE, calibrated

SURE = 0.3
"""The teacher's score from which an object's place is one that counts."""
QUICK, CAREFUL = 24, 64
"""Pictures that a net is found from: to be compared, and to be kept."""
ROUNDED = 8
"""Pictures that the ranges of a net that is compared come from."""
KEPT_SIZES = 3
"""Input sizes of which the full net's answers stay in memory."""
ROUND = 50
"""Steps of learning from one judgement to the next."""


@dataclass(frozen=True, slots=True)
class Made:
    """A net, quantized where its design says so, and its F1 against the teacher on the held pictures."""

    net: NanoDet
    f1: float
    steps: int = 0


@dataclass(slots=True)
class Studio:
    """slim: weights that designs are cut from. lessons, held: to find nets from, and to judge them by. ids: classes that count.
    settle: steps of learning before a design is judged. threads: to learn with."""

    slim: Slim
    lessons: list[Lesson]
    held: list[Lesson]
    ids: tuple[int, ...]
    settle: int = 0
    seed: int = 0
    threads: int = 1
    _memories: dict[tuple[int, int], Memory] = field(default_factory=dict)

    def tried(self, design: Design) -> Made:
        """Made quickly, to be compared with others. Raises OperatorError."""
        net = self._found(design, QUICK)
        if self.settle and not design.subnet.whole:
            course, plan = self._course(net, design, self.settle)
            teach(course, self.lessons, plan)
            net = course.result(self.ids)
        if design.precision == "int8":
            net = rounded(net, self.inputs(design.imgsz, ROUNDED))
        return self._judged(net, design)

    def finished(self, design: Design, steps: int, time_left: Callable[[], bool], tell: Tell | None = None) -> Made:
        """Made with care, and taught while there is time; the best of what came out on the way. Raises OperatorError."""
        net = self._found(design, CAREFUL)
        best = self._judged(self._rounded(net, design), design)
        tell = tell or (lambda _: None)
        tell(f"{design}: F1 {best.f1:.3f} before learning")
        course, plan = self._course(net, design, steps)
        for until in range(ROUND, steps + 1, ROUND):
            if not time_left():
                break
            teach(course, self.lessons, replace(plan, until=until))
            made = self._judged(self._rounded(course.result(self.ids), design), design)
            tell(f"learning: step {until} of at most {steps}, F1 {made.f1:.3f}")
            if made.f1 > best.f1:
                best = Made(made.net, made.f1, until)
        return best

    def _found(self, design: Design, pictures: int) -> NanoDet:
        net = cut(self.slim, design.subnet)
        return net if design.subnet.whole else refit(net, self._memory(design.imgsz, pictures))

    def _rounded(self, net: NanoDet, design: Design) -> NanoDet:
        return quantize(net, self.inputs(design.imgsz, CAREFUL)) if design.precision == "int8" else net

    def _judged(self, net: NanoDet, design: Design) -> Made:
        """With scores shifted on the held pictures so that the usual threshold means the same to it and to the teacher."""
        shifted, f1 = calibrated(net, design.imgsz, self.ids, self.held, opened_as(net, design, UNSURE))
        return Made(shifted, f1)

    def _course(self, net: NanoDet, design: Design, steps: int) -> tuple[Course, Plan]:
        rate = RATE if design.subnet.whole else 2 * RATE  # what is cut has more to learn
        plan = Plan(steps, design.imgsz, self.ids, self.seed, rate=rate, threads=self.threads)
        return Course.start(net, plan), plan

    def _memory(self, imgsz: int, pictures: int) -> Memory:
        key = (imgsz, pictures)
        if key not in self._memories:
            torch.set_num_threads(self.threads)
            few = _even(self.lessons, pictures)
            self._memories[key] = remember(self.slim.net, self.inputs(imgsz, pictures), [_boxes(one, imgsz) for one in few], self.seed)
            while len(self._memories) > KEPT_SIZES:
                del self._memories[next(iter(self._memories))]
        return self._memories[key]

    def inputs(self, imgsz: int, pictures: int) -> list[F32]:
        """Pictures made ready for a net."""
        return inputs_of([[lesson.picture for lesson in _even(self.lessons, pictures)]], imgsz, pictures)


def _even(lessons: Sequence[Lesson], most: int) -> list[Lesson]:
    return list(lessons[:: max(1, len(lessons) // most)][:most])


def _boxes(lesson: Lesson, imgsz: int) -> F32:
    """What the teacher found, in pixels of the net's input."""
    box = fit(lesson.picture.shape[1], lesson.picture.shape[0], imgsz)
    return box.to_input(lesson.objects.xyxy[lesson.objects.score >= SURE])
