"""The best that could have been done, knowing the future: dynamic programming over when to look and when to sleep.

Between two looks a stream is awake (every frame decoded, labels carried) for some frames, then asleep (none decoded, labels
held) up to the next look, which pays for catching up in its group of pictures. Every such choice has a cost and an error in
the table; the cheapest way through the clip for a price of error is a shortest path (Bellman, 1957), and all prices together
give the curve of cost against F1. Not in the game: a second spell awake or asleep between two looks, looks back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.policies.simulation.arena import last_key
from everyframe.policies.simulation.counting import right
from everyframe.policies.simulation.table import SCALE, ClipTable

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
AWAKE = (0, 3, 8, 16, 32, 64, 128)
"""Frames decoded after a look before the stream falls asleep; the last choice is never to."""
PRICES = tuple(np.geomspace(0.002, 60, 36).tolist())


@dataclass(frozen=True, slots=True)
class Point:
    """A way to play a clip. cost: dense frames for each frame of the clip; f1: pooled. looks: frames looked at; decoded:
    share of the frames. name: of the policy, or the price."""

    name: str
    cost: float
    f1: float
    looks: int
    decoded: float


@dataclass(frozen=True, slots=True)
class Edges:
    """All choices from a look at k to the next one at k + d (d = 1 .. horizon; the clip's end is a last frame n that costs
    nothing), m kinds: awake for `AWAKE[m]` frames, or all the way.

    cost, right, shown, decoded (n, horizon + 1, m) float32: of the frames k + 1 .. k + d, the look included; cost in
    dense frames, infinite where there is no such choice. truth (n + 1,): objects up to each frame, added up.
    first: cost, right and shown of the look at the first frame.
    """

    cost: NDArray[np.float32]
    right: NDArray[np.float32]
    shown: NDArray[np.float32]
    decoded: NDArray[np.float32]
    truth: Ints
    first: tuple[float, float, float]


@njit(cache=True, nogil=True)
def _held(first, boxes, visible, group, true_first, true_boxes, true_group, awake, out_right, out_shown):  # type: ignore[no-untyped-def]
    """Counts of labels carried for `awake` frames after each look and held from there on, into (n, horizon + 1)."""
    n, steps = out_right.shape
    for k in range(n):
        a, b = first[k], first[k + 1]
        now = np.empty((b - a, 4), np.float64)
        shown = np.empty(b - a, np.bool_)
        count = 0
        at = min(awake, steps - 1)
        for i in range(b - a):
            shown[i] = visible[a + i, at]
            count += shown[i]
            for x in range(4):
                now[i, x] = boxes[a + i, at, x] / SCALE
        for d in range(awake + 1, min(steps, n - k)):
            p, q = true_first[k + d], true_first[k + d + 1]
            out_shown[k, d] = count
            out_right[k, d] = right(now, group[a:b], shown, true_boxes[p:q], true_group[p:q]) if count else 0


def edges_of(
    table: ClipTable, lookahead: bool = False, sleeps: bool = True, awake: Sequence[int] = AWAKE
) -> Edges:
    """sleeps: False for a stream that decodes every frame. awake: the kinds, in place of `AWAKE`."""
    n, horizon = len(table), table.horizon
    c, costs = table.carried, table.costs
    kinds = [*(a for a in awake if a < horizon), horizon] if sleeps else [horizon]
    shape = (n, horizon + 1, len(kinds))
    cost, right_, shown, decoded = (np.zeros(shape, np.float32) for _ in range(4))
    summed = np.concatenate([[0.0], np.cumsum(costs.decode, dtype=np.float64)])
    key = np.append(last_key(table.is_key), n)
    for m, frames in enumerate(kinds):
        at_right, at_shown = c.right.astype(np.float32), c.shown.astype(np.float32)
        if frames < horizon:
            _held(
                c.first, c.boxes, c.visible, c.group, table.true_first, table.true_boxes, table.true_group, frames,
                at_right, at_shown,
            )  # fmt: skip
        at_right[:, 0] = at_shown[:, 0] = 0
        cost[..., m], decoded[..., m], lost = _decoding(n, horizon, frames, key, summed)
        cost[..., m] = (cost[..., m] + decoded[..., m] * costs.carry) / costs.dense
        right_[:, 1:, m], shown[:, 1:, m] = np.cumsum(at_right, 1)[:, :-1], np.cumsum(at_shown, 1)[:, :-1]
        if lookahead:
            _from_both_sides(table, lost, right_[..., m], shown[..., m])
    _add_looks(table, cost, right_, shown)
    truth = np.concatenate([[0], np.cumsum(table.truth, dtype=np.int64)])
    look = (costs.frame + float(costs.decode[0]) + costs.look + costs.carry) / costs.dense
    return Edges(cost, right_, shown, decoded, truth, (look, float(c.right[0, 0]), float(c.shown[0, 0])))


def _decoding(n: int, horizon: int, awake: int, key: Ints, summed: F64) -> tuple[F64, F64, F64]:
    """(n, horizon + 1) each: ms of decoding from a look to the next, frames decoded, frames never decoded."""
    k = np.arange(n)[:, None]
    to = np.minimum(k + np.arange(horizon + 1)[None], n)
    until = np.minimum(np.minimum(k + awake, to), n - 1)  # last frame decoded before falling asleep
    start = np.where(to > until, np.maximum(until + 1, np.minimum(key[to], to)), to + 1)
    start = np.where(to == n, n, start)  # nothing is decoded for the clip's end
    ms = summed[np.minimum(until + 1, n)] - summed[np.minimum(k + 1, n)]
    ms = ms + np.where(to < n, summed[np.minimum(to + 1, n)] - summed[np.minimum(start, n)], 0.0)
    frames = (until - k) + np.where(to < n, np.maximum(to + 1 - start, 0), 0)
    lost = np.maximum(to - k - frames, 0).astype(np.float64)
    return ms, frames.astype(np.float64), lost


def _from_both_sides(table: ClipTable, lost: F64, right_: NDArray[np.float32], shown: NDArray[np.float32]) -> None:
    """Puts the counts of frames labelled from two looks in place of carried ones, where both looks are in the clip."""
    b = table.between
    if b is None:
        raise ValueError("looking ahead needs tables of both sides")
    n, horizon = right_.shape[0], right_.shape[1] - 1
    right_[:, 1] = shown[:, 1] = 0
    for d in range(2, horizon + 1):
        j = int(np.searchsorted(b.gaps, d, "right")) - 1
        upper = min(j + 1, len(b.gaps) - 1)
        g0, g1 = int(b.gaps[j]), int(b.gaps[upper])
        k = np.arange(max(n - d, 0))
        share = np.where((k + g1 < n) & (g1 > g0), (d - g0) / max(g1 - g0, 1), 0.0)
        part = np.minimum(lost[: len(k), d] / (d - 1), 1.0)
        for out, full, held in ((right_, b.right, b.held_right), (shown, b.shown, b.held_shown)):
            low = (1 - part) * full[k, j] + part * held[k, j]
            high = (1 - part) * full[k, upper] + part * held[k, upper]
            out[: len(k), d] = ((1 - share) * low / (g0 - 1) + share * high / (g1 - 1)) * (d - 1)


def _add_looks(table: ClipTable, cost: NDArray[np.float32], *counts: NDArray[np.float32]) -> None:
    """Adds the look that ends each edge, and the cost of every frame; no edge goes beyond the clip's end."""
    n, steps, _ = cost.shape
    costs, c = table.costs, table.carried
    cost += (np.arange(steps, dtype=np.float32) * (costs.frame / costs.dense))[None, :, None]
    for d in range(1, steps):
        inner = max(n - d, 0)
        cost[:inner, d] += costs.look / costs.dense
        for out, at in zip(counts, (c.right, c.shown), strict=True):
            out[:inner, d] += at[d:n, 0][:, None]
        if inner < n:
            cost[inner, d] -= costs.frame / costs.dense
            cost[inner + 1 :, d] = np.inf
    cost[:, 0] = np.inf


