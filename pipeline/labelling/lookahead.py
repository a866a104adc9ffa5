"""Labels between two looks of the detector, from both sides: the second look is known too (files)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.boxes import LEAST_INSIDE, Rows, rest, share_inside
from everyframe.operators.propagate import move
from everyframe.operators.types import F32, I32, NO_TRACK, Bool, MotionField, Objects, Origin
from everyframe.pipeline.labelling.tracks import TrackKeeper, TrackState, associate

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


@dataclass(frozen=True, slots=True)
class Strands:
    """k objects on their way from look to look: tracks of the look before, detections of this one, or both in one.

    first, last (k,): rows of the tracks and of the detections, -1 where that look did not find it. start, end (k,):
    scores at the looks, 0 where missed. on, back (n + 1, k, 4): boxes by the way on and the way back; of an object that
    one look alone found both are the one there is.
    """

    first: Rows
    last: Rows
    start: F32
    end: F32
    on: F32
    back: F32

    def __len__(self) -> int:
        return len(self.first)

    @property
    def steps(self) -> int:
        return len(self.on) - 1

    @classmethod
    def of(cls, paths: Paths, detections: Objects, conf: float) -> Strands:
        """Every track and every detection, paired as the track keeper will do it."""
        rows, columns = associate(paths.affinity, detections.score, conf)
        a, b = paths.affinity.shape
        went, came = rest(a, rows), rest(b, columns)
        first = np.concatenate([rows, went, np.full(len(came), -1)])
        last = np.concatenate([columns, np.full(len(went), -1), came])
        return cls._along(paths, detections, first, last)

    @classmethod
    def tracked(cls, paths: Paths, found: Objects) -> Strands:
        """Those that a look has left: found are its detections with their tracks."""
        ids = np.union1d(paths.before.objects.track_id, found.track_id[found.track_id != NO_TRACK])
        first, last = _rows_of(ids, paths.before.objects.track_id), _rows_of(ids, found.track_id)
        return cls._along(paths, found, first, last)

    @classmethod
    def _along(cls, paths: Paths, detections: Objects, first: Rows, last: Rows) -> Strands:
        on, back = _take(paths.ahead, first), _take(paths.back, last)
        on[:, first < 0], back[:, last < 0] = back[:, first < 0], on[:, last < 0]
        return cls(first, last, _take(paths.before.looked, first), _take(detections.score, last), on, back)

    def rows(self, kept: Bool) -> tuple[Rows, Rows]:
        """Rows of the tracks and of the detections of some strands (mask (k,)), in rising order."""
        first, last = self.first[kept], self.last[kept]
        return np.sort(first[first >= 0]), np.sort(last[last >= 0])


@dataclass(frozen=True, slots=True)
class Turns:
    """Where the word of the look before gives way to that of this one. until (k,) frame steps: the last at which the
    first holds. sharp (k,) bool: the score changes there at once, not little by little. apart (n + 1, k) bool: the ways
    don't meet at this step, so that between them there is nothing."""

    until: NDArray[np.float32]
    sharp: Bool
    apart: Bool

    @classmethod
    def half_way(cls, strands: Strands) -> Turns:
        """Where nothing more is known."""
        k, n = len(strands), strands.steps
        none = np.zeros(k, np.bool_)
        return cls(np.full(k, n / 2, np.float32), none, np.zeros((n + 1, k), np.bool_))


def carry(boxes: F32, fields: Sequence[MotionField | None]) -> F32:
    """Boxes (n, 4) carried forward through `fields`; returns (len(fields) + 1, n, 4), the start first.

    A field of None (a frame that was not decoded) leaves the boxes where they are.
    """
    path = np.repeat(boxes[None], len(fields) + 1, axis=0)
    for step, field in enumerate(fields):
        path[step + 1] = path[step] if field is None or not len(boxes) else move(field, path[step])
    return path


