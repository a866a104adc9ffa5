"""Looks at parts of pictures, for one camera: the rung `region`, whose CNN is elsewhere and is not waited for.

A part is proposed for a frame, asked for, and settled when its answer comes: what was found is carried along the motion since,
and the tracks that were looked at are confirmed or missed as they were there.
"""

from __future__ import annotations

from dataclasses import replace

from everyframe.operators.base import Prices
from everyframe.operators.region.planner import Planner, Proposal
from everyframe.operators.types import MotionField, Objects, View
from everyframe.pipeline.live.follower import Follower
from everyframe.pipeline.live.pending import Asked
from everyframe.pipeline.live.value import stray_objects
from everyframe.policies.base import Decision, Observation, is_whole_look

EVERY_S = 0.1
"""So often it is weighed whether a part is worth a look. Weighing costs as much as decoding; more often is hardly more accurate."""
PART_IS_WORTH = 1.0
"""Objects that must move unexplained before a whole picture is looked at where a policy asks for parts and there are none."""


class Parts:
    """imgsz: longer side of what the net sees; 0 where a part of a picture costs as much as the whole, or where no policy asks
    for parts: then nothing is kept, and no part is proposed."""

    def __init__(self, imgsz: int, tracks: Follower) -> None:
        self._planner = Planner(imgsz, Prices()) if imgsz else None
        self._tracks = tracks
        self._weighed_at = float("-inf")

    @property
    def is_used(self) -> bool:
        return self._planner is not None

    def forget(self) -> None:
        """Frames before the next one were not decoded, or the picture changed its size."""
        if self._planner is not None:
            self._planner.forget()

    def follow(self, motion: MotionField) -> None:
        """One more decoded frame."""
        if self._planner is not None:
            self._planner.follow(View(motion.width, motion.height, motion))

    def weigh(
        self, decision: Decision, observation: Observation, view: View, at: float, may: bool
    ) -> tuple[Decision, Proposal | None]:
        """Rungs that need the CNN in this process become a look at the whole picture, at parts, or propagation. view: the
        decoded frame, which came at unix time `at`. may: whether a part may be asked for."""
        rung = decision.rung
        if rung in ("hold", "propagate", "detect"):
            return decision, None
        plain, whole = replace(decision, rung="propagate"), replace(decision, rung="detect")
        if rung == "residual" or is_whole_look(rung):
            return whole, None
        if rung != "region" or not may:
            return plain, None
        if self._planner is None:
            return (whole if stray_objects(observation) >= PART_IS_WORTH else plain), None
        if self._tracks.is_waiting or abs(at - self._weighed_at) < EVERY_S:
            return plain, None
        self._weighed_at = at
        proposal = self._planner.propose(view, self._tracks.objects)
        if proposal.is_whole:
            return whole, None
        self._tracks.rescore(proposal.tracks)
        return plain, proposal if len(proposal.crops) else None

    def take_in(self, asked: Asked, found: Objects) -> Objects | None:
        """Takes in the answer of a look at parts. All objects now; None where a newer look has been taken in."""
        assert self._planner is not None and asked.part is not None
        seen, counts = self._planner.settle(asked.part, found)
        return self._tracks.take_part(asked, asked.part.tracks.track_id[seen], counts)

    def looked(self, asked: Asked) -> None:
        """The answer of a look at a whole picture has come."""
        if self._planner is not None and asked.view is not None:
            self._planner.looked(asked.view)

