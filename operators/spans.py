"""From linked key frames to the objects of the frames between: cubic curves through the paths' boxes.

The centre follows a cubic Hermite curve whose ends have the path's velocities over three key frames (Catmull
and Rom, 1974, on uneven times); width, height and score change linearly, for the detector's sizes are noisy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.boxes import LEAST_INSIDE, clip, share_inside
from everyframe.operators.link import F64, NONE, Nodes, Rows
from everyframe.operators.types import F32, I32, NO_TRACK, Objects, Origin

EDGE = 0.3
"""Share of an interval for which a path that begins or ends in it goes on at its velocity."""
BRIEF_S = 0.6
"""Seconds for which an object that no other key frame shows is held, within `EDGE`."""


@dataclass(frozen=True, slots=True)
class Step:
    """A key frame with its neighbours and links: previous (n,) rows of `before`, following (n,) rows of
    `after`.

    tracks (n,): track ids. count: how many objects the key frame has, linkable or not.
    """

    nodes: Nodes
    tracks: I32
    count: int
    before: Nodes | None
    previous: Rows
    after: Nodes | None
    following: Rows


@dataclass(frozen=True, slots=True)
class Curves:
    """k paths in an interval. start, end (k, 4): boxes at its ends, seen or extrapolated; leave, arrive (k,
    2): velocities there, pixels per frame; score (k, 2) there; class_id, track_id (k,); born, dies (k,):
    first and last frame of each."""

    start: F32
    end: F32
    leave: F64
    arrive: F64
    score: F32
    class_id: I32
    track_id: I32
    born: I32
    dies: I32

    @classmethod
    def concat(cls, parts: list[Curves]) -> Curves:
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Interval:
    """The frames between key frames `first` and `last`, both excluded.

    first is -1 before the first key frame, last is the number of frames after the last one. tracks (m,):
    track id of each object pushed for `first`; NO_TRACK for those that aren't linkable. pairs (p, 2): rows of
    the objects of `first` and `last` that are the same. width, height: of the picture.
    """

    first: int
    last: int
    tracks: I32
    pairs: Rows
    curves: Curves
    width: int
    height: int

    def __len__(self) -> int:
        return self.last - self.first - 1


def interpolate(interval: Interval, least: float = 0.0) -> list[Objects]:
    """Objects scored `least` or more of each frame first + 1 .. last - 1, in order.

    Origin interpolated where both key frames show the object, held where one does.
    """
    if len(interval) == 0:
        return []
    c = interval.curves
    frames = np.arange(interval.first + 1, interval.last)
    boxes, scores = curves_at(interval, frames)
    alive = (frames[:, None] >= c.born) & (frames[:, None] <= c.dies) & (scores >= least)
    flat = boxes.reshape(-1, 4)
    alive &= share_inside(flat, interval.width, interval.height).reshape(alive.shape) >= LEAST_INSIDE
    boxes = clip(flat, interval.width, interval.height).reshape(boxes.shape)
    out = []
    for k in range(len(frames)):
        at = np.flatnonzero(alive[k])
        origin = np.where(at < len(interval.pairs), Origin.INTERPOLATED, Origin.HELD).astype(np.uint8)
        out.append(Objects(boxes[k, at], scores[k, at], c.class_id[at], c.track_id[at], origin))
    return out


def curves_at(interval: Interval, frames: NDArray[np.int_]) -> tuple[F32, F32]:
    """Boxes (f, k, 4) and scores (f, k) of all curves at `frames` (f,), whether they live there or not."""
    c = interval.curves
    length = float(interval.last - interval.first)
    u = ((frames - interval.first) / length)[:, None, None]
    start, end = c.start.astype(np.float64), c.end.astype(np.float64)
    towards = u * u * (3 - 2 * u)
    centre = _centre(start) * (1 - towards) + _centre(end) * towards
    centre += (c.leave * (u * (1 - u) ** 2) - c.arrive * (u * u * (1 - u))) * length
    half = (_side(start) * (1 - u) + _side(end) * u) / 2
    boxes = np.concatenate((centre - half, centre + half), -1).astype(np.float32)
    at = u[..., 0]
    scores = (c.score[:, 0] * (1 - at) + c.score[:, 1] * at).astype(np.float32)
    return boxes, scores


def between(a: Step, b: Step, rate: float, size: tuple[int, int]) -> Interval:
    """The interval between neighbouring key frames; rate in frames a second, size (width, height)."""
    first, last = a.nodes.index, b.nodes.index
    i = np.flatnonzero(a.following != NONE)
    j = a.following[i]
    parts = [
        _linked(a, i, b, j),
        _ending(a, np.flatnonzero(a.following == NONE), last, rate),
        _beginning(b, np.flatnonzero(b.previous == NONE), first, rate),
    ]
    pairs = np.stack((a.nodes.row[i], b.nodes.row[j]), 1)
    return Interval(first, last, _per_object(a), pairs, Curves.concat(parts), *size)


def leading(b: Step, size: tuple[int, int]) -> Interval:
    """The frames before the first key frame: its objects, moved back at their velocity."""
    curves = _beginning(b, np.arange(len(b.nodes)), -1, None)
    return Interval(-1, b.nodes.index, np.zeros(0, np.int32), np.zeros((0, 2), np.intp), curves, *size)


def trailing(a: Step, frames: int, size: tuple[int, int]) -> Interval:
    """The frames after the last key frame: its objects, moved on at their velocity."""
    curves = _ending(a, np.arange(len(a.nodes)), frames, None)
    return Interval(a.nodes.index, frames, _per_object(a), np.zeros((0, 2), np.intp), curves, *size)


def velocities(s: Step) -> F64:
    """(n, 2) pixels per frame of the centres, over the neighbours that a path has; NaN for a path of one
    object."""
    n = s.nodes
    out = np.full((len(n), 2), np.nan)
    i = np.flatnonzero(s.previous != NONE)
    if s.before is not None:
        out[i] = (n.centre[i] - s.before.centre[s.previous[i]]) / (n.index - s.before.index)
    j = np.flatnonzero(s.following != NONE)
    if s.after is None:
        return out
    ahead = s.after.index - n.index
    speed = (s.after.centre[s.following[j]] - n.centre[j]) / ahead
    both = s.previous[j] != NONE
    if s.before is not None:
        past = n.index - s.before.index
        # the nearer neighbour says more about the velocity here
        speed[both] = (out[j[both]] * ahead + speed[both] * past) / (ahead + past)
    out[j] = speed
    return out


def _linked(a: Step, i: Rows, b: Step, j: Rows) -> Curves:
    first, last, k = a.nodes.index, b.nodes.index, len(i)
    score = np.stack((a.nodes.score[i], b.nodes.score[j]), 1)
    # one class for the whole curve: that of the surer look
    class_id = np.where(score[:, 0] >= score[:, 1], a.nodes.class_id[i], b.nodes.class_id[j])
    return Curves(
        a.nodes.xyxy[i],
        b.nodes.xyxy[j],
        velocities(a)[i],
        velocities(b)[j],
        score,
        class_id,
        a.tracks[i],
        np.full(k, first + 1, np.int32),
        np.full(k, last - 1, np.int32),
    )


def _ending(a: Step, i: Rows, last: int, rate: float | None) -> Curves:
    """Paths that no longer are in key frame `last`. rate None: there is no such key frame, so they go on."""
    n, first = a.nodes, a.nodes.index
    speed = velocities(a)[i]
    reach = np.full(len(i), last - first) if rate is None else _reach(speed, last - first, rate)
    speed = np.nan_to_num(speed)
    end = _moved(n.xyxy[i], (last - first) * speed)
    return _straight(n, a.tracks, i, n.xyxy[i], end, speed, np.full(len(i), first + 1), first + reach)


def _beginning(b: Step, j: Rows, first: int, rate: float | None) -> Curves:
    """Paths that weren't yet in key frame `first`. rate None: there is no such key frame, so they were
    there."""
    n, last = b.nodes, b.nodes.index
    speed = velocities(b)[j]
    reach = np.full(len(j), last - first) if rate is None else _reach(speed, last - first, rate)
    speed = np.nan_to_num(speed)
    start = _moved(n.xyxy[j], (first - last) * speed)
    return _straight(n, b.tracks, j, start, n.xyxy[j], speed, last - reach, np.full(len(j), last - 1))


def _straight(
    n: Nodes, tracks: I32, rows: Rows, start: F32, end: F32, speed: F64, born: Rows, dies: Rows
) -> Curves:
    score = np.stack((n.score[rows], n.score[rows]), 1)
    life = born.astype(np.int32), dies.astype(np.int32)
    return Curves(start, end, speed, speed, score, n.class_id[rows], tracks[rows], *life)


def _reach(velocity: F64, length: int, rate: float) -> Rows:
    """(k,): for how many frames of an interval a path goes on beyond its last key frame."""
    most = EDGE * length
    alone = min(most, BRIEF_S * rate)
    return np.where(np.isfinite(velocity).all(1), int(most), int(alone)).astype(np.intp)


def _per_object(s: Step) -> I32:
    out = np.full(s.count, NO_TRACK, np.int32)
    out[s.nodes.row] = s.tracks
    return out


def _moved(box: F32, by: F64) -> F32:
    return (box + np.tile(by, 2)).astype(np.float32)


def _centre(box: F64) -> F64:
    out: F64 = (box[:, :2] + box[:, 2:]) / 2
    return out


def _side(box: F64) -> F64:
    out: F64 = box[:, 2:] - box[:, :2]
    return out
