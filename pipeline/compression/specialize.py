"""A model for one camera, from its own unlabelled video.

The teacher is the full model. The video is split by time: the first half is learned from, all but the last fifth of it, by which
is judged when to stop; the second half is seen once, for the report. `shapes` tells how small the model must be.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np

from everyframe.operators.compress.lessons import Lesson
from everyframe.operators.compress.prune import prune
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.compress.teach import RATE, Course, Plan, shifted, teach
from everyframe.operators.detectors import coco, weights
from everyframe.operators.detectors.detector import NanoDetDetector
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import U8
from everyframe.pipeline.compression.judge import CONF, HEIGHT, WIDTH, Verdict, facts, judge
from everyframe.pipeline.compression.make import Tell
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.recipe import inputs_of
from everyframe.pipeline.compression.shapes import Shape, opened, shapes_for
from everyframe.pipeline.costs.measure import open_detector, translated
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.metrics import agree, group_table, select
from everyframe.pipeline.models import CLASSES, GUARD, IMGSZ
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sinks.files import write_whole

LEARN, STOP, REPORT = Part(0.0, 0.4), Part(0.4, 0.5), Part(0.5, 1.0)
PICTURES = 400
ROUND, STEPS = 100, 1200
"""Steps from one judgement to the next, and at most."""
TRIAL = 2 * ROUND
"""Steps after which shapes are compared."""
UNSURE = 0.08
"""The teacher's score from which an object is taught, as a doubtful one."""
CALIBRATION = 64
LEAST_AGREEMENT = "0.7"
"""F1 with the teacher below which it takes over in a run."""
SHIFTS = np.arange(-1.5, 1.51, 0.1)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for. speedup: of a look, against the full model in its fastest f32 runtime. target_f1: against the full
    model, at which learning stops. steps: at most. imgsz: longer side of what the teacher sees, in pixels. threads: to learn with."""

    videos: tuple[str, ...]
    out: str
    classes: tuple[str, ...] = ()
    speedup: float = 8.0
    target_f1: float = 0.95
    steps: int = STEPS
    imgsz: int = 640
    seed: int = 0
    teacher: str = "full"
    threads: int = 1

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(coco.NAMES.index(name) for name in self.classes) or tuple(range(len(coco.NAMES)))

    def checkpoint(self, shape: Shape) -> Path:
        """Where the learning of a shape is kept until the model is done: of this wish alone."""
        return Path(self.out).with_suffix(f".{self._key}.{shape.share:g}.{shape.imgsz}.ckpt")

    def begun(self) -> list[Shape]:
        """Shapes of which an earlier call that was interrupted has left a checkpoint."""
        out = Path(self.out)
        names = [path.name.split(f".{self._key}.")[1] for path in out.parent.glob(f"{out.stem}.{self._key}.*.ckpt")]
        parts = [name.removesuffix(".ckpt").rpartition(".") for name in sorted(names)]
        return [Shape(float(share), int(size), math.nan) for share, _, size in parts]

    @property
    def _key(self) -> str:
        return hashlib.sha256(repr(asdict(replace(self, steps=0, target_f1=0.0, threads=0))).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Outcome:
    """steps: after which the model was the best. stopped_f1: its F1 on pictures near those that were learned from. later: on the second half. rounds: F1 at each
    judgement. minutes: it took."""

    shape: Shape
    steps: int
    rounds: tuple[float, ...]
    stopped_f1: float
    later: Verdict
    minutes: float


@dataclass(frozen=True, slots=True)
class _School:
    """All that learning needs: what is taught, and what is judged by."""

    wish: Wish
    teacher: NanoDet
    lessons: list[Lesson]
    held: list[Lesson]
    tell: Tell


@dataclass(frozen=True, slots=True)
class _Learned:
    """The best of the nets after each round, quantized; after how many steps it was; the F1 of every round."""

    net: NanoDet
    steps: int
    rounds: tuple[float, ...]

    @property
    def f1(self) -> float:
        return max(self.rounds)


def specialize(wish: Wish, tell: Tell) -> Outcome:
    """Makes the model and writes it. Raises EveryframeError."""
    out, since = Path(wish.out), monotonic()
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise UsageError(f"--out: write a file name that ends in .safetensors, in a folder that is there; not {out}")
    with translated():
        teacher = weights.load_nanodet(weights.read(wish.teacher), wish.teacher)
        learn = read_pictures(wish.videos, PICTURES, LEARN, tell)
        stop = read_pictures(wish.videos, PICTURES // 6, STOP, tell)
        school = _School(wish, teacher, *taught(wish, learn, stop), tell)
        shapes = wish.begun() or shapes_for(teacher, wish.teacher, wish.imgsz, wish.speedup, learn, tell)
        shape, learned = _best(school, shapes)
        net, said = learned.net, _about(wish, shape, learned.steps)
        write_whole(out, weights.pack(net, said))  # without its guard: the teacher is not to answer for it
        later = judge(str(out), wish.teacher, read_pictures(wish.videos, PICTURES // 4, REPORT, tell), _settings(wish), wish.classes)
        write_whole(out, weights.pack(net, {**said, **facts(later), GUARD: LEAST_AGREEMENT}))
    for other in shapes:
        wish.checkpoint(other).unlink(missing_ok=True)
    return Outcome(shape, learned.steps, learned.rounds, learned.f1, later, (monotonic() - since) / 60)


def taught(wish: Wish, learn: Sequence[Sequence[U8]], stop: Sequence[Sequence[U8]]) -> tuple[list[Lesson], list[Lesson]]:
    """What the teacher finds, once for each picture. Raises OperatorError where that is nothing in `stop`."""
    full = open_detector(replace(_settings(wish), model=wish.teacher), WIDTH, HEIGHT, UNSURE)
    ids = np.array(wish.ids, np.int32)
    found = [[Lesson(p, select(full.detect(p), ids, UNSURE)) for video in part for p in video] for part in (learn, stop)]
    if not any((lesson.objects.score >= CONF).any() for lesson in found[1]):
        raise OperatorError("the full model finds nothing of these classes in the video: choose others, or a busier hour")
    return found[0], found[1]


def _best(school: _School, shapes: Sequence[Shape]) -> tuple[Shape, _Learned]:
    """The shape that agrees best after a round of learning is learned to the end; the first that is good enough by then is taken."""
    best, reached = shapes[0], -1.0
    before: _Learned | None = None
    for shape in shapes if len(shapes) > 1 else ():
        tried = _learned(school, shape, TRIAL)
        if tried.f1 >= school.wish.target_f1:
            return shape, tried
        if tried.f1 > reached:
            best, reached, before = shape, tried.f1, tried
    after = _learned(school, best)
    return best, after if before is None or after.f1 >= before.f1 else before


def _learned(school: _School, shape: Shape, most: int | None = None) -> _Learned:
    """In rounds, until the target is met."""
    wish = school.wish
    steps = max(ROUND, wish.steps // ROUND * ROUND)
    rate = RATE if shape.share == 0 else 4 * RATE  # what is pruned has more to learn
    plan = Plan(steps, shape.imgsz, wish.ids, wish.seed, rate=rate, checkpoint=wish.checkpoint(shape), threads=wish.threads)
    course = Course.start(prune(school.teacher, shape.share), plan)
    inputs = inputs_of([[lesson.picture for lesson in school.lessons]], shape.imgsz, CALIBRATION)
    rounds: list[float] = []
    best: tuple[float, NanoDet, int] | None = None
    first = ROUND if shape.share else 0  # a net that lost nothing may do as it is
    for until in range(max(first, course.step), (most or steps) + 1, ROUND):
        if course.step < until:
            teach(course, school.lessons, replace(plan, until=until))
        net, f1 = calibrated(quantize(course.result(wish.ids), inputs), shape.imgsz, wish.ids, school.held)
        school.tell(f"{shape}: step {until} of at most {steps}, F1 {f1:.3f}")
        rounds.append(f1)
        if best is None or f1 > best[0]:
            best = f1, net, until
        if f1 >= wish.target_f1:
            break
    if best is None:
        raise OperatorError("this model was learned already: choose another --out, or remove the .ckpt files beside it")
    return _Learned(best[1], best[2], tuple(rounds))


def calibrated(
    net: NanoDet, imgsz: int, ids: tuple[int, ...], held: Sequence[Lesson], seen_by: NanoDetDetector | None = None
) -> tuple[NanoDet, float]:
    """The net with its scores shifted so that at the usual threshold it reports what the teacher reports, and its F1 then. seen_by:
    the net as it is computed, None for in the runtime that it is meant for."""
    detector = seen_by or opened(net, imgsz, UNSURE)
    found = [detector.detect(lesson.picture) for lesson in held]
    classes = np.array(ids, np.int32)
    wanted = [select(lesson.objects, classes, CONF) for lesson in held]
    groups = group_table(coco.SUPERCATEGORY)

    def f1_at(shift: float) -> float:
        least = 1 / (1 + math.exp(shift - math.log(CONF / (1 - CONF))))
        return agree([select(objects, classes, max(UNSURE, least)) for objects in found], wanted, groups).f1

    f1 = np.array([f1_at(float(shift)) for shift in SHIFTS])
    smooth = np.convolve(np.pad(f1, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")  # not a lucky one
    at = int(np.argmax(smooth - 0.002 * np.abs(SHIFTS)))
    return shifted(net, ids, float(SHIFTS[at])), float(f1[at])


def _about(wish: Wish, shape: Shape, steps: int) -> dict[str, str]:
    names = ", ".join(Path(video).name for video in wish.videos)
    return {"recipe": f"specialized: {shape}, taught {steps}, int8", "teacher": wish.teacher, "videos": names[:500],
            CLASSES: ",".join(wish.classes), IMGSZ: str(shape.imgsz)}  # fmt: skip


def _settings(wish: Wish) -> ModelSettings:
    return ModelSettings(imgsz=wish.imgsz)
