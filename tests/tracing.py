"""Recorded clips and tables for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from everyframe.operators.detectors import NanoDetDetector
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.evaluation.dense import Dense, dense
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.traces.format import Trace
from everyframe.pipeline.traces.recording import record
from everyframe.policies.features import FRAME, PACKET, TRACKS
from everyframe.policies.simulation.counting import right
from everyframe.policies.simulation.table import Between, Carried, ClipTable, Costs

MODEL = ModelSettings(imgsz=320, runtime="torch", precision="f32")


@dataclass(frozen=True)
class Recorded:
    """A clip's first frames, its trace, and what the CNN finds on each."""

    video: str
    limit: int
    trace: Trace
    known: Dense
    detector: NanoDetDetector


def recorded(video: Path, limit: int) -> Recorded:
    with FileSource(str(video)) as source:
        detector = open_detector(MODEL, source.info.width, source.info.height)
    trace = record(str(video), MODEL, limit, detector=detector)
    return Recorded(str(video), limit, trace, dense(str(video), detector, limit, measure=False), detector)


def drawn_table(frames: int = 24, horizon: int = 12, seed: int = 0, group: int = 8) -> ClipTable:
    """A clip that never was: one object that walks, flickers and is carried with an error that grows."""
    rng = np.random.default_rng(seed)
    there = rng.random(frames) < 0.8
    x = np.cumsum(rng.uniform(0, 6, frames))
    boxes = np.stack([x, np.full(frames, 10.0), x + 30, np.full(frames, 60.0)], 1).astype(np.float32)
    first = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    steps = np.arange(horizon + 1)
    error = np.sort(rng.uniform(0, 3, horizon + 1)) * steps
    looked = np.flatnonzero(there)
    path = np.stack([boxes[np.minimum(k + steps, frames - 1)] + error[:, None] for k in looked])
    eighths = np.rint(path * 8).astype(np.int16)
    visible = np.ones(eighths.shape[:2], np.bool_)
    right_, shown = np.zeros((frames, horizon + 1), np.int16), np.zeros((frames, horizon + 1), np.int16)
    kinds = np.zeros(1, np.int16)
    for row, k in enumerate(looked):
        for d in range(min(horizon + 1, frames - k)):
            true = boxes[k + d : k + d + 1] if there[k + d] else boxes[:0]
            shown[k, d] = 1
            right_[k, d] = right(eighths[row, d : d + 1] / 8.0, kinds, np.ones(1, np.bool_), true, kinds[: len(true)])
    gaps = np.arange(2, horizon + 1, dtype=np.int32)
    sums = [np.stack([c[:, 1:g].sum(1) for g in gaps], 1).astype(np.int32) for c in (right_, shown)]
    return ClipTable(
        "drawn",
        Costs(0.01, rng.uniform(0.5, 1.5, frames).astype(np.float32), 0.1, 20.0, 20.9),
        np.arange(frames) % group == 0, there.astype(np.int16), first, boxes[there],
        np.zeros(len(looked), np.int16), rng.normal(0, 1, (frames, len(PACKET))).clip(-1, 1).astype(np.float32),
        rng.random((frames, len(FRAME))).astype(np.float32),
        rng.random((frames, horizon + 1, len(TRACKS))).astype(np.float16),
        rng.random((frames, horizon + 1)).astype(np.float16),
        Carried(right_, shown, first, eighths, visible, np.zeros(len(looked), np.int16)),
        Between(gaps, sums[0], sums[1], sums[0], sums[1]),
    )  # fmt: skip
