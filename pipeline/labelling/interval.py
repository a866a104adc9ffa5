"""The frames since the last look, which wait for the next one to be labelled from both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace

from everyframe.operators.types import MotionField, Objects, Origin
from everyframe.pipeline.labelling import lookahead
from everyframe.pipeline.labelling.lattice import LEAST_STEPS, Gap, Lattice
from everyframe.pipeline.labelling.middle import Middle
from everyframe.pipeline.labelling.tracks import TrackKeeper, TrackState
from everyframe.pipeline.records import Frame, FrameLabels

MOST_PICTURE_BYTES = 32 << 20
LEAST_USUAL = 1.2  # objects; on emptier streams an error counts as on this one


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame since the last look: its record still without objects, its field and, as long as there is room for it,
    the decoded frame."""

    record: FrameLabels
    motion: MotionField | None
    frame: Frame | None = None


Labelled = tuple[FrameLabels, Objects]


class Interval:
    """Owns the waiting frames, and the tracks and the picture of the last look.

    price: how many wrong labels, relative to the objects usual on this stream, a further look at a whole picture must be
    expected to put right (look_back of the policy; 0: there is none, and no picture is kept); may change. What looks is `middle`, at
    pictures that are still in memory. conf: the lowest score that is reported.
    """

    def __init__(self, keeper: TrackKeeper, middle: Middle, price: float, conf: float) -> None:
        self._keeper = keeper
        self._middle = middle
        self.price = price
        self._conf = conf
        self._at_look = TrackState.empty()
        self._look: Frame | None = None
        self._looked_at = 0
        self._usual = (1.0, 1)  # objects seen, frames
        self.waiting: list[Waiting] = []

    def begin(self, frame_index: int, frame: Frame | None = None) -> None:
        """A look at this frame was taken into the tracks and nothing waits."""
        self._at_look = self._keeper.state
        self._look = frame if self.price > 0 else None
        self._looked_at = frame_index

    def add(self, record: FrameLabels, motion: MotionField | None, frame: Frame | None) -> None:
        keeps = self.price > 0 and frame is not None
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
        self, detections: Objects, motion: MotionField | None, frame_index: int, frame: Frame
    ) -> tuple[list[Labelled], Objects]:
        """Labels the waiting frames, and gives this look's detections with their tracks."""
        waiting, self.waiting = self.waiting, []
        size = frame.width, frame.height
        pictures = [self._look, *(w.frame for w in waiting), frame]
        frames = [f if f is not None and (f.width, f.height) == size else None for f in pictures]
        gap = Gap([*(w.motion for w in waiting), motion], frames, frame_index, size)
        seen, count = self._usual
        price = self.price * max(seen / count, LEAST_USUAL)
        lattice = Lattice(self._keeper, self._middle, price, self._conf)
        found, between = lattice.close(gap, self._at_look, detections)
        labelled = self._dated(waiting, between, lattice.looks)
        self.begin(frame_index, frame)
        seen += sum(int((objects.score >= self._conf).sum()) for objects in (*between, found))
        self._usual = (seen, count + len(waiting) + 1)
        return labelled, found

    def release(self, width: int, height: int) -> list[Labelled]:
        """Labels the waiting frames where no further look will come: after a look at the last of them where the policy looks
        back, else from the last look alone."""
        if self.price > 0 and len(self.waiting) > LEAST_STEPS and self.waiting[-1].frame is not None:
            return self._look_at_last()
        waiting, self.waiting = self.waiting, []
        between = lookahead.one_sided(self._at_look, [w.motion for w in waiting], width, height)
        labelled = []
        for w, objects in zip(waiting, between, strict=True):
            origin = Origin.HELD if w.record.origin == Origin.INTERPOLATED else w.record.origin
            labelled.append((replace(w.record, origin=origin), objects))
        return labelled

    def _look_at_last(self) -> list[Labelled]:
        last = self.waiting.pop()
        assert last.frame is not None
        seen = self._middle.whole(last.frame)
        labelled, found = self.close(seen, last.motion, last.record.frame_index, last.frame)
        record = replace(last.record, origin=Origin.DETECTED, key_age=0, reason="last frame")
        return [*labelled, (record, found)]

    def _dated(
        self, waiting: list[Waiting], between: list[Objects], looks: dict[int, Origin]
    ) -> list[Labelled]:
        """Records with their age since the last look at the whole. looks: by steps since the last look."""
        labelled = []
        for step, (w, objects) in enumerate(zip(waiting, between, strict=True), start=1):
            record = w.record
            if step in looks:
                record = replace(record, origin=looks[step], reason="looked back")
            if looks.get(step) == Origin.DETECTED:
                self._looked_at = record.frame_index
            labelled.append((replace(record, key_age=record.frame_index - self._looked_at), objects))
        return labelled

    def _thin_out(self, bytes_each: int) -> None:
        """Lets every other picture go when they take too much memory; the newest stays."""
        rows = [i for i, w in enumerate(self.waiting) if w.frame is not None]
        if len(rows) * bytes_each > MOST_PICTURE_BYTES:
            for i in rows[-2::-2]:
                self.waiting[i] = replace(self.waiting[i], frame=None)
