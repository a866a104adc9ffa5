"""Which capacity of the detector looks: the full one, or a cheaper one that finds a little less.

A capacity is known by what a look costs and by how much of what it finds is wrong. The first is measured on the machine. The
second differs more between cameras than between models (busy motorways in haze, one person in a hall), so it is learned on each: now
and then all capacities see the same picture. What is expected before that comes with the model.

Errors grow after a look, and come to the price of one by the time of the next. Let E be the mean error of labels between looks of
the full capacity, and e what a cheaper one adds to that however soon it looks again. To have no more errors in all it must look
E / (E - e) times as often. At cost c of a look the same accuracy is then to be had for c / (1 - e / E) of the cost: the least of
these wins, and where e reaches E there is no such interval. E shows in how far each look agrees with the tracks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everyframe.policies.base import LOOK, Decision, Mode, Rung

FULL = Rung(LOOK, 1.0)
BELIEF = 20.0
"""Objects of both sides that weigh as much as what is known of the model beforehand."""
FADES = 0.9
"""What earlier comparisons weigh after one more: cameras change with the light."""
ADDS = 0.65
"""Share of a capacity's own errors that add to those between looks, as on cameras of training; the others are on objects that flicker
with the full one too."""
SELDOM = 40
"""Looks from one comparison to the next at most; until then three times as many each time."""
RECENT = 0.1
"""Least weight of the newest look in the running mean of errors."""
TRUST = 5
"""Looks that weigh as much as the error that is expected beforehand."""
EXPECTED = 0.1
"""That error, where a policy knows none."""
OF_INTERVAL: Mapping[Mode, float] = {"causal": 0.55, "lookahead": 0.35}
"""Mean error of labels between two looks, as a share of the disagreement that the second look finds: medians over cameras of
training, at prices from 0.1 to 40."""


def look_of(rung: Rung, reason: str, compare: tuple[str, ...] = ()) -> Decision:
    """A look with a capacity; the reason names one that is not the full one, so that records tell."""
    capacity = rung.name.partition("@")[2]
    return Decision(rung.name, f"{reason}, by {capacity}" if capacity else reason, compare)


@dataclass(slots=True)
class _Seen:
    """right: objects of a capacity and of the full one that the other has too; shown: of both."""

    right: float = 0.0
    shown: float = 0.0


class Capacities:
    """Owns what is known of the capacities on one stream. Without any but the full one it always names that.

    offered: those beside the full one. current: the capacity that looks until the next choice. expected: mean error of labels
    between looks of the full one that is to be expected, 1 - F1; may be set at any time.
    """

    def __init__(self, mode: Mode) -> None:
        self._share = OF_INTERVAL[mode]
        self.expected = EXPECTED
        self.offered: tuple[Rung, ...] = ()
        self.reset()

    def offer(self, rungs: Sequence[Rung]) -> None:
        """Raises ValueError for a rung that is no other look at the whole picture."""
        if any(rung.kind != "whole" or rung.name == LOOK for rung in rungs):
            raise ValueError("capacities are looks at the whole picture beside detect")
        self.offered = tuple(rung for rung in rungs if rung.cost < 1)
        self.reset()

    def reset(self) -> None:
        """Forgets the stream; what is offered stays."""
        self._seen = {rung.name: _Seen() for rung in self.offered}
        self._looks = self._next = 1
        self._step = 1
        self._found, self._count, self._frames = 0.0, 0, 1
        self.current = FULL

    @property
    def is_alone(self) -> bool:
        """Whether there is nothing to choose."""
        return not self.offered

    def compared(self, rung: str, right: int, shown: int) -> None:
        """Takes a comparison of a capacity with the full one, as `policies.base.Choosing` says."""
        seen = self._seen[rung]
        seen.right = FADES * seen.right + 2.0 * right
        seen.shown = FADES * seen.shown + shown

    def error(self, rung: Rung) -> float:
        """Share of a capacity's labels that are wrong here, 0 to 1."""
        seen = self._seen.get(rung.name)
        if seen is None:
            return rung.error
        return (BELIEF * rung.error + seen.shown - seen.right) / (BELIEF + seen.shown)

    def looked(self, agreement: float, frames: int) -> None:
        """Told at each look how the one before it agreed with the tracks, 0 to 1, NaN where there was none; frames: since it."""
        self._looks += 1
        frames, self._frames = self._frames, frames
        if math.isnan(agreement):
            return
        # A cheaper capacity looks sooner, by the square root of its cost if errors grow steadily. Frames that see the full one
        # have no error.
        sooner = math.sqrt(self.current.cost)
        full = self._share * (1 - agreement) / sooner * max(1 - sooner / max(frames, 1), 0.0)
        self._count += 1
        self._found += max(1 / self._count, RECENT) * (full - self._found)

    def due(self) -> tuple[str, ...]:
        """Capacities to compare at this look of the full one, empty where it is not time for it."""
        if self.is_alone or self._looks < self._next:
            return ()
        self._step = min(3 * self._step, SELDOM)
        self._next = self._looks + self._step
        return tuple(self._seen)

    def choose(self) -> Rung:
        """The capacity to look with from now on, which becomes `current`."""
        self.current = min((FULL, *self.offered), key=self._cost)
        return self.current

    def _cost(self, rung: Rung) -> float:
        """Of equal accuracy, in what the full capacity takes for it."""
        if rung is FULL:
            return 1.0
        between = (TRUST * self.expected + self._count * self._found) / (TRUST + self._count)
        left = 1 - ADDS * self.error(rung) / max(between, 1e-9)
        return rung.cost / left if left > 0 else math.inf
