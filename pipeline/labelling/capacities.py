"""Several capacities of the detector on one stream: loaded, priced, compared, and what their looks come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from everyframe.operators.base import Detector
from everyframe.operators.types import I32, Objects, Origin
from everyframe.pipeline.errors import DetectorError
from everyframe.pipeline.labelling.ladder import Ladder
from everyframe.pipeline.metrics import pairs
from everyframe.pipeline.records import Frame, FrameLabels
from everyframe.pipeline.settings import Capacity
from everyframe.policies.base import LOOK, Choosing, Decision, Policy, is_whole_look

BACK = ("looked back", "last frame")
"""Reasons of records whose frames were looked at after their turn."""


def check_alike(detector: Detector, other: Detector, name: str) -> None:
    """Raises DetectorError where a capacity knows other classes than the run's model: their tracks could not go on."""
    if tuple(other.names) != tuple(detector.names):
        raise DetectorError(
            f"The capacity {name} has other classes than the model: name models with the same classes in the same order."
        )


class CapacityLooks:
    """Looks of one stream with the capacities of its detector: counted by rung, and compared where the policy asks for it.

    policy: is offered those that are cheaper than the run's model, if it can choose. note: what the user is to know. groups: of each class id. select: of a look's objects, those to report.
    """

    def __init__(
        self, policy: Policy, capacities: Sequence[Capacity], ladder: Ladder, groups: I32,
        select: Callable[[Objects], Objects],
    ) -> None:  # fmt: skip
        self._policy = policy
        rungs = [capacity.rung for capacity in capacities if capacity.cost < 1]
        dear = [capacity.name for capacity in capacities if capacity.cost >= 1]
        self.note = f"No look here with {', '.join(dear)}: it costs no less than the model." if dear else ""
        if isinstance(policy, Choosing) and rungs:
            policy.offer(rungs)
        self._ladder = ladder
        self._costs = {LOOK: 1.0, **{rung.name: rung.cost for rung in rungs}}
        self._groups = groups
        self._select = select
        self._back = LOOK
        self._cheap: set[int] = set()
        self.count: Counter[str] = Counter()

    @property
    def cost(self) -> float:
        """Of all looks so far, in looks of the run's model."""
        return sum(self._costs[rung] * n for rung, n in self.count.items())

    def looked(self, frame: Frame, frame_index: int, decision: Decision, found: Objects) -> None:
        """A frame was looked at in its turn: has others see it too, where they are to be compared."""
        rung = decision.rung if is_whole_look(decision.rung) else LOOK
        self.count[rung] += 1
        if rung != LOOK:
            self._cheap.add(frame_index)
        for other in decision.compare:
            self._compare(other, self._ladder.detect(frame, rung=other), found)

    def look(self, frame: Frame, rung: str = LOOK) -> Objects:
        """Looks at a frame out of turn."""
        self.count[rung] += 1
        return self._ladder.detect(frame, rung=rung)

    def look_back(self, frame: Frame) -> Objects:
        """Looks at the whole of a frame that waited, with the capacity that the policy looks back with."""
        rung = self._policy.traits.look_back_rung
        self._back = rung if is_whole_look(rung) else LOOK
        return self.look(frame, self._back)

    def is_full(self, record: FrameLabels) -> bool:
        """Whether a frame's labels are what the run's model found in it. Asked once for each record, as it leaves."""
        if record.frame_index in self._cheap:
            self._cheap.discard(record.frame_index)
            return False
        return record.origin == Origin.DETECTED and (record.reason not in BACK or self._back == LOOK)

    def _compare(self, rung: str, found: Objects, full: Objects) -> None:
        self.count[rung] += 1
        mine, theirs = self._select(found), self._select(full)
        if isinstance(self._policy, Choosing):
            self._policy.compared(rung, len(pairs(mine, theirs, self._groups)[0]), len(mine) + len(theirs))
