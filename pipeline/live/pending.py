"""Looks that were asked for and have not been answered: what must be kept to take the answer in at the present frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from everyframe.operators.base import Operator
from everyframe.operators.region.planner import Proposal
from everyframe.operators.types import MotionField, Objects, View
from everyframe.pipeline.labelling.tracks import TrackState

MOST_FIELDS = 150
"""Decoded frames that an answer may be late, 6 s at 25 fps: their fields take 18 MB at 720p."""


@dataclass(slots=True)
class Asked:
    """A look at frame `number`. tracks: as they were there, before the look. shown: what was published for that frame, to be
    compared, None where it is no audit. is_look: the answer is taken into the tracks. part: a look at parts of the picture, in place
    of the whole. view: of the frame, where the rung `region` is told of looks. moves: the fields since."""

    number: int
    tracks: TrackState
    shown: Objects | None
    is_look: bool
    before: int
    part: Proposal | None = None
    view: View | None = None
    moves: list[MotionField] = field(default_factory=list)

    @property
    def is_audit(self) -> bool:
        return self.shown is not None


class Pending:
    """The looks of one camera that are under way. too_late: looks let go, as their answers were too late to be carried here."""

    def __init__(self) -> None:
        self.too_late = 0
        self._asked: dict[int, Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def __iter__(self) -> Iterator[Asked]:
        return iter(list(self._asked.values()))

    @property
    def has_look(self) -> bool:
        return any(asked.is_look for asked in self._asked.values())

    @property
    def audit(self) -> Asked | None:
        return next((asked for asked in self._asked.values() if asked.is_audit), None)

    def add(self, asked: Asked) -> None:
        self._asked[asked.number] = asked

    def pop(self, number: int) -> Asked | None:
        return self._asked.pop(number, None)

    def moved(self, motion: MotionField) -> list[Asked]:
        """One more decoded frame; returns the looks that are given up now."""
        gone = []
        for asked in list(self._asked.values()):
            asked.moves.append(motion)
            if len(asked.moves) > MOST_FIELDS:
                gone.append(self._asked.pop(asked.number))
        self.too_late += len(gone)
        return gone

    def clear(self) -> list[Asked]:
        """The picture has another size: what is under way says nothing of it."""
        gone = list(self._asked.values())
        self._asked.clear()
        return gone


def carried(found: Objects, moves: list[MotionField], propagate: Operator) -> Objects:
    """Objects of a frame moved along the fields of the frames after it, to the last of them; without identities, as found."""
    if not moves or not len(found):
        return found
    objects = found
    for motion in moves:
        objects = propagate.apply(View(motion.width, motion.height, motion), objects)
    return replace(objects, track_id=objects.track_id.copy())
