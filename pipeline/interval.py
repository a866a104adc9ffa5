"""The frames since the last look, which wait for the next one to be labelled from both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from everyframe.operators.types import MotionField, Objects, Origin
from everyframe.pipeline import lookahead
from everyframe.pipeline.records import Frame, FrameLabels
from everyframe.pipeline.tracks import TrackKeeper, TrackState

MOST_PICTURE_BYTES = 32 << 20
LEAST_STEPS = 3  # frame steps; a shorter interval is not looked into again
LEAST_USUAL = 1.2  # objects; on emptier streams a change counts as on this one


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame since the last look: its record still without objects, its field and, as long as there is room for it,
    the decoded frame."""

    record: FrameLabels
    motion: MotionField | None
    frame: Frame | None = None


Labelled = tuple[FrameLabels, Objects]


class Interval:
    """Owns the waiting frames and the tracks as they were at the last look.

    Where the two looks around an interval found different objects, the detector looks once more half way back, and
    again in the halves, while that pays (look_back of the policy; 0: never): a bisection that finds when an object
    came or went with a few looks, at any length of the interval. It takes pictures that are still in memory.
    """

    def __init__(
        self, keeper: TrackKeeper, detect: Callable[[Frame], Objects], look_back: float, conf: float
    ) -> None:
        self._keeper = keeper
        self._detect = detect
        self._look_back = look_back
        self._conf = conf
        self._at_look = TrackState.empty()
        self._looked_at = 0
        self._usual = (1.0, 1)  # objects seen, frames
        self.waiting: list[Waiting] = []

    def begin(self, frame_index: int) -> None:
        """A look was taken into the tracks at this frame and nothing waits."""
        self._at_look = self._keeper.state
        self._looked_at = frame_index

    def add(self, record: FrameLabels, motion: MotionField | None, frame: Frame | None) -> None:
        keeps = self._look_back > 0 and frame is not None
        self.waiting.append(Waiting(record, motion, frame if keeps else None))
        if keeps and frame is not None:
            self._thin_out(frame.width * frame.height * 3 // 2)

    def catch_up(self, pts: int | None, motion: MotionField) -> None:
        """Gives a waiting frame the field that a late decode found for it."""
        for i in range(len(self.waiting) - 1, -1, -1):
            if self.waiting[i].record.pts == pts:
                record = replace(self.waiting[i].record, origin=Origin.PROPAGATED)
                self.waiting[i] = replace(self.waiting[i], record=record, motion=motion)
                return

    def close(
        self, detections: Objects, motion: MotionField | None, frame_index: int, width: int, height: int
    ) -> tuple[list[Labelled], Objects]:
        """Labels the waiting frames, and gives this look's detections with their tracks."""
        waiting, self.waiting = self.waiting, []
        labelled, found = self._resolve(waiting, motion, detections, frame_index, (width, height))
        seen, frames = self._usual
        count = sum(int((objects.score >= self._conf).sum()) for _, objects in labelled)
        self._usual = (seen + count + int((found.score >= self._conf).sum()), frames + len(labelled) + 1)
        return labelled, found

    def release(self, width: int, height: int) -> list[Labelled]:
        """Labels the waiting frames from the last look alone: no further one will come."""
        waiting, self.waiting = self.waiting, []
        between = lookahead.one_sided(self._at_look, [w.motion for w in waiting], width, height)
        labelled = []
        for w, objects in zip(waiting, between, strict=True):
            origin = Origin.HELD if w.record.origin == Origin.INTERPOLATED else w.record.origin
            labelled.append((replace(w.record, origin=origin), objects))
        return labelled

    def _resolve(
        self,
        waiting: list[Waiting],
        motion: MotionField | None,
        detections: Objects,
        frame_index: int,
        size: tuple[int, int],
    ) -> tuple[list[Labelled], Objects]:
        fields = [*(w.motion for w in waiting), motion]
        paths = lookahead.both_ways(self._keeper, self._at_look, fields, detections)
        middle = self._worth_a_look(waiting, paths, detections, size)
        if middle is not None:
            half = waiting[middle]
            assert half.frame is not None
            seen = self._detect(half.frame)
            before, found = self._resolve(waiting[:middle], half.motion, seen, half.record.frame_index, size)
            record = replace(half.record, origin=Origin.DETECTED, key_age=0, reason="looked back")
            after, last = self._resolve(waiting[middle + 1 :], motion, detections, frame_index, size)
            return [*before, (record, found), *after], last
        found, between = lookahead.close(self._keeper, paths, fields, detections, frame_index, *size)
        labelled = [
            (replace(w.record, key_age=w.record.frame_index - self._looked_at), objects)
            for w, objects in zip(waiting, between, strict=True)
        ]
        self.begin(frame_index)
        return labelled, found

    def _worth_a_look(
        self, waiting: list[Waiting], paths: lookahead.Paths, detections: Objects, size: tuple[int, int]
    ) -> int | None:
        """The waiting frame nearest to the middle, where a look at it is expected to pay."""
        steps = len(waiting) + 1
        pictures = [i for i, w in enumerate(waiting) if w.frame is not None]
        if self._look_back <= 0 or steps <= LEAST_STEPS or not pictures:
            return None
        changed = lookahead.came_or_went(paths, detections, self._conf, *size)
        seen, frames = self._usual
        if changed * steps < self._look_back * max(seen / frames, LEAST_USUAL):
            return None
        return min(pictures, key=lambda i: abs(i + 1 - steps / 2))

    def _thin_out(self, bytes_each: int) -> None:
        """Lets every other picture go when they take too much memory."""
        rows = [i for i, w in enumerate(self.waiting) if w.frame is not None]
        if len(rows) * bytes_each > MOST_PICTURE_BYTES:
            for i in rows[::2]:
                self.waiting[i] = replace(self.waiting[i], frame=None)
