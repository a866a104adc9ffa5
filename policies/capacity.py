"""Which capacity of the detector looks: the full one, or a cheaper one that finds a little less.

A capacity is known by what a look costs and by how much of what it finds is wrong. The first is measured on the machine. The
second differs more between cameras than between models (busy motorways in haze, one person in a hall), so it is learned on each: now
and then all capacities see the same picture. What is expected before that comes with the model.

How often a stream is looked at follows from the price of error. If errors grow steadily after a look, the best interval grows
with the square root of what a look costs, and errors then cost as much as looks (the economic order quantity; Harris, 1913). So a
capacity of cost c costs 2 q sqrt(c) for each frame, where q is what looks of the full one would come to, and its own errors
besides: they are there however soon it looks again. The cheapest sum wins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from everyframe.policies.base import LOOK, Rung

FULL = Rung(LOOK, 1.0)
BELIEF = 20.0
"""Objects of both sides that weigh as much as what is known of the model beforehand."""
FADES = 0.9
"""What earlier comparisons weigh after one more: cameras change with the light."""
SELDOM = 24
"""Looks from one comparison to the next at most; until then they double."""
RECENT = 0.2
"""Weight of the newest interval in the running mean of looks for each frame."""


@dataclass(slots=True)
class _Seen:
    """right: objects of a capacity and of the full one that the other has too; shown: of both."""

    right: float = 0.0
    shown: float = 0.0


class Capacities:
    """Owns what is known of the capacities on one stream. Without any but the full one it always names that.

    current: the capacity that looks until the next choice.
    """

    def __init__(self) -> None:
        self._offered: tuple[Rung, ...] = ()
        self.reset()

    def offer(self, rungs: Sequence[Rung]) -> None:
        """Raises ValueError for a rung that is no other look at the whole picture."""
        if any(rung.kind != "whole" or rung.name == LOOK for rung in rungs):
            raise ValueError("capacities are looks at the whole picture beside detect")
        self._offered = tuple(rung for rung in rungs if rung.cost < 1)
        self.reset()

    def reset(self) -> None:
        """Forgets the stream; what is offered stays."""
        self._seen = {rung.name: _Seen() for rung in self._offered}
        self._looks = self._next = 1
        self._step = 1
        self._rate = 0.0
        self.current = FULL

    @property
    def is_alone(self) -> bool:
        """Whether there is nothing to choose."""
        return not self._offered

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

    def looked(self, frames: int, looks: int) -> None:
        """Told of a look at the end of an interval. frames: of the interval; looks: in it, those that looked back with it."""
        self._looks += 1
        # As many as the full one would have looked, by the rule of the module's docstring.
        full = looks / max(frames, 1) * math.sqrt(self.current.cost)
        self._rate = full if self._rate == 0 else (1 - RECENT) * self._rate + RECENT * full

    def due(self) -> tuple[str, ...]:
        """Capacities to compare at this look of the full one, empty where it is not time for it."""
        if self.is_alone or self._looks < self._next:
            return ()
        self._step = min(2 * self._step, SELDOM)
        self._next = self._looks + self._step
        return tuple(self._seen)

    def choose(self, price: float, look: float) -> Rung:
        """The capacity to look with from now on, which becomes `current`. price: dense frames that F1 from 0 to 1 is worth;
        look: dense frames that a look of the full one costs."""
        self.current = min((*self._offered, FULL), key=lambda rung: self._cost(rung, price, look))
        return self.current

    def _cost(self, rung: Rung, price: float, look: float) -> float:
        return 2 * look * self._rate * math.sqrt(rung.cost) + price * self.error(rung)
