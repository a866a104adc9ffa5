"""Overload of a camera: it gets cheaper before anything is dropped, at once when it must, and comes back slowly.

Pure. A level is taken at once when a load asks for it, and left a level at a time after a calm that is longer each time
the level had to be taken again soon: multiplicative patience, as in the back-off of networks (Jacobson, 1988). So a constant
load that level k bears and k - 1 does not makes fewer and fewer changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

NAMES = (
    "normal", "longer gaps between looks", "no audits, whole looks only", "key frames only", "groups of pictures dropped",
)  # fmt: skip
LAG_S = (0.4, 0.8, 1.5, 3.0)
"""Age of the newest packet taken, from which on at least level 1, 2, 3, 4."""
FILL = (0.3, 0.5, 0.7, 0.9)
"""Share of the inbox in use, likewise."""
OVER = (1.02, 1.1, 1.5)
"""CPU of all in budgets, likewise; a budget overspent drops nothing."""
OVER_EVERY_S = 3.0
"""By CPU it rises a level in so long: what a level saves shows late in means."""
EASE = 0.5
"""Of the limits: below this share of them it is calm."""
EASE_OVER = 0.95
CALM_S, MOST_CALM_S = 2.0, 60.0
SOON_S = 60.0
"""A level taken again within so long, and as long as the calm was, was left too early."""
GAPS_S = (0.0, 0.5, 1.0, 2.0, 2.0)
"""Least time between two looks at each level."""

assert all(a < b for limits in (LAG_S, FILL, OVER) for a, b in pairwise(limits))


@dataclass(frozen=True, slots=True)
class Pressure:
    """What is measured now. lag_s: age of the newest packet that was taken. fill: share of the inbox in use, 0..1. over: CPU of
    all cameras in what they may use."""

    lag_s: float = 0.0
    fill: float = 0.0
    over: float = 0.0


@dataclass(frozen=True, slots=True)
class Overload:
    """level: 0 to 4, as `NAMES`. calm_since: since when there has been no pressure, None under pressure. patience_s: the calm
    that is needed to go down. rose, fell: when the level last did."""

    level: int = 0
    calm_since: float | None = None
    patience_s: float = CALM_S
    rose: float = float("-inf")
    fell: float = float("-inf")

    def step(self, now: float, pressure: Pressure) -> Overload:
        """The state after a measurement at `now`, seconds of a monotonic clock."""
        wanted = max(_reached(pressure.lag_s, LAG_S), _reached(pressure.fill, FILL))
        by_cpu = _reached(pressure.over, OVER)
        if by_cpu > self.level and now - self.rose >= OVER_EVERY_S:
            wanted = max(wanted, self.level + 1)
        if wanted > self.level:
            return self._risen(now, wanted)
        if not self._is_calm(pressure):
            return replace(self, calm_since=None)
        if self.calm_since is None:
            return replace(self, calm_since=now)
        if self.level == 0:
            keeps = now - max(self.calm_since, self.fell) < self.patience_s + SOON_S
            return self if keeps else replace(self, patience_s=CALM_S)
        if now - self.calm_since >= self.patience_s:
            return replace(self, level=self.level - 1, calm_since=now, fell=now)
        return self

    def _risen(self, now: float, level: int) -> Overload:
        was_left_early = now - self.fell < self.patience_s + SOON_S
        patience = min(2 * self.patience_s, MOST_CALM_S) if was_left_early else self.patience_s
        return Overload(level, None, patience, now, self.fell)

    def _is_calm(self, pressure: Pressure) -> bool:
        """Whether a level less might do."""
        return pressure.lag_s < EASE * LAG_S[0] and pressure.fill < EASE * FILL[0] and pressure.over < EASE_OVER

    @property
    def name(self) -> str:
        return NAMES[self.level]

    @property
    def gap_s(self) -> float:
        """Least time between two looks."""
        return GAPS_S[self.level]

    @property
    def audits(self) -> bool:
        """Whether frames are looked at only to be compared, and parts of pictures are reasons for a look."""
        return self.level < 2

    @property
    def keys_only(self) -> bool:
        return self.level >= 3

    @property
    def drops_groups(self) -> bool:
        return self.level >= 4


def _reached(value: float, limits: tuple[float, ...]) -> int:
    """How many of the limits, rising, a value has reached."""
    return sum(value >= limit for limit in limits)
