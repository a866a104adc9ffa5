"""Tracks in doubt: how likely each is wrong by now, and what a look at it is worth.

The worth is the index of a restless bandit (Whittle, 1988): of a thing whose chance of being wrong grows with the time
since it was looked at, a look now is worth age times that chance less what was lost on the way. A chance that is there
right after a look, and stays, is the detector's own flicker: no look mends it, and its worth is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.boxes import centre_size
from everyframe.operators.region.likeness import BINS, likeness, signatures
from everyframe.operators.types import F32, U8, Bool, Objects

EDGE_PX = 2.0  # source pixels: a box that ends nearer to the picture's border is leaving or entering
OLDEST = 60.0  # frames; older looks count as this old
REPORTED = 0.42  # a track that is right with less chance is not reported: it would cost more than it brings
ALIKE, BACK, GONE, BACK_AFTER = 0.7, 0.5, 0.1, 8.0  # of `_back`: likeness, two chances, frames
EXPLAINS = 0.4
FLOOR = 0.45  # scores near the usual threshold flicker
WEIGHTS = np.array([-2.172, 0.68, -0.486, 0.537, 4.038, 1.278, 0.18], np.float32)
"""Logistic regression of "no longer what the detector would find", by benchmarks/region_fit.py: constant, ln age, ln of the
path (in sizes of the box), ln of unlikeness, nearness of the score to the threshold, at the border, ln age x ln path."""


@dataclass(slots=True)
class Memory:
    """Of each track, rows in the order of the tracks of the last frame.

    ids; signature (n, 48) when it was last found; score at the last look, 0 if missed; age in frames since; path moved
    since, in sizes of the box; centre where it was last; lost: its chances of being wrong so far, added up; due: looked
    at, with the answer in the next frame's tracks.
    """

    ids: NDArray[np.int32]
    signature: F32
    score: F32
    age: F32
    path: F32
    centre: F32
    lost: F32
    due: Bool

    @classmethod
    def blank(cls, n: int) -> Memory:
        """Of n tracks of which nothing is known; the first look at each is due."""
        score, age, path, lost = np.zeros((4, n), np.float32)
        signature, centre = np.zeros((n, BINS), np.float32), np.zeros((n, 2), np.float32)
        return cls(np.zeros(n, np.int32), signature, score, age, path, centre, lost, np.ones(n, np.bool_))

    def take(self, rows: NDArray[np.intp]) -> Memory:
        """Rows in a new order; -1 for a track that was not known."""
        if not len(self.ids):
            return Memory.blank(len(rows))
        return Memory(
            self.ids[rows], self.signature[rows], self.score[rows], self.age[rows], self.path[rows],
            self.centre[rows], self.lost[rows], self.due[rows] | (rows < 0),
        )  # fmt: skip


class Doubt:
    """Owner of what is known of each track since its last look. Bounded by the number of tracks."""

    def __init__(self) -> None:
        self._memory = Memory.blank(0)
        self._all_due = False
        self.signs = np.zeros((0, len(WEIGHTS)), np.float32)
        self.wrong = np.zeros(0, np.float32)
        self.worth = np.zeros(0, np.float32)
        self.fresh = np.zeros(0, np.bool_)

    def follow(self, luma: U8, tracks: Objects, width: int, height: int, steps: int) -> None:
        """Brings `wrong` and `worth` (n,) float32 up to date for the tracks of this frame, `steps` after the last."""
        at = {track: row for row, track in enumerate(self._memory.ids.tolist())}
        rows = np.array([at.get(track, -1) for track in tracks.track_id.tolist()], np.intp)
        self.fresh = rows < 0
        m = self._memory = self._memory.take(rows)
        m.ids = tracks.track_id
        scale = np.float32(luma.shape[1] / width)
        now = signatures(luma, tracks.xyxy * scale)
        self._settle(m, tracks, now)
        centre, size = centre_size(tracks.xyxy)
        fresh = m.age == 0
        step = np.hypot(*(centre - m.centre).T) / np.sqrt(np.maximum((size).prod(1), 1))
        m.path = np.where(fresh, 0, m.path + step).astype(np.float32)
        m.centre = centre
        m.age = np.minimum(m.age + steps, OLDEST).astype(np.float32)
        edge = np.minimum(tracks.xyxy[:, :2].min(1), (np.array([width, height]) - tracks.xyxy[:, 2:]).min(1)) <= EDGE_PX
        alike = likeness(m.signature, now)
        self.signs = _signs(m, alike, edge)
        wrong = 1 / (1 + np.exp(-(self.signs @ WEIGHTS)))
        self.wrong = np.where(m.score > 0, wrong, _back(m, alike)).astype(np.float32)
        m.lost = (m.lost + self.wrong * steps).astype(np.float32)
        counts = (m.score >= FLOOR) | (m.score == 0)
        self.worth = np.where(counts, np.maximum(m.age * self.wrong - m.lost, 0), 0).astype(np.float32)

    def _settle(self, m: Memory, tracks: Objects, now: F32) -> None:
        """Takes what the last look said of the tracks that it saw."""
        due = m.due | self._all_due
        self._all_due = False
        found = due & (tracks.score > 0)
        m.signature[found] = now[found]
        m.score = np.where(due, tracks.score, m.score).astype(np.float32)
        m.age = np.where(due, 0, m.age).astype(np.float32)
        m.lost = np.where(due, 0, m.lost).astype(np.float32)
        m.due = np.zeros(len(due), np.bool_)

    def scores(self) -> F32:
        """(n,) float32: the scores of the last look, 0 for tracks that are more likely wrong."""
        return np.where((1 - self.wrong < REPORTED) | (self._memory.score == 0), 0, self._memory.score).astype(np.float32)

    def explains(self) -> Bool:
        """(n,) bool: tracks that account for what changes under them: found by their last look, and likely right."""
        out: Bool = self.scores() >= EXPLAINS
        return out

    def looked_at(self, ids: NDArray[np.int32]) -> None:
        """Tracks with these identities were looked at; what was found is seen in the next frame's tracks."""
        self._memory.due = self._memory.due | np.isin(self._memory.ids, ids)

    def looked_at_all(self) -> None:
        self._all_due = True


def _back(m: Memory, alike: F32) -> F32:
    """How likely a track that the last look missed would be found by now: where its place still shows the same, the
    detector lost it for a moment."""
    out: F32 = np.where(alike >= ALIKE, BACK, GONE) * (1 - np.exp(-m.age / BACK_AFTER))
    return out.astype(np.float32)


def _signs(m: Memory, alike: F32, edge: Bool) -> F32:
    """(n, 7): what the regression weighs."""
    age, path = np.log(np.maximum(m.age, 1)), np.log(m.path + 0.02)
    return np.stack((
        np.ones(len(age)), age, path, np.log(1 - np.minimum(alike, 0.995)), np.exp((FLOOR - m.score) / 0.05),
        edge, age * path,
    ), 1).astype(np.float32)  # fmt: skip