def carry_back(boxes: F32, fields: Sequence[MotionField | None]) -> F32:
    """Boxes (n, 4) in the last field's frame carried back; returns (len(fields) + 1, n, 4), the earliest first."""
    path = np.repeat(boxes[None], len(fields) + 1, axis=0)
    for step in range(len(fields), 0, -1):
        field = fields[step - 1]
        path[step - 1] = path[step] if field is None or not len(boxes) else move(field, path[step], backwards=True)
    return path


def both_ways(
    keeper: TrackKeeper,
    before: TrackState,
    fields: Sequence[MotionField | None],
    detections: Objects,
    ahead: F32 | None = None,
    back: F32 | None = None,
) -> Paths:
    """fields: of the frames after the look before, up to and with this one. ahead, back: a way that is known already."""
    ahead = carry(before.objects.xyxy, fields) if ahead is None else ahead
    back = carry_back(detections.xyxy, fields) if back is None else back
    arrived = keeper.affinity(replace(before.objects, xyxy=ahead[-1]), detections)
    returned = keeper.affinity(before.objects, replace(detections, xyxy=back[0]))
    return Paths(before, ahead, back, np.float32(0.5) * (arrived + returned))


def close(keeper: TrackKeeper, paths: Paths, detections: Objects, frame_index: int) -> Objects:
    """Takes a look into the tracks; returns its detections with their tracks."""
    before = paths.before
    keeper.state = before.moved(replace(before.objects, xyxy=paths.ahead[-1]))
    return keeper.look(detections, frame_index, paths.affinity)


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


def blend(
    paths: Paths,
    found: Objects,
    width: int,
    height: int,
    strands: Strands | None = None,
    turns: Turns | None = None,
) -> Blend:
    """Blends the two ways of each track: the nearer look weighs more. found: this look's objects with their tracks.

    strands, turns: of this interval, where more is known than both ends. Where the two ways don't meet, the one counts
    whose word holds; scores run linearly, or change where the word does.
    """
    strands = strands or Strands.tracked(paths, found)
    turns = turns or Turns.half_way(strands)
    before, first, last = paths.before.objects, strands.first, strands.last
    share = np.linspace(0, 1, strands.steps + 1, dtype=np.float32)[:, None]
    late = np.arange(strands.steps + 1)[:, None] > turns.until
    weight = np.where(turns.apart, late, share)[..., None].astype(np.float32)
    boxes = (1 - weight) * strands.on + weight * strands.back
    change = np.where(turns.sharp, late, share).astype(np.float32)
    start, end = np.maximum(strands.start, MISSED_SCORE), np.maximum(strands.end, MISSED_SCORE)
    scores = ((1 - change) * start + change * end).astype(np.float32)
    inside = share_inside(boxes.reshape(-1, 4), width, height).reshape(scores.shape) >= LEAST_INSIDE
    use_last = (last >= 0) & (late | (first < 0))
    classes = np.where(use_last, _take(found.class_id, last), _take(before.class_id, first))
    ids = np.where(first >= 0, _take(before.track_id, first), _take(found.track_id, last))
    both = (first >= 0) & (last >= 0)
    kept = np.flatnonzero(ids != NO_TRACK)
    kept = kept[np.argsort(ids[kept])]
    return Blend(boxes[:, kept], scores[:, kept], classes[:, kept], inside[:, kept], ids[kept], both[kept])


def labels_of(b: Blend, fields: Sequence[MotionField | None]) -> list[Objects]:
    """One Objects for each frame between the looks. fields: of the frames after the first look."""
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


def _take(values: NDArray[np.generic], rows: Rows) -> np.ndarray:
    """values[rows] (or values[:, rows] of paths), 0 where a row is -1."""
    axis = 1 if values.ndim == 3 else 0
    if values.shape[axis] == 0:
        shape = list(values.shape)
        shape[axis] = len(rows)
        return np.zeros(shape, values.dtype)
    taken: np.ndarray = np.take(values, rows, axis=axis, mode="wrap")
    taken[(slice(None), rows < 0) if axis else rows < 0] = 0
    return taken
