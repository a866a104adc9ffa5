"""When an object came, went, or lost its way between two looks: beliefs, told by what its box shows.

Between two looks that say different things of an object the labels turn once from the word of the first to that of the
second. How likely each box still shows what the look there found (block means of its luma, by correlation) gives a chance to
every step at which that may be; the labels turn at the median, and the wrong labels to be expected are what a further look
can save. After the scale-time lattice (Chen et al., CVPR 2018), where a trained network tells how hard an interval is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.boxes import LEAST_INSIDE, Rows, share_inside
from everyframe.operators.region.likeness import likeness, signatures
from everyframe.operators.types import F32, U8, Bool
from everyframe.pipeline.labelling.lookahead import Strands, Turns

APART = 0.5
"""Overlap below which the two ways of an object don't meet: a box half way between them would fit neither."""
SURE = 0.15
"""How far the chances of neighbouring steps count as independent, 0 to 1."""
WEIGHTS = np.array([-0.122, 2.142, -1.976, -2.462, 1.271], np.float32)
"""Logistic regression of "the detector would still find it", on the training clips: constant, likeness, nearness of the score to
the lowest reported, share of the way, score at the other look. Fitted by `benchmarks/turning.py`."""
MOST_SHOWN = 16  # pictures that are compared; of longer gaps every other one, and so on
UNSEEN = 0.7  # likeness where no picture is in memory

