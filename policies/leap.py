"""Whether a stretch between two key frames is worth decoding, once both of them have been looked at.

What leaving one out costs is learned on each camera: stretches that were followed tell how many labels would have been
wrong, had they not been, and a new stretch is expected to be like those whose packets were about as large. So sizes count
on cameras where they announce what happens, and on others they do not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from everyframe.policies.base import PacketFacts

Ends = Literal["empty", "alike", "changed"]
"""What both ends show: nothing; the same objects at about the same places; anything else."""
PRIOR, PRIOR_WEIGHT = 0.2, 0.5
"""Wrong labels a frame that are expected of a camera's first stretch, and how much that weighs against one that was followed."""
KNOWN = 1.0
"""Stretches like a new one that must have been followed before it may be left out."""
NEAR = 0.5
"""Difference of two levels from which on stretches say nothing of each other."""
REMEMBERED = 64
CHECKED = 16
"""One in so many stretches that need not be followed is, to see what was missed."""


@runtime_checkable
class Leaping(Protocol):
    """A policy that lets stretches of a file be left out without being asked, looking ahead."""

    def left(self, packet: PacketFacts) -> None:
        """A packet that stays undecoded without `gate` being asked about it; told in its place."""
        ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """The frames between two looks. level: how large its packets are, as `level_of` says."""

    ends: Ends
    level: float


def level_of(packets: Sequence[PacketFacts], seconds: float) -> tuple[float, int]:
    """The greatest mean logarithm of the sizes of a second of packets, key packets aside, and the row of the packet in the
    middle of that second; 0 and -1 of none. seconds: that all of them take."""
    rows = [row for row, packet in enumerate(packets) if not packet.is_key]
    if not rows:
        return 0.0, -1
    sizes = np.log1p([float(packets[row].size) for row in rows])
    window = min(len(sizes), max(2, round(len(sizes) / max(seconds, 1.0))))
    sums = np.cumsum(np.concatenate([[0.0], sizes]))
    means = (sums[window:] - sums[:-window]) / window
    first = int(means.argmax())
    return float(means[first]), rows[first + window // 2]


class LeapRule:
    """What one stream's stretches have taught."""

    def __init__(self) -> None:
        self._known: dict[Ends, deque[tuple[float, float]]] = {
            "empty": deque(maxlen=REMEMBERED),
            "alike": deque(maxlen=REMEMBERED),
        }
        self._left = 0

    def expect(self, stretch: Stretch) -> tuple[float, float]:
        """Wrong labels a frame, were it left out, infinite where its ends differ; and how many stretches like it are known."""
        if stretch.ends == "changed":
            return math.inf, 0.0
        known, wrong = 0.0, PRIOR_WEIGHT * PRIOR
        for level, error in self._known[stretch.ends]:
            near = max(0.0, 1 - abs(stretch.level - level) / NEAR)
            known += near
            wrong += near * error
        return wrong / (PRIOR_WEIGHT + known), known

    def leaves(self, stretch: Stretch, tolerance: float) -> bool:
        """Whether to leave it out. tolerance: wrong labels a frame that decoding it would cost as much as."""
        wrong, known = self.expect(stretch)
        if wrong >= tolerance or known < KNOWN:
            return False
        self._left += 1
        return self._left % CHECKED != 0

    def learn(self, stretch: Stretch, wrong: float) -> None:
        """A stretch was followed. wrong: labels a frame that would have been, had it been left out."""
        if stretch.ends != "changed":
            self._known[stretch.ends].append((stretch.level, wrong))