@njit(cache=True, nogil=True)
def _shortest(cost, right_, shown, truth, weight, best, step, kind):  # type: ignore[no-untyped-def]
    """Backwards from the clip's end: least cost + weight * error from a look at each frame on."""
    n, steps, kinds = cost.shape
    best[n] = 0.0
    for k in range(n - 1, -1, -1):
        best[k] = np.inf
        for d in range(1, min(steps, n - k + 1)):
            end = min(k + d + 1, n)
            expected = truth[end] - truth[k + 1]
            for m in range(kinds):
                error = shown[k, d, m] + expected - 2 * right_[k, d, m]
                value = cost[k, d, m] + weight * error + best[k + d]
                if value < best[k]:
                    best[k], step[k], kind[k] = value, d, m


def solve(edges: Edges, price: float, normaliser: float) -> tuple[Point, Ints, F64]:
    """The optimum for one price (dense frames for F1 from 0 to 1): what it comes to, the frames that it looks at, and
    the value (n + 1,) of standing at a look at each frame (cost and price of all that follows)."""
    n = len(edges.cost)
    best = np.empty(n + 1, np.float64)
    step, kind = np.zeros(n, np.int64), np.zeros(n, np.int64)
    _shortest(edges.cost, edges.right, edges.shown, edges.truth, price / normaliser, best, step, kind)
    cost, found, shown, decoded = edges.first[0], edges.first[1], edges.first[2], 1.0
    k, looks = 0, [0]
    while k < n:
        d, m = int(step[k]), int(kind[k])
        cost += float(edges.cost[k, d, m])
        found += float(edges.right[k, d, m])
        shown += float(edges.shown[k, d, m])
        decoded += float(edges.decoded[k, d, m])
        k += d
        looks.append(k)
    del looks[-1]
    point = Point(f"{price:.3g}", cost / n, pooled_f1(found, shown, float(edges.truth[-1])), len(looks), decoded / n)
    return point, np.array(looks, np.int64), best


