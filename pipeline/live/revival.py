"""When a process that died is started again: at once, and later and later where it keeps dying."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_S = 30.0
HEALTHY_S = 60.0
"""One that lived so long has not died of its start."""


@dataclass(frozen=True, slots=True)
class Revival:
    """One process's deaths in a row. due: when it may be started again, by the monotonic clock; None while it lives."""

    began: float
    deaths: int = 0
    due: float | None = None

    def died(self, now: float) -> Revival:
        """After the first death it is due at once, then after 1, 2, 4 ... seconds."""
        deaths = 1 if now - self.began > HEALTHY_S else self.deaths + 1
        wait = 0.0 if deaths == 1 else min(2.0 ** (deaths - 2), LONGEST_S)
        return Revival(self.began, deaths, now + wait)

    def started(self, now: float) -> Revival:
        return Revival(now, self.deaths)
