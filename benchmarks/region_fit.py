"""Fits the two regressions of `region`: of tracks that are wrong by now, and of changes that are objects.

Clips are played with looks at the whole at random, every 14 frames in the mean; between them each track and each unexplained
change is compared with what the dense detector finds there. Which changes a track explains depends on the weights in
use: fitted anew from other ones, the second regression comes out a little different. Detections come from the evaluation's
cache.

    python benchmarks/region_fit.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import common
import numpy as np
from common import CLIPS, TRAFFIC, TWELVE, VALIDATION, number
from numpy.typing import NDArray

from everyframe.operators.base import Prices
from everyframe.operators.boxes import iou, match
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.propagate import Propagate
from everyframe.operators.region import doubt, evidence
from everyframe.operators.region.operator import Region
from everyframe.operators.types import F32, Objects, View
from everyframe.pipeline.evaluation import dense
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.labelling.tracks import TrackKeeper, class_tables
from everyframe.pipeline.metrics import SCORE, select
from everyframe.pipeline.sources.file import FileSource

TRAIN = tuple(name for name in TWELVE if name not in VALIDATION)
HELD_OUT = tuple(name for name in TWELVE if name in VALIDATION)
EVERY = 14.0
SHOWN = 0.15  # of an object's area that a change must cover to announce it
RIDGE = 1.0
Floats = NDArray[np.float64]
Rows = list[tuple[F32, bool]]


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.parse_args()
    common.need_data()
    common.one_thread()
    detector = load_detector()
    found: dict[str, tuple[Rows, Rows]] = {}
    for name in TWELVE:
        common.tell(name)
        found[name] = play(name, detector)
    for part, (title, shipped) in enumerate((("doubt", doubt.WEIGHTS), ("chance", evidence.WEIGHTS))):
        train, held_out = ([found[name][part] for name in names if found[name][part]] for names in (TRAIN, HELD_OUT))
        fitted = fit(train)
        print(f"{title}: fitted  {np.round(fitted, 3).tolist()}")
        print(f"{title}: shipped {np.round(shipped, 3).tolist()}")
        for split, clips in (("train", train), ("validation", held_out)):
            scores = [number(float(np.mean([auc(clip, w) for clip in clips]))) for w in (fitted, shipped)]
            print(f"{title}: mean area under the curve of {split} clips, fitted and shipped: {' '.join(scores)}")


def play(name: str, detector: NanoDetDetector) -> tuple[Rows, Rows]:
    """Signs and outcomes of every track (1: wrong) and every change (1: an object) between looks."""
    known = dense(str(CLIPS[name].path), detector, measure=False).frames
    groups, wanted = class_tables(detector, TRAFFIC)
    region, keeper, propagate = Region(detector, Prices()), TrackKeeper(groups, SCORE), Propagate()
    rng = np.random.default_rng(0)
    tracks_seen: Rows = []
    changes_seen: Rows = []
    due = 0
    with FileSource(str(CLIPS[name].path)) as source:
        for index, item in enumerate(field_slots(source)):
            frame, field = item.slot.frame, item.field
            assert frame is not None and field is not None
            view = View(frame.width, frame.height, field, frame.picture, frame.luma)
            keeper.state = keeper.state.moved(propagate.apply(view, keeper.state.objects))
            region.follow(view)
            region.weigh(view, keeper.state.objects)
            if index == due:
                keeper.take(known[index], index)
                region.looked(view)
                due = index + 1 + int(rng.geometric(1 / EVERY))
                continue
            truth = select(known[index], wanted)
            tracks_seen += tracks_of(region, keeper.state.objects, truth, groups)
            changes_seen += changes_of(region, keeper.state.objects, truth)
    return tracks_seen, changes_seen


def tracks_of(region: Region, tracks: Objects, truth: Objects, groups: NDArray[np.int32]) -> Iterator[tuple[F32, bool]]:
    affinity = (groups[tracks.class_id][:, None] == groups[truth.class_id]) * iou(tracks.xyxy, truth.xyxy)
    right, _ = match(affinity.astype(np.float32), 0.5)
    for row in np.flatnonzero(tracks.score >= SCORE).tolist():
        yield region.doubt_signs[row], row not in right


def changes_of(region: Region, tracks: Objects, truth: Objects) -> Iterator[tuple[F32, bool]]:
    new = truth.xyxy[iou(truth.xyxy, tracks.xyxy).max(1, initial=0) < SHOWN]
    for box, signs in zip(region.news.xyxy, region.news_signs, strict=True):
        overlap = np.clip(np.minimum(box[2:], new[:, 2:]) - np.maximum(box[:2], new[:, :2]), 0, None).prod(1)
        yield signs, bool((overlap > SHOWN * (new[:, 2:] - new[:, :2]).prod(1)).any())


def fit(clips: list[Rows]) -> Floats:
    """Logistic regression by Newton's method, each clip of equal weight."""
    x = np.concatenate([np.stack([signs for signs, _ in clip]) for clip in clips]).astype(np.float64)
    y = np.concatenate([[float(hit) for _, hit in clip] for clip in clips])
    weight = np.concatenate([np.full(len(clip), len(y) / len(clips) / len(clip)) for clip in clips])
    b = np.zeros(x.shape[1])
    for _ in range(40):
        p = 1 / (1 + np.exp(-x @ b))
        slope = weight * p * (1 - p) + 1e-9
        b += np.linalg.solve((x * slope[:, None]).T @ x + RIDGE * np.eye(len(b)), x.T @ (weight * (y - p)) - RIDGE * b)
    return b


def auc(clip: Rows, weights: Floats | F32) -> float:
    """How often a positive is ranked above a negative."""
    rank = np.argsort(np.argsort(np.stack([signs for signs, _ in clip]) @ weights)).astype(np.float64)
    hit = np.array([hit for _, hit in clip])
    ones = int(hit.sum())
    if not 0 < ones < len(hit):
        return 0.5
    return float((rank[hit].sum() - ones * (ones - 1) / 2) / (ones * (len(hit) - ones)))


if __name__ == "__main__":
    main()
