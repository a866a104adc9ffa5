"""One model file with several widths: taught, judged at each width, written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from everyframe.operators.compress import distil
from everyframe.operators.compress.slim import in_int8, settle, slimmable, teach
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.slim import pack
from everyframe.operators.types import U8
from everyframe.pipeline.compression.judge import Verdict, facts, judge
from everyframe.pipeline.compression.recipe import Recipe, inputs_of
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sinks.files import write_whole

SETTLED_ON = 24
"""Cuts of pictures that gains and biases are set from."""


def make_widths(
    teacher: NanoDet, recipe: Recipe, pictures: Sequence[Sequence[U8]], course: distil.Course, out: Path, said: dict[str, str],
    judged: Callable[[str], Verdict], imgsz: int, tell: distil.Progress | None = None,
) -> list[Verdict]:
    """Writes the file; a verdict for each width, the widest first. said: what the file says of itself. judged: of a model's name.
    Raises EveryframeError."""  # fmt: skip
    rng = np.random.default_rng(course.seed)
    x = torch.from_numpy(np.stack([distil.sample(pictures, rng, course.scales) for _ in range(SETTLED_ON)])).permute(0, 3, 1, 2)
    slim = teach(settle(slimmable(teacher, recipe.widths), x), teacher, pictures, course, tell)
    if recipe.int8:
        slim = in_int8(slim, inputs_of(pictures, imgsz))
        said = {**said, weights.QUANTIZED: "int8"}
    write_whole(out, pack(slim, said))
    verdicts = [judged(f"{out}@{width:g}") for width in slim.widths]
    for width, verdict in zip(slim.widths, verdicts, strict=True):
        said |= {f"{key}@{width:g}": value for key, value in facts(verdict).items()}
    write_whole(out, pack(slim, said))
    return verdicts


def judge_of(model: str, held: Sequence[Sequence[U8]], imgsz: int) -> Callable[[str], Verdict]:
    """Judges models by name against `model` on pictures that were not learned from."""
    return lambda name: judge(name, model, held, ModelSettings(imgsz=imgsz))
