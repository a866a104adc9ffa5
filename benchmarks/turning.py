"""The weights in `pipeline/labelling/turning.py`, fitted on the training clips, and how far its chances can be trusted.

Every gap of several lengths between two looks of the dense detector gives strands of which one look alone reports the
object; at each step between, the dense detector says whether it is still (or already) there. Needs dense detections of the
clips (`warm.py`); decodes each clip once.
    python benchmarks/turning.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import common
import numpy as np
from common import CLIPS, TRAFFIC, TWELVE, VALIDATION
from numpy.typing import NDArray
from scipy.optimize import minimize

from everyframe.operators.boxes import LEAST_INSIDE, iou, share_inside
from everyframe.operators.types import F32, U8, MotionField, Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.evaluation.dense import dense
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.labelling import turning
from everyframe.pipeline.labelling.lookahead import Strands, blend, both_ways, close, labels_of
from everyframe.pipeline.labelling.tracks import TrackKeeper
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource

GAPS = (6, 10, 20, 30)
CONF = metrics.SCORE
RIDGE = 1e-3
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip in memory: fields, luma and dense detections of each frame; groups and wanted classes."""

    fields: list[MotionField | None]
    lumas: list[U8 | None]
    found: list[Objects]
    groups: NDArray[np.int32]
    wanted: NDArray[np.int32]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Case:
    """One strand in one gap: what is known at each step from its look on (steps, 5), and whether it was there (steps,)."""

    clip: str
    known: F64
    there: NDArray[np.bool_]


def read(name: str, model: ModelSettings) -> Clip:
    path = str(CLIPS[name].path)
    fields: list[MotionField | None] = []
    lumas: list[U8 | None] = []
    with FileSource(path) as source:
        size = source.info.width, source.info.height
        detector = open_detector(model, *size)
        for item in field_slots(source):
            fields.append(item.field)
            lumas.append(None if item.slot.frame is None else item.slot.frame.luma().copy())
    wanted = np.array([detector.names.index(c) for c in TRAFFIC], np.int32)
    found = dense(path, detector, None, measure=False).frames
    return Clip(fields, lumas, found, metrics.group_table(detector.supercategory), wanted, size)


def cases(name: str, clip: Clip, gap: int) -> Iterator[Case]:
    """Looks every `gap` frames; of each gap, the strands in question."""
    keeper = TrackKeeper(clip.groups, CONF)
    keeper.look(clip.found[0], 0)
    for low in range(0, len(clip.found) - gap, gap):
        fields, last = clip.fields[low + 1 : low + gap + 1], clip.found[low + gap]
        paths = both_ways(keeper, keeper.state, fields, last)
        strands = Strands.of(paths, last, CONF)
        found = close(keeper, paths, last, low + gap)
        labels = labels_of(blend(paths, found, *clip.size), fields)
        kinds = _kinds(strands, paths.before.objects, found)
        asked = np.flatnonzero(((strands.start >= CONF) != (strands.end >= CONF)) & np.isin(kinds, clip.wanted))
        if len(asked):
            ids = _ids(strands, paths.before.objects, found)
            left = [_unexplained(clip, low + step, objects, ids[asked]) for step, objects in enumerate(labels, 1)]
            yield from _of_gap(name, clip, strands, asked, left, low)


def _kinds(strands: Strands, before: Objects, found: Objects) -> NDArray[np.int32]:
    return np.array([
        before.class_id[a] if a >= 0 else found.class_id[b] for a, b in zip(strands.first, strands.last, strict=True)
    ], np.int32)  # fmt: skip


def _ids(strands: Strands, before: Objects, found: Objects) -> NDArray[np.int32]:
    return np.array([
        before.track_id[a] if a >= 0 else found.track_id[b] for a, b in zip(strands.first, strands.last, strict=True)
    ], np.int32)  # fmt: skip


