"""The part of the table for looking ahead: frames between two looks, labelled from both, for every pair of looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numba import njit

from everyframe.operators.propagate import move
from everyframe.operators.types import F32, Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.labelling.lookahead import Paths, blend
from everyframe.pipeline.labelling.tracks import TrackKeeper
from everyframe.pipeline.traces.tables import Look, Scene, Told
from everyframe.policies.simulation.counting import reported, right
from everyframe.policies.simulation.table import Between

GAPS = np.array([
    *range(2, 17), *range(18, 33, 2), *range(36, 65, 4), *range(72, 129, 8), *range(144, 257, 16), 300,
], np.int32)  # fmt: skip
"""Frame steps between two looks that are counted."""


def between_of(scene: Scene, looks: Sequence[Look], horizon: int, told: Told | None = None) -> Between:
    """Counts for looks at k and k + gap, all gaps up to the horizon, with all frames between decoded and with none."""
    gaps = GAPS[horizon >= GAPS]
    n = len(looks)
    counts = np.zeros((4, n, len(gaps)), np.int32)
    for second in range(2, n):
        detections = scene.trace.objects[second]
        back = _back(scene, second, int(gaps[-1]))
        for j, gap in enumerate(gaps.tolist()):
            k = second - gap
            if k < 0:
                break
            counts[:2, k, j] = _pair(scene, looks[k], looks[k].ahead[: gap + 1], back[-gap - 1 :], detections, k)
            if len(looks[k].state.objects) + len(detections):
                still = np.broadcast_to(looks[k].ahead[0], (gap + 1, *looks[k].ahead[0].shape))
                rest = np.broadcast_to(detections.xyxy, (gap + 1, *detections.xyxy.shape))
                counts[2:, k, j] = _pair(scene, looks[k], still, rest, detections, k)
        if told is not None:
            told("both sides", second + 1, n)
    return Between(gaps, *counts)


def _back(scene: Scene, frame: int, steps: int) -> F32:
    """(steps + 1, m, 4): the detections of a frame carried back, the earliest first; the clip's first frame ends it."""
    path = [scene.trace.objects[frame].xyxy]
    for t in range(frame, max(frame - steps, 0), -1):
        field = scene.fields[t]
        path.append(path[-1] if field is None else move(field, path[-1], backwards=True))
    return np.stack(path[::-1])


def _pair(
    scene: Scene, look: Look, ahead: F32, back: F32, detections: Objects, k: int
) -> tuple[int, int]:
    """(right, shown) over the frames between a look at k and one that found `detections`: as `lookahead.close` does it."""
    before = look.state
    keeper = TrackKeeper(scene.groups, metrics.SCORE, before.moved(replace(before.objects, xyxy=ahead[-1])))
    arrived = keeper.affinity(replace(before.objects, xyxy=ahead[-1]), detections)
    returned = keeper.affinity(before.objects, replace(detections, xyxy=back[0]))
    paths = Paths(before, ahead, back, np.float32(0.5) * (arrived + returned))
    found = keeper.look(detections, k + len(ahead) - 1, paths.affinity)
    b = blend(paths, found, *scene.size)
    truth = scene.truth
    shown = b.inside & (b.scores >= np.float32(metrics.SCORE)) & scene.wanted[b.classes]
    right_, shown_ = count_between(
        b.boxes, b.scores, b.classes, scene.groups, shown, truth.first, truth.boxes, truth.groups, k
    )
    return right_, shown_


@njit(cache=True, nogil=True)
def count_between(boxes, scores, classes, groups, shown, first, truth, truth_groups, k):  # type: ignore[no-untyped-def]
    """True positives and reports of the frames strictly between two looks: boxes (steps + 1, i, 4) from frame k on."""
    right_, shown_ = 0, 0
    for d in range(1, boxes.shape[0] - 1):
        a, b = first[k + d], first[k + d + 1]
        shown_ += reported(boxes[d], scores[d], classes[d], shown[d])
        right_ += right(boxes[d], groups[classes[d]], shown[d], truth[a:b], truth_groups[a:b])
    return right_, shown_
