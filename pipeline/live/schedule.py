"""Whose picture the CNN looks at next: most wrong labels put right for the CPU it costs, and nobody waits too long.

Pure: time comes in as a number. Greedy choice by value per cost is what is best for a divisible budget (Dantzig, 1957); by
itself it would starve a calm camera for ever beside a busy one, hence the floor: who has waited for longer than it goes
first, the longest wait before the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

FLOOR_S = 4.0
MOST_AGE_S = 3.0
"""The frame of a request is older: what it would show is no longer so, and the camera is asked for a newer one."""
LEAST_COST_MS = 0.1


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits. since: when its frame arrived, seconds of one monotonic clock. value: wrong labels it puts right.
    cost: CPU ms."""

    camera: str
    since: float
    value: float
    cost: float

    @property
    def worth(self) -> float:
        return max(self.value, 0.0) / max(self.cost, LEAST_COST_MS)


@dataclass(frozen=True, slots=True)
class Turns:
    """hungry: when each camera that waits began to, whatever became of its requests since; one that is served is not in it."""

    hungry: Mapping[str, float] = field(default_factory=dict)

    def asked(self, camera: str, now: float) -> Turns:
        """A camera has asked."""
        return self if camera in self.hungry else Turns({**self.hungry, camera: now})

    def served(self, camera: str) -> Turns:
        """A camera has had its look, or is gone."""
        return Turns({name: since for name, since in self.hungry.items() if name != camera})


def too_old(waiting: Iterable[Waiting], now: float, most_age_s: float = MOST_AGE_S) -> list[Waiting]:
    """Requests that no longer matter."""
    return [one for one in waiting if now - one.since > most_age_s]


def pick(waiting: Iterable[Waiting], turns: Turns, now: float, floor_s: float = FLOOR_S) -> Waiting | None:
    """The request to serve now, None where none waits. The same for any order of the same requests."""
    ordered = sorted(waiting, key=lambda one: (turns.hungry.get(one.camera, now), one.camera))
    if not ordered:
        return None
    longest = ordered[0]
    if now - turns.hungry.get(longest.camera, now) > floor_s:
        return longest
    return max(ordered, key=lambda one: one.worth)
