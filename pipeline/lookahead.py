"""Labels between two looks of the detector, from both sides: the second look is known too (files)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everyframe.operators.boxes import LEAST_INSIDE, share_inside
from everyframe.operators.propagate import move
from everyframe.operators.types import F32, I32, U8, MotionField, Objects, Origin
from everyframe.pipeline.tracks import TrackKeeper, TrackState

MISSED_SCORE = 0.2
"""What a track is taken to score at a look that did not find it: its label ends (or begins) about half way."""


def carry(objects: F32, fields: Sequence[MotionField | None]) -> F32:
    """Boxes (n, 4) carried forward through `fields`; returns (len(fields) + 1, n, 4), the start first.

    A field of None (a frame that was not decoded) leaves the boxes where they are.
    """
    path = [objects]
    for field in fields:
        path.append(path[-1] if field is None else move(field, path[-1]))
    return np.stack(path)


def carry_back(objects: F32, fields: Sequence[MotionField | None]) -> F32:
    """Boxes (n, 4) in the last field's frame carried back; returns (len(fields) + 1, n, 4), the earliest first."""
    path = [objects]
    for field in reversed(fields):
        path.append(path[-1] if field is None else move(field, path[-1], backwards=True))
    return np.stack(path[::-1])


def close(
    keeper: TrackKeeper, fields: Sequence[MotionField | None], detections: Objects, frame_index: int,
    width: int, height: int,
) -> tuple[Objects, list[Objects]]:
    """Takes a look into the tracks and labels the frames since the look before.

    fields: of the frames after the look before, up to and with this one. Returns this look's detections with their
    tracks, and one Objects for each frame between. Scores run linearly from look to look.
    """
    before = keeper.state
    ahead = carry(before.objects.xyxy, fields)
    back = carry_back(detections.xyxy, fields)
    arrived = _at(before.objects, ahead[-1])
    returned = _at(detections, back[0])
    affinity = 0.5 * (keeper.affinity(arrived, detections) + keeper.affinity(before.objects, returned))
    keeper.state = before.moved(arrived)
    found = keeper.look(detections, frame_index, affinity)
    return found, _between(before, found, ahead, back, fields, width, height)


def one_sided(
    before: TrackState, fields: Sequence[MotionField | None], width: int, height: int
) -> list[Objects]:
    """Labels frames after a look where no further look is known: boxes carried forward, one Objects a frame."""
    path = carry(before.objects.xyxy, fields)
    labels = []
    for boxes, field in zip(path[1:], fields, strict=True):
        origin = Origin.HELD if field is None else Origin.PROPAGATED
        objects = _at(before.objects, boxes).with_origin(origin)
        labels.append(objects[share_inside(boxes, width, height) >= LEAST_INSIDE])
    return labels


def _at(objects: Objects, boxes: F32) -> Objects:
    return Objects(boxes, objects.score, objects.class_id, objects.track_id, objects.origin)


def _between(
    before: TrackState, found: Objects, ahead: F32, back: F32, fields: Sequence[MotionField | None],
    width: int, height: int,
) -> list[Objects]:
    """Blends the two paths of each track: the nearer look weighs more."""
    steps = len(fields)
    tracked = found.track_id >= 0
    found, back = found[tracked], back[:, tracked]
    ids = np.union1d(before.objects.track_id, found.track_id).astype(np.int32)
    first = _rows_of(ids, before.objects.track_id)
    last = _rows_of(ids, found.track_id)
    has_first, has_last = first >= 0, last >= 0
    both = has_first & has_last
    start = np.maximum(_take(before.looked, first), MISSED_SCORE)
    end = np.maximum(_take(found.score, last), MISSED_SCORE)
    labels = []
    for step in range(1, steps):
        w = np.float32(step / steps)
        weight = np.where(both, w, np.where(has_last, 1, 0)).astype(np.float32)[:, None]
        boxes = (1 - weight) * _take(ahead[step], first) + weight * _take(back[step], last)
        use_last = has_last & ((w > 0.5) | ~has_first)
        class_id = np.where(use_last, _take(found.class_id, last), _take(before.objects.class_id, first))
        one_sided = Origin.HELD if fields[step - 1] is None else Origin.PROPAGATED
        origin = np.where(both, Origin.INTERPOLATED, one_sided).astype(np.uint8)
        score = ((1 - w) * start + w * end).astype(np.float32)
        objects = Objects(boxes.astype(np.float32), score, class_id.astype(np.int32), ids, origin)
        labels.append(objects[share_inside(objects.xyxy, width, height) >= LEAST_INSIDE])
    return labels


def _rows_of(ids: I32, among: I32) -> np.ndarray:
    """For each id its row in `among`, -1 where it is not there."""
    if len(among) == 0:
        return np.full(len(ids), -1)
    order = np.argsort(among, kind="stable")
    place = np.minimum(np.searchsorted(among, ids, sorter=order), len(among) - 1)
    rows = order[place]
    out: np.ndarray = np.where(among[rows] == ids, rows, -1)
    return out


def _take(values: F32 | I32 | U8, rows: np.ndarray) -> np.ndarray:
    """values[rows], 0 where a row is -1."""
    if len(values) == 0:
        return np.zeros((len(rows), *values.shape[1:]), values.dtype)
    taken = values[rows]
    taken[rows < 0] = 0
    return taken
