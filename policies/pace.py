"""From chances to decisions: when a stream looks, falls asleep and wakes. The same in training's judge and in a run.

The networks say how likely a look is at each frame; a stream that drew lots would look too early half of the time. It looks
where its chance of having looked reaches one half: at the median, and at once where the networks are sure.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.brain import SLEEPS
from everyframe.policies.features import HORIZON

Bool = NDArray[np.bool_]
HALF = math.log(2.0)
_FALLS = np.zeros(HORIZON + 1, np.bool_)
_FALLS[list(SLEEPS)] = True


class Pace:
    """B streams. since (B,): frames since the last look, kept by the caller."""

    def __init__(self, batch: int) -> None:
        self.asleep = np.zeros(batch, np.bool_)
        self.woken = np.zeros(batch, np.bool_)
        self._waited = np.zeros(batch)  # minus the logarithm of the chance of not having looked
        self.since = np.zeros(batch, np.int64)

    def look(self, logits: F32) -> Bool:
        """Which awake streams look at their frame, from (B,) logits. A stream that was woken does."""
        self._waited += np.where(self.asleep, 0.0, np.logaddexp(0.0, logits))
        out: Bool = ~self.asleep & ((self._waited >= HALF) | self.woken | (self.since >= HORIZON))
        return out

    def looked(self, which: Bool) -> None:
        self.since[which] = 0
        self._waited[which] = 0.0
        self.woken &= ~which

    def decodes(self, logits: F32) -> Bool:
        """Which streams decode their next frame, from (B, 2) logits; called once a frame, after `looked`."""
        falls = ~self.asleep & _FALLS[np.minimum(self.since, HORIZON)] & (logits[:, 0] > 0) & ~self.woken
        self._waited = np.where(self.asleep, self._waited + np.logaddexp(0.0, logits[:, 1]), self._waited)
        wakes = self.asleep & ((self._waited >= HALF) | (self.since + 1 >= HORIZON))
        self._waited[falls] = 0.0
        self.woken |= wakes
        self.asleep = (self.asleep | falls) & ~wakes
        out: Bool = ~self.asleep
        return out