def choices(edges: Edges, price: float, normaliser: float) -> tuple[F64, F64]:
    """What each next look is worth, for imitation: (n, horizon + 1, m) cost and price of all that follows a look at k if the
    next one is at k + d in way m, infinite where there is none; and (n, horizon + 1) what is left after looking no sooner
    than k + d. A look at k + d is best where the least of the first over m is not above the second at d + 1."""
    n, steps, _ = edges.cost.shape
    _, _, best = solve(edges, price, normaliser)
    k = np.arange(n)[:, None]
    to = np.minimum(k + np.arange(steps)[None], n)
    expected = edges.truth[np.minimum(to + 1, n)] - edges.truth[k + 1]
    error = edges.shown + expected[..., None] - 2 * edges.right
    total = edges.cost + price / normaliser * error + best[to][..., None]
    later = np.minimum.accumulate(total.min(-1)[:, ::-1], 1)[:, ::-1]
    return total, later


def pooled_f1(found: float, shown: float, truth: float) -> float:
    """2 TP / (2 TP + FP + FN); 1 where there is nothing on either side."""
    return 2 * found / (shown + truth) if shown + truth else 1.0


def curve(table: ClipTable, lookahead: bool = False, prices: Sequence[float] = PRICES, sleeps: bool = True) -> list[Point]:
    """The optimum in hindsight for each price, dearest error last."""
    edges = edges_of(table, lookahead, sleeps)
    return [solve(edges, price, table.normaliser)[0] for price in prices]


def cost_at(points: Sequence[Point], f1: float) -> float:
    """Least cost at which a curve reaches an F1: on the lower convex hull, since a stream may mix two ways of playing.
    Infinite where it never does."""
    least = np.inf
    for a in points:
        if a.f1 >= f1:
            least = min(least, a.cost)
            continue
        for b in points:
            if b.f1 >= f1 and b.cost > a.cost:
                share = (f1 - a.f1) / (b.f1 - a.f1)
                least = min(least, a.cost + share * (b.cost - a.cost))
    return float(least)


def regret(cost: float, best_stride: float, optimum: float) -> float:
    """How much of the way from the best stride (1) to the optimum (0) is left, for a cost at the same F1."""
    return (cost - optimum) / max(best_stride - optimum, 1e-9)
