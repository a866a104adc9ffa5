"""What is done to a model, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from everyframe.operators.compress.aware import RATE, learn
from everyframe.operators.compress.decompose import METHODS, VBMF, Keep, Method, decompose
from everyframe.operators.compress.distil import Course, Progress, distil
from everyframe.operators.compress.importance import PICTURES, Importance
from everyframe.operators.compress.lowbit import Bits, low_bit
from everyframe.operators.compress.prune import ROUND_TO, prune
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.compress.thin import thin
from everyframe.operators.detectors.letterbox import fit, to_input
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.types import F32, U8
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.suggest import did_you_mean

CALIBRATION = 200
"""Pictures that ranges are found from."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in the order in which they are taken; each may be left out.

    prune: share of the channels that go. thin: share of the work of 3x3 kernels whose rows or columns go. decompose: method, and how
    ranks are found. steps: of learning from the uncompressed model; needed after the first three. int8: quantized at the end.
    widths: several in one file, in place of the first three. bits: of weights in the file. aware: further steps of learning, with the
    rounding in place. update_bits: of gradients and weights while it learns. importance: what is to go first. block: channels kept
    are a multiple of it.
    """

    prune: float = 0.0
    decompose: tuple[Method, Keep] | None = None
    steps: int = 0
    int8: bool = True
    widths: tuple[float, ...] = ()
    bits: Bits = "8"
    aware: int = 0
    update_bits: int | None = None
    thin: float = 0.0
    importance: Importance = "magnitude"
    block: int = ROUND_TO

    @property
    def takes_away(self) -> bool:
        """Whether the net must learn again."""
        return bool(self.prune or self.thin or self.decompose)

    @property
    def text(self) -> str:
        """The recipe in a few words."""
        parts = [f"widths {' '.join(f'{w:g}' for w in self.widths)}"] if self.widths else []
        by = "" if self.importance == "magnitude" else f" by {self.importance}"
        blocks = "" if self.block == ROUND_TO else f" in blocks of {self.block}"
        parts += [f"prune {self.prune:g}{by}{blocks}"] if self.prune else []
        parts += [f"thin {self.thin:g}{by}"] if self.thin else []
        parts += [" ".join((self.decompose[0], _kept(self.decompose[1])))] if self.decompose else []
        parts += [f"distil {self.steps}"] if self.steps else []
        parts += ["int8"] if self.int8 else []
        parts += [f"weights {self.bits}" + (" bit" if self.bits.isdecimal() else "")] if self.bits != "8" else []
        parts += [f"rounded {self.aware}"] if self.aware else []
        parts += [f"updates {self.update_bits} bit"] if self.update_bits is not None else []
        return ", ".join(parts) or "nothing"


RECIPES = {"fast": Recipe(), "tiny": Recipe(prune=0.375, steps=8000), "slim": Recipe(steps=8000, widths=(1.0, 0.875, 0.75, 0.625))}


def recipe_named(name: str) -> Recipe:
    """One of `RECIPES`. Raises UsageError."""
    if name not in RECIPES:
        raise UsageError(f"--recipe: no recipe {name!r}{did_you_mean(name, list(RECIPES))}")
    return RECIPES[name]


def _kept(keep: Keep) -> str:
    return keep if isinstance(keep, str) else f"{keep:g}"


def decomposition(text: str) -> tuple[Method, Keep]:
    """Of METHOD:ENERGY or METHOD:vbmf, as in tucker:0.8. Raises UsageError."""
    name, _, kept = text.partition(":")
    for method in METHODS:
        if method == name:
            try:
                return method, VBMF if kept == VBMF else float(kept or 0.8)
            except ValueError:
                break
    raise UsageError(f"--decompose: write METHOD:ENERGY or METHOD:vbmf, as in tucker:0.8, with {', '.join(METHODS)}; not {text!r}")


def shrink(teacher: NanoDet, recipe: Recipe, inputs: Sequence[F32] = ()) -> NanoDet:
    """The net after the steps that take something away. inputs: for an importance that is found on pictures. Raises OperatorError."""
    net = prune(teacher, recipe.prune, recipe.block, recipe.importance, inputs) if recipe.prune else teacher
    net = thin(net, recipe.thin, recipe.importance, inputs)[0] if recipe.thin else net
    return decompose(net, *recipe.decompose)[0] if recipe.decompose else net


def compress(
    teacher: NanoDet, recipe: Recipe, pictures: Sequence[Sequence[U8]], imgsz: int = 640, course: Course | None = None,
    tell: Progress | None = None,
) -> NanoDet:
    """The compressed net. pictures: of each video, to learn and to calibrate from. course: how it learns; its steps are the
    recipe's. Raises OperatorError."""
    net = shrink(teacher, recipe, () if recipe.importance == "magnitude" else inputs_of(pictures, imgsz, PICTURES))
    course = replace(course or Course(), steps=recipe.steps, update_bits=recipe.update_bits)
    if recipe.steps:
        net = distil(net, teacher, pictures, course, tell)
    if recipe.int8:
        net = quantize(net, inputs_of(pictures, imgsz))
    if recipe.bits != "8":
        net = low_bit(net, recipe.bits)
    if recipe.aware:
        kept = None if course.checkpoint is None else aware_checkpoint(course.checkpoint)
        net = learn(net, teacher, pictures, replace(course, steps=recipe.aware, rate=RATE, checkpoint=kept), tell)
    return net


def aware_checkpoint(checkpoint: Path) -> Path:
    """Where the second part of learning is kept."""
    return checkpoint.with_name(f"{checkpoint.stem}-rounded{checkpoint.suffix}")


def inputs_of(pictures: Sequence[Sequence[U8]], imgsz: int, most: int = CALIBRATION) -> list[F32]:
    """Pictures made ready for the net, evenly out of all videos."""
    each = max(1, most // max(1, sum(1 for video in pictures if len(video))))
    chosen = [p for video in pictures for p in video[:: max(1, len(video) // each)][:each]]
    return [to_input(p, fit(p.shape[1], p.shape[0], imgsz)) for p in chosen]


def about(recipe: Recipe, teacher: str, videos: Sequence[str]) -> dict[str, str]:
    """What the file says of how it was made."""
    return {"recipe": recipe.text, "teacher": teacher, "videos": ", ".join(Path(v).name for v in videos)[:500]}


def key_of(recipe: Recipe) -> str:
    """Tells checkpoints of different recipes apart."""
    return repr(asdict(recipe))
