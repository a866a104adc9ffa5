"""A small net learns what a large one found in whole pictures, which it sees smaller than the large one did.

Where the two see a picture at different sizes their cells do not correspond, so what is taught is not the teacher's maps
(`distil` does that) but its objects with their scores, found once for each picture: a step then costs the small net alone.
`alignment` tells what each cell should say of them. What comes out is the running mean of the weights (Polyak averaging).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from everyframe.operators.compress import checkpoint
from everyframe.operators.compress.alignment import loss_of
from everyframe.operators.compress.distil import Progress, flat, has_bf16
from everyframe.operators.compress.lessons import Lesson, often, sample
from everyframe.operators.detectors.nanodet import CLASSES, NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32, Objects

BATCH, RATE, WARM_STEPS = 8, 3e-4, 60
AVERAGE = 0.995
"""Weight of the mean so far, at each step."""
SAVED_EVERY = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """steps: of 8 pictures each. imgsz: longer side of what the net sees, in pixels. classes: ids of what is taught; of others the
    net says nothing afterwards. seed: of the pictures' order and changes. until: the step at which to pause. rate: of learning.
    checkpoint: a file to go on from. threads: that torch takes."""

    steps: int
    imgsz: int
    classes: tuple[int, ...]
    seed: int = 0
    until: int | None = None
    rate: float = RATE
    checkpoint: Path | None = None
    threads: int = 1


@dataclass(slots=True)
class Course:
    """A net on its way: what learns, the mean of its weights, and the steps done."""

    net: NanoDet
    mean: NanoDet
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def start(cls, student: NanoDet, plan: Plan) -> Course:
        """From a net, or from where the plan's checkpoint left off."""
        net: NanoDet = copy.deepcopy(student).requires_grad_(True).train()
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        made = cls(net, copy.deepcopy(net).requires_grad_(False), torch.optim.AdamW(net.parameters(), lr=plan.rate, weight_decay=1e-4))
        made._resume(plan.checkpoint)
        return made

    def save(self, path: Path) -> None:
        parts = {"net": self.net.state_dict(), "mean": self.mean.state_dict(), "optimizer": self.optimizer.state_dict()}
        checkpoint.save(path, {**parts, "step": self.step})

    def _resume(self, path: Path | None) -> None:
        """What is no checkpoint of a like net is passed over."""
        try:
            if saved := checkpoint.load(path):
                self.net.load_state_dict(saved["net"])
                self.mean.load_state_dict(saved["mean"])
                self.optimizer.load_state_dict(saved["optimizer"])
                self.step = int(saved["step"])
        except checkpoint.UNLIKE:
            pass

    def result(self, classes: tuple[int, ...]) -> NanoDet:
        """A copy of the mean, silent on all other classes."""
        made: NanoDet = copy.deepcopy(self.mean).eval()
        made.quantized = None
        return silenced(made, classes)


def teach(course: Course, lessons: Sequence[Lesson], plan: Plan, tell: Progress | None = None) -> None:
    """Goes on with a course up to `plan.until`. Raises `OperatorError`."""
    if not lessons:
        raise OperatorError("There is no picture to learn from: give a video that can be decoded.")
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng((plan.seed, course.step))
    chance = often(lessons)
    mean = math.nan
    last = min(plan.steps, plan.until or plan.steps)
    while course.step < last:
        share = course.step / plan.steps
        for group in course.optimizer.param_groups:
            group["lr"] = plan.rate * min(1.0, (course.step + 1) / WARM_STEPS) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))
        drawn = [sample(lessons[i], rng, plan.imgsz) for i in rng.choice(len(lessons), BATCH, p=chance)]
        loss = _step(course, np.stack([x for x, _ in drawn]), [objects for _, objects in drawn], plan.classes)
        if not math.isfinite(loss):
            raise OperatorError("Training diverged: start again with another --seed.")
        mean = loss if math.isnan(mean) else 0.95 * mean + 0.05 * loss
        course.step += 1
        if tell is not None and (course.step % 20 == 0 or course.step in (1, last)):
            tell(course.step, course.step / plan.steps, mean)
        if plan.checkpoint is not None and (course.step % SAVED_EVERY == 0 or course.step == last):
            course.save(plan.checkpoint)


def silenced(net: NanoDet, classes: tuple[int, ...]) -> NanoDet:
    """The same net, changed so that it says nothing of other classes. Weights are not all 0: int8 needs a scale for each channel."""
    others = [i for i in range(CLASSES) if i not in classes]
    for head in net.heads.values():
        out = head.get_submodule("out")
        assert isinstance(out, torch.nn.Conv2d) and out.bias is not None
        out.weight.data[others] *= 1e-3
        out.bias.data[others] = -8.0
    return net


def shifted(net: NanoDet, classes: tuple[int, ...], by: float) -> NanoDet:
    """A copy of the net with `by` added to the logits of these classes."""
    made = copy.deepcopy(net)
    for head in made.heads.values():
        out = head.get_submodule("out")
        assert isinstance(out, torch.nn.Conv2d) and out.bias is not None
        out.bias.data[list(classes)] += by
    return made


def _step(course: Course, batch: F32, objects: Sequence[Objects], classes: tuple[int, ...]) -> float:
    x = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
        maps = course.net(x)
    shapes = [(m.shape[1], m.shape[2]) for m in maps]
    loss = loss_of(flat(maps), objects, shapes, classes)
    course.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(course.net.parameters(), 10.0)
    course.optimizer.step()
    keep = min(AVERAGE, (course.step + 1) / (course.step + 10))
    with torch.no_grad():
        for ours, new in zip(course.mean.parameters(), course.net.parameters(), strict=True):
            ours.lerp_(new, 1 - keep)
    return float(loss.detach())
