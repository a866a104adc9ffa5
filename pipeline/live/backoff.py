"""How long to wait before a camera is tried again: exponential, capped, with full jitter, so that many cameras behind one switch
do not come back in step (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. first: the longest wait before the first try. most: the longest wait at all. least: the shortest."""

    first: float
    most: float
    least: float = 0.05


USUAL = Pace(0.5, 30.0)
"""For a camera that is away, restarts or is silent."""
SLOW = Pace(30.0, 300.0, 15.0)
"""For a refused password: many cameras lock an account after some tries."""
HEALTHY_S = 10.0
"""A connection that gave packets for so long was a good one: the next wait is short again."""
_MOST_DOUBLINGS = 30


def delay_s(failures: int, draw: float, pace: Pace = USUAL) -> float:
    """Seconds to wait after a number of failures in a row (0 or more).

    draw: in [0, 1), from a generator of the caller's: the same draw gives the same wait.
    """
    ceiling = min(pace.most, pace.first * 2.0 ** min(max(failures, 0), _MOST_DOUBLINGS))
    return max(pace.least, draw * ceiling)


def failures_after(failures: int, healthy_s: float) -> int:
    """The count of failures in a row after a connection that gave packets for `healthy_s` seconds."""
    return 0 if healthy_s >= HEALTHY_S else failures + 1
