"""From doubts to decisions: when a stream looks, falls asleep and wakes. The same in training's judge and in a run.

A doubt is what a frame's errors are thought to cost beyond those of a look there, in looks. A stream looks when its doubts
since the last look add up to one look: were errors to grow steadily, that would be the best time (the rule of renting until
the rent has paid for the skis).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.brain import SLEEPS
from everyframe.policies.features import HORIZON

Bool = NDArray[np.bool_]
MOST = 5.0
_FALLS = np.zeros(HORIZON + 1, np.bool_)
_FALLS[list(SLEEPS)] = True


@njit(cache=True, nogil=True)
def _looks(logits, doubt, asleep, woken, since, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        if not asleep[i]:
            doubt[i] += np.exp(min(np.float64(logits[i]), MOST))
        out[i] = not asleep[i] and (doubt[i] >= 1 or woken[i] or since[i] >= HORIZON)


@njit(cache=True, nogil=True)
def _decodes(logits, doubt, asleep, woken, since, falls, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        if asleep[i]:
            doubt[i] += np.exp(min(np.float64(logits[i, 1]), MOST))
            if doubt[i] >= 1 or since[i] + 1 >= HORIZON:
                asleep[i], woken[i] = False, True
        elif falls[min(since[i], HORIZON)] and logits[i, 0] > 0 and not woken[i]:
            doubt[i] = 0.0
            asleep[i] = True
        out[i] = not asleep[i]


class Pace:
    """B streams. since (B,): frames since the last look, kept by the caller."""

    def __init__(self, batch: int) -> None:
        self.asleep = np.zeros(batch, np.bool_)
        self.woken = np.zeros(batch, np.bool_)
        self._doubt = np.zeros(batch)
        self.since = np.zeros(batch, np.int64)

    def look(self, doubts: F32) -> Bool:
        """Which awake streams look at their frame, from (B,) logarithms of doubts. A stream that was woken does."""
        out = np.empty(len(self.since), np.bool_)
        _looks(doubts, self._doubt, self.asleep, self.woken, self.since, out)
        return out

    def looked(self, which: Bool) -> None:
        self.since[which] = 0
        self._doubt[which] = 0.0
        self.woken &= ~which

    def decodes(self, logits: F32) -> Bool:
        """Which streams decode their next frame; called once a frame, after `looked`. logits (B, 2): of falling asleep, and the
        logarithms of doubts while asleep."""
        out = np.empty(len(self.since), np.bool_)
        _decodes(logits, self._doubt, self.asleep, self.woken, self.since, _FALLS, out)
        return out
