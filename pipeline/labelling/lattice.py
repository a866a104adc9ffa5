"""The scale-time lattice: the frames between two looks, refined where the two sides disagree.

After Chen et al., Optimizing Video Object Detection via a Scale-Time Lattice (CVPR 2018): sparse key frames, then looks
between, then looks between those. Deviations: boxes are carried by motion vectors, not by a network; how hard an interval is
is told by `turning`; a look need not be half way; and an interval is split for those objects alone that the look shows, the
others keep their way through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from everyframe.operators.boxes import Rows, match, share_inside
from everyframe.operators.types import F32, I32, U8, Bool, MotionField, Objects, Origin
from everyframe.pipeline.labelling.lookahead import Paths, Strands, blend, both_ways, close, labels_of
from everyframe.pipeline.labelling.middle import Middle, hull, is_whole
from everyframe.pipeline.labelling.tracks import TrackKeeper, TrackState, join
from everyframe.pipeline.labelling.turning import Beliefs, believe
from everyframe.pipeline.records import Frame

LEAST_STEPS = 3  # frame steps; a shorter interval is not looked into again
LEAST_SAVED = 0.1  # wrong labels; an object that a look would help less is no reason for one
SAME = 0.3  # overlap of what a look shows with an object on its way
SURE_OF = 0.5  # the same, for one that the look shows without all its context


@dataclass(frozen=True, slots=True)
class Gap:
    """n frame steps from one look to the next. fields: of the n frames after the first look. frames: n + 1, both looks
    included, None where the picture is not in memory. end: frame index of the second look. size: width, height."""

    fields: Sequence[MotionField | None]
    frames: Sequence[Frame | None]
    end: int
    size: tuple[int, int]

    @property
    def steps(self) -> int:
        return len(self.fields)


@dataclass(frozen=True, slots=True)
class Part:
    """The objects that are followed together from step `low` to step `high` of a gap.

    before: tracks at low (a). last: detections at high (b). ahead (high - low + 1, a, 4), back (high - low + 1, b, 4): their
    boxes carried on and back, where known already.
    """

    low: int
    high: int
    before: TrackState
    last: Objects
    ahead: F32 | None = None
    back: F32 | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """found: the part's detections at its end with their tracks. between: labels of the steps between low and high.
    after: the tracks at its end."""

    found: Objects
    between: list[Objects]
    after: TrackState


@dataclass(frozen=True, slots=True)
class Sight:
    """A look at crops (k, 4) of the picture of one step, and what it found there."""

    step: int
    crops: I32
    seen: Objects


Others = tuple[tuple[int, list[Objects]], ...]
"""Labels of objects that are followed apart, from the step on that stands before them."""


class Lattice:
    """Labels one gap. looks: how each step's picture was looked at, by its index in `Gap.frames`.

    price: wrong labels that a look at a whole picture must be expected to put right.
    """

    def __init__(self, keeper: TrackKeeper, middle: Middle, price: float, conf: float) -> None:
        self._keeper = keeper
        self._middle = middle
        self._price = price
        self._conf = conf
        self.looks: dict[int, Origin] = {}
        self._lumas: dict[int, U8] = {}

    def close(self, gap: Gap, before: TrackState, detections: Objects) -> tuple[Objects, list[Objects]]:
        """The second look's detections with their tracks, and the labels of the frames between. The keeper's tracks are
        then those after the second look."""
        closed = self._resolve(gap, Part(0, gap.steps, before, detections), ())
        self._keeper.state = closed.after
        return closed.found, closed.between

    def _resolve(self, gap: Gap, part: Part, others: Others) -> Closed:
        """others: labels of the objects that don't belong to the part."""
        if not len(part.before.objects) + len(part.last):
            return Closed(part.last, [part.last] * (part.high - part.low - 1), part.before)
        fields = gap.fields[part.low : part.high]
        paths = both_ways(self._keeper, part.before, fields, part.last, part.ahead, part.back)
        strands = Strands.of(paths, part.last, self._conf)
        beliefs = self._believe(gap, part, strands)
        sight = self._look(gap, part, strands, beliefs)
        if sight is not None:
            return self._split(gap, part, paths, strands, sight, others)
        found = close(self._keeper, paths, part.last, gap.end - gap.steps + part.high)
        turns = None if beliefs is None else beliefs.turns()
        labels = labels_of(blend(paths, found, *gap.size, strands, turns), fields)
        return Closed(found, labels, self._keeper.state)

    def _believe(self, gap: Gap, part: Part, strands: Strands) -> Beliefs | None:
        if self._price <= 0:
            return None
        lumas = [self._luma(gap, step) for step in range(part.low, part.high + 1)]
        return believe(strands, lumas, self._conf, gap.size)

    def _luma(self, gap: Gap, step: int) -> U8 | None:
        frame = gap.frames[step]
        if frame is not None and step not in self._lumas:
            self._lumas[step] = frame.luma()
        return self._lumas.get(step)

    def _look(self, gap: Gap, part: Part, strands: Strands, beliefs: Beliefs | None) -> Sight | None:
        """A look between, where one is worth it."""
        if beliefs is None or strands.steps <= LEAST_STEPS:
            return None
        between = range(part.low + 1, part.high)
        known = [step for step in between if gap.frames[step] is not None and step not in self.looks]
        if not known or beliefs.errors() <= self._price * self._middle.least(gap.size):
            return None
        saved = beliefs.saved()
        step = max(known, key=lambda step: float(saved[step - part.low - 1].sum()))
        frame, worth = gap.frames[step], saved[step - part.low - 1]
        assert frame is not None
        boxes = hull(strands.on[step - part.low], strands.back[step - part.low])
        doubtful = (worth >= LEAST_SAVED) & (share_inside(boxes, *gap.size) > 0)
        crops = self._middle.plan(boxes[doubtful], worth[doubtful] / np.float32(self._price), gap.size)
        if not len(crops):
            return None
        self.looks[step] = Origin.DETECTED if is_whole(crops, gap.size) else Origin.REGION
        return Sight(step, crops, self._middle.look(frame, crops))

    def _split(
        self, gap: Gap, part: Part, paths: Paths, strands: Strands, sight: Sight, others: Others
    ) -> Closed:
        """Goes on in both halves with the objects that the look shows; the others keep their way across it."""
        middle = sight.step - part.low
        expected = _expected(strands, part, middle)
        looked = self._looked(gap, strands, sight, expected, middle)
        aside = None
        if not looked.all():
            aside = self._resolve(gap, _kept(part, paths, *strands.rows(~looked)), others)
            others = (*others, (part.low + 1, aside.between))
        mine = _kept(part, paths, *strands.rows(looked))
        assert mine.ahead is not None and mine.back is not None
        seen = self._own(gap, sight, expected[looked], _at(others, sight.step))
        half = replace(mine, high=sight.step, last=seen, ahead=mine.ahead[: middle + 1], back=None)
        first = self._resolve(gap, half, others)
        half = replace(mine, low=sight.step, before=first.after, ahead=None, back=mine.back[middle:])
        second = self._resolve(gap, half, others)
        labels = [*first.between, first.found, *second.between]
        if aside is None:
            return Closed(second.found, labels, second.after)
        order = np.argsort(np.concatenate([strands.rows(~looked)[1], strands.rows(looked)[1]]))
        return Closed(
            Objects.concat([aside.found, second.found])[order],
            [Objects.concat([a, b]) for a, b in zip(aside.between, labels, strict=True)],
            join(aside.after, second.after),
        )

    def _looked(self, gap: Gap, strands: Strands, sight: Sight, expected: Objects, middle: int) -> Bool:
        """(k,) which strands the look shows: those with all their context in it, and those that it found without."""
        boxes = hull(strands.on[middle], strands.back[middle])
        inside, rim = self._middle.shown(boxes, sight.crops, gap.size)
        sure = sight.seen[sight.seen.score >= self._conf]
        rows, _ = match(self._keeper.affinity(expected, sure), SURE_OF)
        found = np.zeros(len(strands), np.bool_)
        found[rows] = True
        out: Bool = inside | (rim & found)
        return out

    def _own(self, gap: Gap, sight: Sight, expected: Objects, others: Objects) -> Objects:
        """What a look shows of a part's objects, and what is new; not what shows others again or has no context."""
        candidates = Objects.concat([expected, others])
        rows, columns = match(self._keeper.affinity(candidates, sight.seen), SAME)
        kept, _ = self._middle.shown(sight.seen.xyxy, sight.crops, gap.size)
        kept[columns] = rows < len(expected)
        return sight.seen[kept]


def _kept(part: Part, paths: Paths, first: Rows, last: Rows) -> Part:
    """The part with these rows of its tracks and detections alone."""
    ways = paths.ahead[:, first], paths.back[:, last]
    return Part(part.low, part.high, part.before.keep(first), part.last[last], *ways)


def _expected(strands: Strands, part: Part, step: int) -> Objects:
    """The strands where they are expected after `step` steps, (k,)."""
    classes = np.zeros(len(strands), np.int32)
    has_first = strands.first >= 0
    classes[has_first] = part.before.objects.class_id[strands.first[has_first]]
    classes[~has_first] = part.last.class_id[strands.last[~has_first]]
    return Objects.of((strands.on[step] + strands.back[step]) / 2, np.ones(len(strands)), classes)


def _at(others: Others, step: int) -> Objects:
    return Objects.concat([labels[step - first] for first, labels in others])
