"""From doubts to decisions: when a stream looks, falls asleep and wakes. The same in training's judge and in a run.

A doubt is what a frame's errors are thought to cost beyond those of a look there, in looks. A stream looks when its doubts
since the last look add up to one look: were errors to grow steadily, that would be the best time (the rule of renting until
the rent has paid for the skis).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.brain import SLEEPS
from everyframe.policies.features import HORIZON

Bool = NDArray[np.bool_]
MOST = 5.0
_FALLS = np.zeros(HORIZON + 1, np.bool_)
_FALLS[list(SLEEPS)] = True


class Pace:
    """B streams. since (B,): frames since the last look, kept by the caller."""

    def __init__(self, batch: int) -> None:
        self.asleep = np.zeros(batch, np.bool_)
        self.woken = np.zeros(batch, np.bool_)
        self._doubt = np.zeros(batch)
        self.since = np.zeros(batch, np.int64)

    def look(self, doubts: F32) -> Bool:
        """Which awake streams look at their frame, from (B,) logarithms of doubts. A stream that was woken does."""
        self._doubt = self._doubt + np.where(self.asleep, 0.0, np.exp(np.minimum(doubts, MOST)))
        out: Bool = ~self.asleep & ((self._doubt >= 1) | self.woken | (self.since >= HORIZON))
        return out

    def looked(self, which: Bool) -> None:
        self.since[which] = 0
        self._doubt[which] = 0.0
        self.woken &= ~which

    def decodes(self, logits: F32) -> Bool:
        """Which streams decode their next frame; called once a frame, after `looked`. logits (B, 2): of falling asleep, and the
        logarithms of doubts while asleep."""
        falls = ~self.asleep & _FALLS[np.minimum(self.since, HORIZON)] & (logits[:, 0] > 0) & ~self.woken
        self._doubt = self._doubt + np.where(self.asleep, np.exp(np.minimum(logits[:, 1], MOST)), 0.0)
        wakes = self.asleep & ((self._doubt >= 1) | (self.since + 1 >= HORIZON))
        self._doubt[falls] = 0.0
        self.woken |= wakes
        self.asleep = (self.asleep | falls) & ~wakes
        out: Bool = ~self.asleep
        return out
