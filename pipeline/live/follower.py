"""The tracks of a live camera: moved along each frame, and set right by looks that come late."""

from __future__ import annotations

import math

import numpy as np

from everyframe.operators.hold import Hold
from everyframe.operators.propagate import Propagate
from everyframe.operators.types import I32, MotionField, Objects, View
from everyframe.pipeline.frames.fields import FieldSlot
from everyframe.pipeline.labelling.report import Reporter
from everyframe.pipeline.labelling.tracks import Classes, TrackKeeper, TrackState, class_tables
from everyframe.pipeline.live.pending import Asked, Pending, carried
from everyframe.pipeline.settings import LabelSettings
from everyframe.policies.base import Observation

NEVER = 1 << 30
TIDY_FRAMES = 1000
"""So often what is remembered of tracks that have ended is let go: a camera runs for months."""


class Follower:
    """pending: looks under way, which are told of every move. index: of the frame that is next, or is being labelled. seen_at: the
    frame that the newest look taken in was of, -1 for none. report: to what users see. groups: of class ids."""

    def __init__(self, settings: LabelSettings, facts: Classes, pending: Pending) -> None:
        self.index = 0
        self.seen_at = -1
        self.groups, wanted = class_tables(facts, settings.classes)
        self.report = Reporter(settings.conf, wanted)
        self._conf = settings.conf
        self._pending = pending
        self._keeper = TrackKeeper(self.groups, settings.conf)
        self._propagate, self._hold = Propagate(), Hold()
        self._agreement = math.nan
        self._is_news = False
        self._size = (0, 0)

    @property
    def state(self) -> TrackState:
        return self._keeper.state

    @property
    def is_waiting(self) -> bool:
        """Whether a look, an audit or a part is under way."""
        return len(self._pending) > 0

    @property
    def objects(self) -> Objects:
        """All tracks now, those too weak to report among them."""
        return self._keeper.state.objects

    def held(self, objects: Objects) -> Objects:
        return self._hold.apply(View(0, 0), objects)

    def next(self) -> None:
        """The frame has been labelled."""
        self.index += 1
        if self.index % TIDY_FRAMES == 0:
            self.report.keep(self.objects.track_id)

    def is_new_size(self, motion: MotionField) -> bool:
        """Whether the picture has another size than the frames before."""
        return self._size not in ((0, 0), (motion.width, motion.height))

    def begin(self) -> None:
        """What is known says nothing of the next frame; identities are not used again."""
        self._keeper.state = TrackState.empty()
        self.seen_at, self._agreement = -1, math.nan

    def move(self, motion: MotionField) -> list[Asked]:
        """Moves the tracks on by one decoded frame; returns the looks that are given up as too late."""
        self._size = (motion.width, motion.height)
        view = View(motion.width, motion.height, motion)
        self._keeper.state = self.state.moved(self._propagate.apply(view, self.objects))
        return self._pending.moved(motion)

    def take_in(self, asked: Asked, objects: Objects, is_late: bool) -> Objects | None:
        """Takes a look's answer into the tracks as they are now; what it found, with identities. None where a newer one has
        been taken in. is_late: frames since the one asked for have been published."""
        if not asked.is_look or asked.number < self.seen_at:
            return None
        if self.seen_at >= 0:  # with the tracks as they were there
            self._agreement = TrackKeeper(self.groups, self._conf, asked.tracks).agreement(objects)
        found = self._keeper.take(carried(objects, asked.moves, self._propagate), asked.number)
        self.seen_at = asked.number
        self._is_news = is_late
        return found

    def rescore(self, objects: Objects) -> None:
        """The same tracks with other scores: some no longer look like what was found there."""
        self._keeper.take(objects, self.index)

    def take_part(self, asked: Asked, seen: I32, counts: Objects) -> Objects | None:
        """Takes in a look at parts of a picture: tracks that were looked at, by identity, and what was found, in the frame asked for.
        The rest goes on. All objects now; None where a newer look has been taken in."""
        if asked.number < self.seen_at:
            return None
        rest = self.objects[~np.isin(self.objects.track_id, seen)]
        found = carried(counts, asked.moves, self._propagate)
        return self._keeper.take(Objects.concat([rest, found]), asked.number)

    def observe(self, item: FieldSlot, motion: MotionField, asked_at: int) -> Observation:
        """What the policy sees. A look counts from the frame that was looked at. Where its answer came late, the first frame
        after that is told as the first since a look, for that is when policies ask what it gave.

        asked_at: the frame that was asked for last, -1 for none.
        """
        is_news, self._is_news = self._is_news, False
        since = NEVER if asked_at < 0 else self.index - asked_at
        return Observation(
            packet=item.slot.facts,
            frame_index=self.index,
            frames_since_detect=1 if is_news else since,
            motion=motion.motion,
            known=motion.known,
            cell=motion.cell,
            boxes=self.objects.xyxy,
            scores=self.objects.score,
            ages=self.index - self.state.detected_at,
            classes=self.objects.class_id,
            agreement=math.nan if self._pending.has_look else self._agreement,
        )
