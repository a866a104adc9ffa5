"""From an order to a model file: read, compress, judge, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from everyframe.operators.compress.distil import Course
from everyframe.operators.compress.prune import ROUND_TO
from everyframe.operators.compress.select import Choice
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.types import U8
from everyframe.pipeline.compression.judge import Verdict, facts, judge
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.recipe import Recipe, about, aware_checkpoint, compress, key_of
from everyframe.pipeline.compression.select import picked
from everyframe.pipeline.compression.widths import judge_of, make_widths
from everyframe.pipeline.costs.measure import translated
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.models import kind_of
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sinks.files import write_whole

LEARNED_FROM, JUDGED_BY = 260, 60
"""Pictures of each video, at most."""
LEARNED, JUDGED = Part(0.0, 0.8), Part(0.8, 1.0)
"""Parts of the videos where none are given to judge by: later pictures than those that were learned from."""
Tell = Callable[[str], None]
Pictures = Sequence[Sequence[U8]]
"""Of each video, BGR (h, w, 3) uint8."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made. check: videos to judge by; empty: the last fifth of those that are learned from. pictures: how many
    to learn from, None for many, evenly; choice: which."""

    model: str
    recipe: Recipe
    videos: tuple[str, ...]
    check: tuple[str, ...]
    out: str
    imgsz: int = 640
    seed: int = 0
    pictures: int | None = None
    choice: Choice = "random"


def make(order: Order, tell: Tell) -> Verdict:
    """Makes the model and writes it to `order.out`. Raises EveryframeError; the file is there whole or not at all."""
    out = Path(order.out)
    _check(order, out)
    with translated():
        teacher = weights.load_nanodet(weights.read(order.model), order.model)
    pictures = read_pictures(order.videos, LEARNED_FROM, None if order.check else LEARNED, tell)
    held = read_pictures(order.check or order.videos, JUDGED_BY, None if order.check else JUDGED, tell)
    if order.pictures is not None:
        with translated():
            pictures = picked(pictures, teacher, order.pictures, order.choice, order.seed, tell)
    checkpoint = out.with_name(f"{out.stem}-{_key(order)}.ckpt")
    course = Course(order.recipe.steps, order.seed, checkpoint=checkpoint)
    tell(f"compressing: {order.recipe.text}")
    with translated():
        verdict = (_widths if order.recipe.widths else _one)(order, teacher, pictures, held, course, tell)
    for kept in (checkpoint, aware_checkpoint(checkpoint)):
        kept.unlink(missing_ok=True)
    return replace(verdict, bytes=out.stat().st_size)


def _one(order: Order, teacher: NanoDet, pictures: Pictures, held: Pictures, course: Course, tell: Tell) -> Verdict:
    """One net: written, judged, and written again with what was found."""
    out = Path(order.out)
    net = compress(teacher, order.recipe, pictures, order.imgsz, course, _teller(tell))
    said = about(order.recipe, order.model, order.videos)
    write_whole(out, weights.pack(net, said))
    verdict = judge(str(out), order.model, held, ModelSettings(imgsz=order.imgsz))
    write_whole(out, weights.pack(net, {**said, **facts(verdict)}))
    return verdict


def _widths(order: Order, teacher: NanoDet, pictures: Pictures, held: Pictures, course: Course, tell: Tell) -> Verdict:
    """Several widths of a net in one file; the verdict on the widest."""
    said = about(order.recipe, order.model, order.videos)
    judged = judge_of(order.model, held, order.imgsz)
    verdicts = make_widths(teacher, order.recipe, pictures, course, Path(order.out), said, judged, order.imgsz, _teller(tell))
    for verdict in verdicts[1:]:
        tell(f"{verdict.model}: F1 {verdict.f1:.3f}, {verdict.speedup:.1f} x faster than {order.model}")
    return verdicts[0]


def _key(order: Order) -> str:
    """Tells checkpoints of different orders apart."""
    what = (key_of(order.recipe), order.model, order.videos, order.imgsz, order.seed, order.pictures, order.choice)
    return hashlib.sha256(repr(what).encode()).hexdigest()[:8]


def _check(order: Order, out: Path) -> None:
    if kind_of(order.model) != "nanodet":
        raise UsageError(f"{order.model} cannot be compressed here: give full or a .safetensors file of NanoDet-g; "
                         "int8 of an ONNX file is its exporter's work")  # fmt: skip
    if out.suffix != ".safetensors" or out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"--out: write a file name that ends in .safetensors, in a folder that is there; not {out}")
    if order.recipe.widths and order.recipe.takes_away:
        raise UsageError("--recipe slim makes narrower widths itself: leave --prune, --thin and --decompose out")
    if not (order.recipe.prune or order.recipe.thin) and order.recipe.importance != "magnitude":
        raise UsageError("--importance says which channels or rows go first: give --prune or --thin too")
    if not order.recipe.prune and order.recipe.block != ROUND_TO:
        raise UsageError("--block says how many channels stay together when some go: give --prune too")
    if order.recipe.widths and not order.recipe.steps:
        raise UsageError("--steps: narrower widths must learn; give at least 1000")
    if order.pictures is not None and order.pictures < 1:
        raise UsageError(f"--pictures: give 1 or more, not {order.pictures}")
    if order.recipe.aware < 0 or order.recipe.steps < 0:
        raise UsageError("--steps and --qat: give 0 or more")
    if order.recipe.aware and not order.recipe.int8 and order.recipe.bits == "8":
        raise UsageError("--qat learns with rounding, of which --float32 leaves none: leave one of them out")
    if order.recipe.widths and (order.recipe.bits != "8" or order.recipe.aware):
        raise UsageError("--recipe slim has weights of 8 bit: leave --bits and --qat out")
    if order.recipe.takes_away and not order.recipe.steps:
        raise UsageError("--steps: a pruned or decomposed model must learn again; give at least 1000")


def _teller(tell: Tell) -> Callable[[int, float, float], None]:
    def told(step: int, share: float, loss: float) -> None:
        if step % 200 == 0:
            tell(f"learning: step {step}, {share:.0%} done, loss {loss:.3f}")

    return told