def _unexplained(clip: Clip, index: int, labels: Objects, asked: NDArray[np.int32]) -> F32:
    """Boxes of the dense detector at a frame that the labels of strands without question don't match."""
    truth = metrics.select(clip.found[index], clip.wanted)
    labels = metrics.select(labels[~np.isin(labels.track_id, asked)], clip.wanted)
    _, rows = metrics.pairs(labels, truth, clip.groups)
    return truth.xyxy[np.setdiff1d(np.arange(len(truth)), rows)]


def _of_gap(
    name: str, clip: Clip, strands: Strands, asked: NDArray[np.intp], left: list[F32], low: int
) -> Iterator[Case]:
    n = strands.steps
    lumas = clip.lumas[low : low + n + 1]
    for row in asked.tolist():
        went = strands.start[row] >= CONF
        rows = np.array([row])
        known = turning.known_of(strands, rows, lumas, CONF, clip.size[0], backwards=not went)[:, 0]
        way = (strands.on if went else strands.back[::-1])[1:n, row]
        boxes = left if went else left[::-1]
        there = np.array([(iou(way[s][None], boxes[s]) >= metrics.IOU).any() for s in range(n - 1)])
        gone = np.flatnonzero(share_inside(way, *clip.size) < LEAST_INSIDE)
        kept = slice(0, gone[0] if len(gone) else n)
        if len(there[kept]):
            yield Case(name, known[kept].astype(np.float64), there[kept])


def fit(every: list[Case]) -> F64:
    """Weights; each clip counts as the root of its frames."""
    frames = {clip: sum(len(c.there) for c in every if c.clip == clip) for clip in {c.clip for c in every}}
    x = np.concatenate([c.known for c in every])
    y = np.concatenate([c.there for c in every])
    w = np.concatenate([np.full(len(c.there), frames[c.clip] ** -0.5) for c in every])

    def loss(weights: F64) -> float:
        odds = x @ weights
        return float((w * (np.logaddexp(0, odds) - y * odds)).sum() / w.sum() + RIDGE * weights @ weights)

    out: F64 = minimize(loss, np.zeros(x.shape[1])).x
    return out


def trust(every: list[Case], weights: F64, sure: float) -> tuple[float, float, float]:
    """Wrong labels of a strand: expected, met at the median, and with the best turn there is."""
    expected, met, least = [], [], []
    for case in every:
        total = sure * np.append(0, np.cumsum(case.known @ weights))
        chance = np.exp(total - total.max())
        chance /= chance.sum()
        turns = np.arange(len(chance))
        wrong = np.array([(~case.there[:t]).sum() + case.there[t:].sum() for t in turns])
        until = int(np.searchsorted(np.cumsum(chance), 0.5))
        expected.append((chance * np.abs(turns - until)).sum())
        met.append(wrong[until])
        least.append(wrong.min())
    return float(np.mean(expected)), float(np.mean(met)), float(np.mean(least))


def main() -> None:
    options = common.parser(__doc__ or "").parse_args()
    common.need_data()
    common.one_thread()
    of_gap: dict[int, list[Case]] = {gap: [] for gap in GAPS}
    for name in TWELVE:
        if name in VALIDATION:
            continue
        common.tell(name)
        clip = read(name, common.model_of(options))
        for gap in GAPS:
            of_gap[gap] += cases(name, clip, gap)
    weights = fit([case for some in of_gap.values() for case in some])
    print("weights", np.round(weights, 3).tolist(), "in use", turning.WEIGHTS.tolist())
    lines = [
        (str(gap), f"{sure:g}", str(len(some)), *(f"{value:.2f}" for value in trust(some, weights, sure)))
        for gap, some in of_gap.items()
        for sure in (1.0, 0.3, turning.SURE, 0.1)
    ]
    print(common.markdown(("gap", "SURE", "strands", "wrong, expected", "wrong, met", "wrong, best turn"), lines))


if __name__ == "__main__":
    main()
