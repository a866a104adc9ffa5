"""Looking ahead by halving: a look far on, then one in the middle while the two sides disagree, in the game's tables.

What both looks of a gap say of each other is known before the frames between are labelled, which no rule that goes forward has.
After the scale-time lattice (Chen et al., CVPR 2018). Every frame is decoded; a gap is halved, or its labels stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.features import HORIZON, USUAL
from everyframe.policies.simulation.optimum import Edges, Point, edges_of, pooled_f1
from everyframe.policies.simulation.table import ClipTable

Ints = NDArray[np.int64]
GAP = (
    "length",  # log1p(frame steps) / log1p(HORIZON), 0 .. 1
    "apart",  # log1p(wrong labels when the first look's are carried to the second), 0 .. 5
    "apart_share",  # of the labels there, 0 .. 1
    "count",  # log1p(mean number of objects at both looks), 0 .. 5
    "apart_usual",  # log1p(wrong labels there / objects usual for the stream), 0 .. 5
    "apart_lately",  # running mean of `apart_share` over gaps that are done, 0 .. 1
    "usual_lately",  # log1p(running mean of what `apart_usual` is the log1p of), 0 .. 5
    "apart_whole",  # `apart_usual` of the gap that this one is a half of; its own where there is none, 0 .. 5
)
LATELY = 0.3
"""Weight of the newest gap in running means."""
LEAST_DONE = 3
"""Frame steps from which on a gap counts in them: what is nearer agrees."""
LEAST_USUAL = 0.5
_EVERY = 8
_LOG_H = np.float32(np.log1p(HORIZON))


@dataclass(frozen=True, slots=True)
class Gaps:
    """All gaps of one clip of n frames, from a look at k to one at k + d.

    error (n, horizon + 1) float32: wrong labels of the frames strictly between, NaN beyond the clip. apart, the same shape: wrong
    labels of the first look's carried to the second, in the eyes of the second. count (n,): objects that a look reports. usual
    (n,): their running mean. mean: of all.
    """

    table: ClipTable
    edges: Edges
    error: F32
    apart: F32
    count: F32
    usual: F32
    mean: float

    @classmethod
    def of(cls, table: ClipTable) -> Gaps:
        """Raises ValueError for a table without counts of both sides."""
        edges = edges_of(table, lookahead=True, sleeps=False)
        n, c = len(table), table.carried
        k, d = np.arange(n)[:, None], np.arange(table.horizon + 1)[None]
        to, end = np.minimum(k + d, n - 1), np.minimum(k + d, n)
        shown = edges.shown[:, :, 0] - c.shown[to, 0]
        right = edges.right[:, :, 0] - c.right[to, 0]
        error = shown + edges.truth[end] - edges.truth[np.minimum(k + 1, n)] - 2 * right
        apart = c.shown.astype(np.float32) + table.truth[to] - 2.0 * c.right.astype(np.float32)
        count = table.truth.astype(np.float32)
        error = np.where(k + d < n, error, np.nan).astype(np.float32)
        return cls(table, edges, error, apart.astype(np.float32), count, _usual(count), max(float(count.mean()), 1e-3))

    def __len__(self) -> int:
        return len(self.count)

    def relative(self, k: Ints, d: Ints) -> F32:
        """Wrong labels where the two looks of gaps meet, in objects usual for the stream."""
        out: F32 = (self.apart[k, d] / np.maximum(self.usual[k], LEAST_USUAL)).astype(np.float32)
        return out

    def features(self, k: Ints, d: Ints, lately: F32, whole: F32) -> F32:
        """(..., len(GAP)) of gaps. lately (..., 2): running means of `apart_share` and of `relative`; whole (...): `relative` of the
        gaps that these are halves of."""
        apart, at, to = self.apart[k, d], self.count[k], self.count[k + d]
        parts = (
            np.log1p(d) / _LOG_H, np.log1p(apart), apart / np.maximum(at + to, 1), np.log1p((at + to) / 2),
            np.log1p(self.relative(k, d)), lately[..., 0], np.log1p(lately[..., 1]), np.log1p(whole),
        )  # fmt: skip
        return np.stack(np.broadcast_arrays(*parts), -1).astype(np.float32)


def _usual(count: F32) -> F32:
    """The running mean over looks at about the usual distance."""
    out, mean = np.empty_like(count), float(count[0])
    for i, now in enumerate(count.tolist()):
        if i % _EVERY == 0:
            mean += USUAL * (now - mean)
        out[i] = mean
    return out


Halves = Callable[[int, int, F32], bool]
"""Whether to halve the gap from k over d steps, whose features (len(GAP),) are these."""


@dataclass(slots=True)
class Halving:
    """One walk through a clip. looks: at these frames."""

    gaps: Gaps
    halves: Halves
    looks: set[int] = field(default_factory=lambda: {0})
    lately: F32 = field(default_factory=lambda: np.zeros(2, np.float32))

    def close(self, start: int, end: int, whole: float | None = None) -> None:
        """Both ends were looked at: looks between, as long as `halves` says so."""
        steps = end - start
        if steps < 2:
            return
        k, d = np.array(start), np.array(steps)
        mine = float(self.gaps.relative(k, d))
        x = self.gaps.features(k, d, self.lately, np.array(mine if whole is None else whole, np.float32))
        if self.halves(start, steps, x):
            middle = start + steps // 2
            self.looks.add(middle)
            self.close(start, middle, mine)
            self.close(middle, end, mine)
        if steps >= LEAST_DONE:
            self.lately = self.lately + np.float32(LATELY) * (np.array([x[2], mine], np.float32) - self.lately)


def halve(gaps: Gaps, halves: Halves, root: int, name: str = "") -> Point:
    """What looks every `root` frames (and at the last), and those that halve the gaps between, come to."""
    walk = Halving(gaps, halves)
    last = len(gaps) - 1
    for start in range(0, last, root):
        end = min(start + root, last)
        walk.looks.add(end)
        walk.close(start, end)
    return along(gaps.edges, sorted(walk.looks), name)


def along(edges: Edges, looks: list[int], name: str = "") -> Point:
    """What looks at these frames, the first among them, come to; all is decoded."""
    n = len(edges.cost)
    at = np.array(looks)
    steps = np.diff(np.append(at, n))
    cost, found, shown = (
        first + float(part[at, steps, 0].sum())
        for first, part in zip(edges.first, (edges.cost, edges.right, edges.shown), strict=True)
    )
    return Point(name, cost / n, pooled_f1(found, shown, float(edges.truth[-1])), len(looks), 1.0)
