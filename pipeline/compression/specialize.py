"""A model for one camera, from its own unlabelled video.

The teacher is the full model. The video is split by time: the first half is learned from, all but the last fifth of it, by which
is judged when to stop; the second half is seen once, for the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from everyframe.operators.compress.distil import Course, distil
from everyframe.operators.compress.prune import prune
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.detectors import coco, weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import U8
from everyframe.pipeline.compression.judge import Verdict, judge
from everyframe.pipeline.compression.make import Tell, facts
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.recipe import inputs_of
from everyframe.pipeline.costs import translated
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sinks.files import write_whole

SHARES = (0.25, 0.375, 0.5, 0.6, 0.7)
"""Of channels to leave out, tried until the speed is reached."""
LEARN, STOP, REPORT = Part(0.0, 0.4), Part(0.4, 0.5), Part(0.5, 1.0)
PICTURES = 400
ROUND = 1000
"""Steps from one judgement to the next."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for. speedup: of a look, against the full model in its fastest f32 runtime. target_f1: against the full
    model, at which learning stops. steps: at most."""

    videos: tuple[str, ...]
    out: str
    classes: tuple[str, ...] = ()
    speedup: float = 8.0
    target_f1: float = 0.92
    steps: int = 6000
    imgsz: int = 640
    seed: int = 0
    teacher: str = "full"


@dataclass(frozen=True, slots=True)
class Outcome:
    """stopped: judged when it stopped learning, on pictures near those. later: on the second half. rounds: F1 at each judgement."""

    share: float
    steps: int
    rounds: tuple[float, ...]
    stopped: Verdict
    later: Verdict


def specialize(wish: Wish, tell: Tell) -> Outcome:
    """Makes the model and writes it. Raises EveryframeError."""
    out = Path(wish.out)
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise UsageError(f"--out: write a file name that ends in .safetensors, in a folder that is there; not {out}")
    with translated():
        teacher = weights.load_nanodet(weights.read(wish.teacher), wish.teacher)
        learn = read_pictures(wish.videos, PICTURES, LEARN, tell)
        stop = read_pictures(wish.videos, PICTURES // 8, STOP, tell)
        share = share_for(teacher, wish, learn, tell)
        tell(f"leaving out {share:.0%} of the channels")
        best = _learn(teacher, wish, share, learn, stop, tell)
        later = judge(str(out), wish.teacher, read_pictures(wish.videos, PICTURES // 4, REPORT, tell), _settings(wish), wish.classes)
    outcome = replace(best, later=later)
    data = out.read_bytes()
    net = weights.load_nanodet(data, str(out))
    said = {**weights.metadata(data), **facts(later)}
    write_whole(out, weights.pack(net, {key: said[key] for key in said if key not in (weights.COMPRESSED, weights.QUANTIZED)}))
    return outcome


def share_for(teacher: NanoDet, wish: Wish, learn: Sequence[Sequence[U8]], tell: Tell) -> float:
    """The least share of channels to leave out at which a look is fast enough here; speed does not depend on what is learned."""
    out = Path(wish.out)
    inputs = inputs_of(learn, wish.imgsz, 16)
    fewest = [[video[0]] for video in learn if len(video)][:1]
    found = 0.0
    for share in SHARES:
        write_whole(out, weights.pack(quantize(prune(teacher, share), inputs), {}))
        found = judge(str(out), wish.teacher, fewest, _settings(wish)).speedup
        tell(f"without {share:.0%} of its channels a look is {found:.1f} x faster here")
        if found >= wish.speedup:
            return share
    out.unlink(missing_ok=True)
    raise OperatorError(f"the smallest model is {found:.1f} x faster here: ask for a --speedup of at most that")


def _learn(
    teacher: NanoDet, wish: Wish, share: float, learn: Sequence[Sequence[U8]], stop: Sequence[Sequence[U8]], tell: Tell
) -> Outcome:
    """Learns in rounds until the target is met; the best round's model is in the file at the end."""
    out, net = Path(wish.out), prune(teacher, share)
    ids = tuple(coco.NAMES.index(name) for name in wish.classes) or None
    longest = max((max(video[0].shape[:2]) for video in learn if len(video)), default=wish.imgsz)
    scales = (int(0.8 * wish.imgsz), int(1.1 * min(wish.imgsz, 2 * longest)))
    inputs = inputs_of(learn, wish.imgsz)
    rounds: list[float] = []
    best: Verdict | None = None
    kept = b""
    for done in range(ROUND, wish.steps + 1, ROUND):
        course = Course(wish.steps, wish.seed, scales, ids, out.with_suffix(".ckpt"), until=done)
        net = distil(net, teacher, learn, course)
        data = weights.pack(quantize(net, inputs), _about(wish, share, done))
        write_whole(out, data)
        verdict = judge(str(out), wish.teacher, stop, _settings(wish), wish.classes)
        rounds.append(verdict.f1)
        tell(f"step {done} of at most {wish.steps}: F1 {verdict.f1:.3f}")
        if best is None or not verdict.f1 <= best.f1:
            best, kept = verdict, data
        if np.isnan(verdict.f1):
            raise OperatorError("the full model finds nothing of these classes in the video: choose others, or a busier hour")
        if verdict.f1 >= wish.target_f1:
            break
    if best is None:
        raise OperatorError(f"--steps: give at least {ROUND}")
    write_whole(out, kept)
    out.with_suffix(".ckpt").unlink(missing_ok=True)
    return Outcome(share, len(rounds) * ROUND, tuple(rounds), best, best)


def _about(wish: Wish, share: float, steps: int) -> dict[str, str]:
    names = ", ".join(Path(video).name for video in wish.videos)
    return {"recipe": f"specialized: prune {share:g}, distil {steps}, int8", "teacher": wish.teacher, "videos": names[:500],
            "classes": ",".join(wish.classes), "guard": "0.7"}  # fmt: skip


def _settings(wish: Wish) -> ModelSettings:
    return ModelSettings(imgsz=wish.imgsz)
