"""Tracks: who is who across rungs. The keeper is the one owner of this state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.boxes import iou, match, rest
from everyframe.operators.types import F32, I32, NO_TRACK, Objects

LEAST_IOU = 0.2
MOST_MISSES = 2


@dataclass(frozen=True, slots=True)
class TrackState:
    """objects: all tracks now, also those too weak to report; every `track_id` is set.

    looked (n,) float32: score of the last look, 0 where it was missed. misses (n,) int32: looks missed in a row.
    detected_at (n,) int32: frame index of the last look that found it.
    """

    objects: Objects
    looked: F32
    misses: I32
    detected_at: I32

    @classmethod
    def empty(cls) -> TrackState:
        return cls(Objects.empty(), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32))

    def keep(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> TrackState:
        return TrackState(self.objects[rows], self.looked[rows], self.misses[rows], self.detected_at[rows])

    def moved(self, objects: Objects) -> TrackState:
        """The state with `objects` in place of its own: the same tracks, or fewer where some have ended."""
        if len(objects) == len(self.objects):
            return TrackState(objects, self.looked, self.misses, self.detected_at)
        rows = np.flatnonzero(np.isin(self.objects.track_id, objects.track_id))
        left = self.keep(rows)
        return TrackState(objects, left.looked, left.misses, left.detected_at)


class TrackKeeper:
    """Associates each look of the detector with the tracks carried to its frame.

    Two stages as in ByteTrack (Zhang et al., ECCV 2022): detections of any score continue a track, only good ones
    begin one. Deviation: there is no Kalman filter; where a track is now, the motion vectors said. Classes match
    by group (supercategory). groups: of each class id. conf: the lowest score that is reported: always enough to
    begin a track, and the least that does. state: tracks to go on with.
    """

    def __init__(self, groups: I32, conf: float, state: TrackState | None = None) -> None:
        self._groups = groups
        self._conf = conf
        self.state = state or TrackState.empty()
        self._next_id = 1 + int(self.state.objects.track_id.max(initial=0))

    def affinity(self, tracks: Objects, detections: Objects) -> F32:
        """(n, m): overlap, 0 between different groups."""
        same = self._groups[tracks.class_id][:, None] == self._groups[detections.class_id][None, :]
        out: F32 = np.where(same, iou(tracks.xyxy, detections.xyxy), 0).astype(np.float32)
        return out

    def agreement(self, detections: Objects) -> float:
        """F1 at IoU 0.5 of the tracks with detections of their frame, among those good enough to report.

        1 where both are empty.
        """
        tracks = self.state.objects[self.state.objects.score >= self._conf]
        found = detections[detections.score >= self._conf]
        if len(tracks) + len(found) == 0:
            return 1.0
        rows, _ = match(self.affinity(tracks, found), 0.5)
        return 2 * len(rows) / (len(tracks) + len(found))

    def look(self, detections: Objects, frame_index: int, affinity: F32 | None = None) -> Objects:
        """Takes a look's detections into the tracks; returns them with `track_id` set (NO_TRACK: too weak to begin).

        affinity (tracks, detections): in place of the overlap with where the tracks are now.
        """
        state = self.state
        if affinity is None:
            affinity = self.affinity(state.objects, detections)
        rows, columns = associate(affinity, detections.score, self._conf)
        ids = np.full(len(detections), NO_TRACK, np.int32)
        ids[columns] = state.objects.track_id[rows]
        born = np.flatnonzero((ids == NO_TRACK) & (detections.score >= self._conf))
        ids[born] = np.arange(self._next_id, self._next_id + len(born), dtype=np.int32)
        self._next_id += len(born)
        found = Objects(
            detections.xyxy, detections.score, detections.class_id, ids, detections.origin
        )
        kept = np.flatnonzero(ids != NO_TRACK)
        n = len(kept)
        now = TrackState(
            found[kept],
            found.score[kept],
            np.zeros(n, np.int32),
            np.full(n, frame_index, np.int32),
        )
        self.state = join(now, self._missed(rest(len(state.objects), rows)))
        return found

    def take(self, objects: Objects, frame_index: int) -> Objects:
        """Takes what a rung gave for this frame, as `operators.base.Operator` says; returns it with `track_id` set.

        Objects with a track go on as they are; the others are a look at those tracks that came back in neither way.
        """
        carried = objects[objects.track_id != NO_TRACK]
        at = {track: row for row, track in enumerate(self.state.objects.track_id.tolist())}
        rows = np.array([at[track] for track in carried.track_id.tolist()], np.intp)
        kept = self.state.keep(rows).moved(carried)
        self.state = self.state.keep(rest(len(at), rows))
        found = self.look(objects[objects.track_id == NO_TRACK], frame_index)
        self.state = join(kept, self.state)
        return Objects.concat([carried, found])

    def _missed(self, rows: NDArray[np.intp]) -> TrackState:
        """What is left of the tracks that a look did not find: not reported until seen again, then the same track."""
        left = self.state.keep(rows)
        zero = np.zeros(len(rows), np.float32)
        aged = TrackState(replace(left.objects, score=zero), zero, left.misses + 1, left.detected_at)
        return aged.keep(aged.misses <= MOST_MISSES)


def associate(affinity: F32, scores: F32, birth: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of tracks and detections, rows and columns of their affinity. Good detections choose first, weak ones take what is left of the tracks."""
    good = np.flatnonzero(scores >= birth)
    weak = np.flatnonzero(scores < birth)
    rows, columns = match(affinity[:, good], LEAST_IOU)
    free = rest(affinity.shape[0], rows)
    rows2, columns2 = match(affinity[np.ix_(free, weak)], LEAST_IOU)
    return np.concatenate([rows, free[rows2]]), np.concatenate([good[columns], weak[columns2]])


def join(a: TrackState, b: TrackState) -> TrackState:
    """The tracks of both."""
    return TrackState(
        Objects.concat([a.objects, b.objects]),
        np.concatenate([a.looked, b.looked]),
        np.concatenate([a.misses, b.misses]),
        np.concatenate([a.detected_at, b.detected_at]),
    )


class Classes(Protocol):
    """What a detector says of its classes, by `class_id`; see `operators.base.Detector`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def supercategory(self) -> tuple[str, ...]: ...


def class_tables(detector: Classes, classes: tuple[str, ...]) -> tuple[I32, I32]:
    """The group number of each class (supercategories, for matching), and the ids of the classes to report."""
    order = sorted(set(detector.supercategory))
    groups = np.array([order.index(name) for name in detector.supercategory], np.int32)
    wanted = np.array([detector.names.index(name) for name in classes], np.int32)
    return groups, wanted