Luma = U8 | None
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Of each of k strands between looks n steps apart. chance (n, k): that the first word holds for just so many steps.
    wrong (n, k): wrong labels up to there if the labels turn at the start; it grows where the two words differ. sharp, apart:
    as in `Turns`."""

    chance: F32
    wrong: F32
    sharp: Bool
    apart: Bool

    def turns(self) -> Turns:
        """At the median: the least wrong labels to be expected."""
        until = np.full(len(self.sharp), len(self.chance) / 2, np.float32)
        for i in self._open():
            until[i] = _median(self._sums(i)[0], np.array([0]), np.array([len(self.chance)]))[0]
        return Turns(until, self.sharp, self.apart)

    def errors(self) -> float:
        """Wrong labels to be expected: the most that looks can put right."""
        n = len(self.chance)
        return sum(float(_spread(*self._sums(i), np.array([0]), np.array([n]))[0]) for i in self._open())

    def saved(self) -> F32:
        """(n - 1, k) wrong labels that a look at each step between is expected to put right."""
        n, k = self.chance.shape
        out = np.zeros((n - 1, k), np.float32)
        step, none, end = np.arange(1, n), np.zeros(n - 1, np.intp), np.full(n - 1, n)
        for i in self._open():
            sums = self._sums(i)
            whole = _spread(*sums, none[:1], end[:1])
            out[:, i] = whole - _spread(*sums, none, step) - _spread(*sums, step, end)
        return np.maximum(out, 0)

    def _open(self) -> Rows:
        """Strands of which the two looks say different things."""
        return np.flatnonzero(self.wrong[-1] > 0)

    def _sums(self, i: int) -> tuple[F64, F64, F64]:
        """Of strand i: chance and chance x wrong, each summed up to before every turn and over all, (n + 1,); wrong, (n,)."""
        chance, wrong = self.chance[:, i].astype(np.float64), self.wrong[:, i].astype(np.float64)
        return np.append(0, np.cumsum(chance)), np.append(0, np.cumsum(chance * wrong)), wrong


def _median(a: F64, low: Rows, high: Rows) -> Rows:
    """(m,) for spans of turns low..high - 1 (m,): the turn at which half of the span's chance is reached. a (n + 1,): chance
    summed up to before each turn."""
    half = np.searchsorted(a[1:], (a[low] + a[high]) / 2)
    return np.minimum(np.maximum(half, low), high - 1)


def _spread(a: F64, b: F64, wrong: F64, low: Rows, high: Rows) -> F64:
    """(m,) wrong labels to be expected for turns in spans low..high - 1 (m,), where the labels turn at the span's median.

    a, b, wrong: as `Beliefs._sums` gives them.
    """
    r = _median(a, low, high)
    before = wrong[r] * (a[r] - a[low]) - (b[r] - b[low])
    after = b[high] - b[r] - wrong[r] * (a[high] - a[r])
    out: F64 = before + after
    return out


def believe(strands: Strands, lumas: Sequence[Luma], conf: float, size: tuple[int, int]) -> Beliefs | None:
    """None where both looks say the same of all.

    lumas: n + 1, one for each step, both looks included; None where no picture is in memory; smaller ones
    than the picture will do. conf: the lowest score that is reported. size: width and height, pixels.
    """
    n, k = strands.steps, len(strands)
    went = (strands.start >= conf) & (strands.end < conf)
    came = (strands.end >= conf) & (strands.start < conf)
    pairs = (strands.first >= 0) & (strands.last >= 0)
    lost = pairs & ((strands.start >= conf) | (strands.end >= conf))
    if n < 2 or not (went | came | lost).any():
        return None
    apart = np.zeros((n + 1, k), np.bool_)
    apart[:, lost] = _overlap(strands.on[:, lost], strands.back[:, lost]) < APART
    inside = share_inside(strands.on[1:n].reshape(-1, 4), *size).reshape(n - 1, k) >= LEAST_INSIDE
    differs = ((went | came) & inside) | (apart[1:n] & ~(went | came))
    some = differs.any(0)
    if not some.any():
        return None
    odds = np.zeros((n - 1, k), np.float32)
    on, back = np.flatnonzero(some & ~came), np.flatnonzero(some & ~went)
    odds[:, on] += _odds(strands, on, lumas, conf, size[0], False)
    odds[:, back] -= _odds(strands, back, lumas, conf, size[0], True)
    total = np.concatenate([np.zeros((1, k)), np.cumsum(SURE * odds, 0)])
    chance = np.exp(total - total.max(0))
    wrong = np.concatenate([np.zeros((1, k)), np.cumsum(differs, 0)])
    return Beliefs((chance / chance.sum(0)).astype(np.float32), wrong.astype(np.float32), went | came, apart)


def known_of(
    strands: Strands, rows: Rows, lumas: Sequence[Luma], conf: float, width: int, backwards: bool
) -> F32:
    """(n - 1, r, 5): of some strands at each step between, what `WEIGHTS` weigh, from the look at the start of the way on
    (backwards: from that at the end). width: of the picture; lumas may be smaller."""
    way = (strands.back[::-1] if backwards else strands.on)[:, rows]
    score, other = strands.start[rows], strands.end[rows]
    if backwards:
        score, other, lumas = other, score, lumas[::-1]
    n = strands.steps
    known = np.ones((n - 1, len(rows), len(WEIGHTS)), np.float32)
    known[..., 1] = _likeness(way, lumas, width)
    known[..., 2] = np.exp((conf - score) / 0.05)
    known[..., 3] = np.arange(1, n)[:, None] / n
    known[..., 4] = other
    return known


def _odds(
    strands: Strands, rows: Rows, lumas: Sequence[Luma], conf: float, width: int, backwards: bool
) -> F32:
    """(n - 1, r): log odds, at each step between, that the object is still what the look at the start of its way (the end,
    backwards) found."""
    out: F32 = known_of(strands, rows, lumas, conf, width, backwards) @ WEIGHTS
    return out[::-1] if backwards else out


def _likeness(way: F32, lumas: Sequence[Luma], width: int) -> F32:
    """(n - 1, k): of the boxes on their way (n + 1, k, 4) to the first of them; between the pictures that are compared, linear."""
    n, k = len(way) - 1, way.shape[1]
    shown = [(i, luma) for i, luma in enumerate(lumas[:n]) if luma is not None]
    shown = shown[:: -(-len(shown) // MOST_SHOWN)] if shown else shown
    if not k or not shown or shown[0][0] != 0:
        return np.full((n - 1, k), UNSEEN, np.float32)
    seen = np.stack([signatures(luma, way[i] * np.float32(luma.shape[1] / width)) for i, luma in shown])
    first = np.broadcast_to(seen[0], seen.shape)
    like = likeness(first.reshape(-1, seen.shape[2]), seen.reshape(-1, seen.shape[2])).reshape(seen.shape[:2])
    steps, known = np.arange(1, n), [i for i, _ in shown]
    return np.stack([np.interp(steps, known, column) for column in like.T], 1).astype(np.float32)


def _overlap(a: F32, b: F32) -> F32:
    """(...,): overlap of each box of a (..., 4) with the same one of b."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    total = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - common
    out: F32 = np.divide(common, total, out=np.zeros_like(common), where=total > 0)
    return out
