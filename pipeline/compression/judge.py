"""How good and how fast a model is here, against the one it was made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import numpy as np

from everyframe.operators.types import U8
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.metrics import agree, group_table, select
from everyframe.pipeline.models import F1, LoadedDetector
from everyframe.pipeline.settings import ModelSettings

CONF = 0.45
WIDTH, HEIGHT = 640, 360
"""Of the picture by which the fastest runtime is chosen."""
TIMED = 8
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """f1: pooled, against the uncompressed model on the same pictures, NaN without objects. frames, objects: it was judged on.
    cpu_ms: of one look, preparation left out, in the fastest runtime here; full_ms: of the uncompressed model likewise."""

    model: str
    runtime: str
    precision: str
    f1: float
    frames: int
    objects: int
    cpu_ms: float
    full_ms: float
    bytes: int

    @property
    def speedup(self) -> float:
        return self.full_ms / self.cpu_ms


def facts(verdict: Verdict) -> dict[str, str]:
    """What a model file says of its own worth."""
    return {
        F1: f"{verdict.f1:.3f}", "judged_on": f"{verdict.frames} pictures, {verdict.objects} objects",
        "speedup_where_made": f"{verdict.speedup:.2f}",
    }  # fmt: skip


def judge(
    model: str, full: str, pictures: Sequence[Sequence[U8]], settings: ModelSettings, classes: tuple[str, ...] = ()
) -> Verdict:
    """Both models in their fastest runtimes on the same pictures, timed in turns. settings: of both, the model aside; the
    uncompressed one stays in f32. Raises DetectorError."""
    small = open_detector(replace(settings, model=model), WIDTH, HEIGHT)
    whole = open_detector(replace(settings, model=full, precision="f32"), WIDTH, HEIGHT)
    ids = np.array([small.names.index(name) for name in classes], np.int32) if classes else None
    every = [picture for video in pictures for picture in video]
    found = [select(small.detect(p), ids, CONF) for p in every]
    wanted = [select(whole.detect(p), ids, CONF) for p in every]
    objects = sum(map(len, wanted))
    f1 = agree(found, wanted, group_table(small.supercategory)).f1 if objects else math.nan
    ms, full_ms = timed([small, whole], every[:: max(1, len(every) // TIMED)][:TIMED])
    size = Path(model).stat().st_size if Path(model).is_file() else 0
    return Verdict(model, small.runtime, small.precision, f1, len(every), objects, ms, full_ms, size)


def timed(detectors: Sequence[LoadedDetector], pictures: Sequence[U8]) -> list[float]:
    """CPU ms of a look of each: the least over rounds in which they take turns."""
    prepared = [[d.prepare(p) for p in pictures] for d in detectors]
    for detector, ready in zip(detectors, prepared, strict=True):
        for one in ready:
            detector.infer(one)
    least = [math.inf] * len(detectors)
    for _ in range(ROUNDS):
        for i, (detector, ready) in enumerate(zip(detectors, prepared, strict=True)):
            start = process_time()
            for one in ready:
                detector.infer(one)
            least[i] = min(least[i], (process_time() - start) / len(ready) * 1e3)
    return least
