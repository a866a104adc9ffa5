"""Labels between two looks of the detector, from both sides: the second look is known too (files)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.boxes import LEAST_INSIDE, match, share_inside
from everyframe.operators.propagate import move
from everyframe.operators.types import F32, I32, Bool, MotionField, Objects, Origin
from everyframe.pipeline.tracks import LEAST_IOU, TrackKeeper, TrackState

MISSED_SCORE = 0.2
"""What a track is taken to score at a look that did not find it: its label ends (or begins) about half way."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Both ways through an interval of n frame steps.

    before: the tracks (a) at the look before. ahead (n + 1, a, 4): their boxes carried on. back (n + 1, b, 4): the
    boxes of this look's b detections carried back. affinity (a, b): overlap of the two ways at both ends, averaged.
    """

    before: TrackState
    ahead: F32
    back: F32
    affinity: F32


def carry(boxes: F32, fields: Sequence[MotionField | None]) -> F32:
    """Boxes (n, 4) carried forward through `fields`; returns (len(fields) + 1, n, 4), the start first.

    A field of None (a frame that was not decoded) leaves the boxes where they are.
    """
    path = [boxes]
    for field in fields:
        path.append(path[-1] if field is None else move(field, path[-1]))
    return np.stack(path)


def carry_back(boxes: F32, fields: Sequence[MotionField | None]) -> F32:
    """Boxes (n, 4) in the last field's frame carried back; returns (len(fields) + 1, n, 4), the earliest first."""
    path = [boxes]
    for field in reversed(fields):
        path.append(path[-1] if field is None else move(field, path[-1], backwards=True))
    return np.stack(path[::-1])


def both_ways(
    keeper: TrackKeeper, before: TrackState, fields: Sequence[MotionField | None], detections: Objects
) -> Paths:
    """fields: of the frames after the look before, up to and with this one."""
    ahead = carry(before.objects.xyxy, fields)
    back = carry_back(detections.xyxy, fields)
    arrived = keeper.affinity(replace(before.objects, xyxy=ahead[-1]), detections)
    returned = keeper.affinity(before.objects, replace(detections, xyxy=back[0]))
    return Paths(before, ahead, back, np.float32(0.5) * (arrived + returned))


def came_or_went(paths: Paths, detections: Objects, conf: float, width: int, height: int) -> int:
    """How many objects good enough to report (conf) at one look are not so at the other, and did not leave the
    picture, or enter it, on their way."""
    stayed = share_inside(paths.ahead[-1], width, height) >= LEAST_INSIDE
    was_inside = share_inside(paths.back[0], width, height) >= LEAST_INSIDE
    went = (paths.before.objects.score >= conf) & stayed
    came = (detections.score >= conf) & was_inside
    rows, columns = match(paths.affinity, LEAST_IOU)
    lasting = (paths.before.objects.score[rows] >= conf) & (detections.score[columns] >= conf)
    went[rows[lasting]] = False
    came[columns[lasting]] = False
    return int(went.sum() + came.sum())


def close(
    keeper: TrackKeeper,
    paths: Paths,
    fields: Sequence[MotionField | None],
    detections: Objects,
    frame_index: int,
    width: int,
    height: int,
) -> tuple[Objects, list[Objects]]:
    """Takes a look into the tracks and labels the frames since the look before.

    Returns this look's detections with their tracks, and one Objects for each frame between. Scores run linearly from
    look to look.
    """
    before = paths.before
    keeper.state = before.moved(replace(before.objects, xyxy=paths.ahead[-1]))
    found = keeper.look(detections, frame_index, paths.affinity)
    return found, _between(paths, found, fields, width, height)


def one_sided(
    before: TrackState, fields: Sequence[MotionField | None], width: int, height: int
) -> list[Objects]:
    """Labels frames after a look where no further look is known: boxes carried forward, one Objects a frame."""
    path = carry(before.objects.xyxy, fields)
    labels = []
    for boxes, field in zip(path[1:], fields, strict=True):
        origin = Origin.HELD if field is None else Origin.PROPAGATED
        objects = replace(before.objects, xyxy=boxes).with_origin(origin)
        labels.append(objects[share_inside(boxes, width, height) >= LEAST_INSIDE])
    return labels


@dataclass(frozen=True, slots=True)
class Blend:
    """i objects through an interval of n frame steps: boxes (n + 1, i, 4), scores, classes and inside (whether enough of it
    lies in the picture) (n + 1, i); ids (i,); both (i,): known from both ends."""

    boxes: F32
    scores: F32
    classes: I32
    inside: Bool
    ids: I32
    both: Bool


def blend(paths: Paths, found: Objects, width: int, height: int) -> Blend:
    """Blends the two paths of each track: the nearer look weighs more. found: this look's objects with their tracks."""
    steps = len(paths.ahead) - 1
    before = paths.before
    tracked = found.track_id >= 0
    found, back = found[tracked], paths.back[:, tracked]
    ids = np.union1d(before.objects.track_id, found.track_id).astype(np.int32)
    first, last = _rows_of(ids, before.objects.track_id), _rows_of(ids, found.track_id)
    has_first, has_last = first >= 0, last >= 0
    both = has_first & has_last
    share = np.linspace(0, 1, steps + 1, dtype=np.float32)[:, None]
    weight = np.where(both, share, has_last.astype(np.float32))
    boxes = (1 - weight[..., None]) * _take(paths.ahead, first) + weight[..., None] * _take(back, last)
    start = np.maximum(_take(before.looked, first), MISSED_SCORE)
    end = np.maximum(_take(found.score, last), MISSED_SCORE)
    scores = ((1 - share) * start + share * end).astype(np.float32)
    inside = share_inside(boxes.reshape(-1, 4), width, height).reshape(scores.shape) >= LEAST_INSIDE
    use_last = has_last & ((share > 0.5) | ~has_first)
    classes = np.where(use_last, _take(found.class_id, last), _take(before.objects.class_id, first))
    return Blend(boxes, scores, classes, inside, ids, both)


def _between(
    paths: Paths, found: Objects, fields: Sequence[MotionField | None], width: int, height: int
) -> list[Objects]:
    """One Objects for each frame between the looks."""
    b = blend(paths, found, width, height)
    undecoded = np.where(b.both, Origin.INTERPOLATED, Origin.HELD).astype(np.uint8)
    moved = np.full(len(b.ids), Origin.PROPAGATED, np.uint8)
    labels = []
    for step in range(1, len(fields)):
        origin = undecoded if fields[step - 1] is None else moved
        whole = Objects(b.boxes[step], b.scores[step], b.classes[step], b.ids, origin)
        labels.append(whole[b.inside[step]])
    return labels


def _rows_of(ids: I32, among: I32) -> NDArray[np.intp]:
    """For each id its row in `among`, -1 where it is not there."""
    if len(among) == 0:
        return np.full(len(ids), -1, np.intp)
    order = np.argsort(among, kind="stable")
    rows = order[np.minimum(np.searchsorted(among, ids, sorter=order), len(among) - 1)]
    rows[among[rows] != ids] = -1
    return rows


def _take(values: NDArray[np.generic], rows: NDArray[np.intp]) -> np.ndarray:
    """values[rows] (or values[:, rows] of paths), 0 where a row is -1."""
    axis = 1 if values.ndim == 3 else 0
    if values.shape[axis] == 0:
        shape = list(values.shape)
        shape[axis] = len(rows)
        return np.zeros(shape, values.dtype)
    taken: np.ndarray = np.take(values, rows, axis=axis, mode="wrap")
    taken[(slice(None), rows < 0) if axis else rows < 0] = 0
    return taken
