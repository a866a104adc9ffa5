"""The game as a graph of looks, in which every choice's outcome is known.

A node is a look at a frame; an edge leads to the next look, with its cost and its error. How an edge can come about: awake
(every frame decoded) all the way, or asleep from one of `SLEEPS` frames after the look on. For any policy, dynamic
programming gives the value of every node, and what every action of it costs more than its alternative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.brain import SLEEPS
from everyframe.policies.features import (
    AGREEMENTS,
    FEATURES,
    HORIZON,
    LONGEST_GOP,
    TIME,
    TRACKS,
    USUAL,
    price_values,
)
from everyframe.policies.simulation.arena import last_key
from everyframe.policies.simulation.optimum import edges_of
from everyframe.policies.simulation.table import ClipTable

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
CHAIN = 6
"""Looks before one that are drawn, for what a policy remembers of them."""
_SUMMED = tuple(TRACKS.index(name) for name in ("alarm", "travelled", "anew_since"))
_COUNT = TRACKS.index("count")
_LOG_H, _LOG_G = np.log1p(HORIZON), np.log1p(LONGEST_GOP)


@dataclass(frozen=True, slots=True)
class Graph:
    """One clip. cost, error (n, horizon + 1, kinds) float32 as in `optimum.Edges`, the kinds being `SLEEPS` and awake;
    cost in dense frames, error: reports minus twice the right ones; truth (n + 1,) summed up; key (n,): last key frame."""

    table: ClipTable
    cost: F32
    error: F32
    truth: Ints
    key: Ints

    @classmethod
    def of(cls, table: ClipTable, lookahead: bool) -> Graph:
        edges = edges_of(table, lookahead, awake=SLEEPS)
        return cls(table, edges.cost, edges.shown - 2 * edges.right, edges.truth, last_key(table.is_key))

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True, slots=True)
class Window:
    """Nodes [start, end) of a graph on one machine at one price.

    outcome (w, horizon, kinds) float32: cost and price of the edges to d = 1 .. horizon frames on, infinite where there
    is none. beyond (horizon + 1,): value of arriving that many frames behind the end. optimum: value of the best way through.
    best (w, 2): the next look in it, frames on, and its kind. prices (3,): as in `features.PRICES`. memory (w, 4):
    `agreement`, `agreements`, `interval`, `usual` of the features.
    """

    graph: Graph
    start: int
    end: int
    outcome: F32
    beyond: F64
    optimum: float
    best: Ints
    prices: F32
    memory: F32


def window_of(
    graph: Graph, start: int, end: int, price: float, decode: float | None, rng: np.random.Generator, slack: float = 1.3
) -> Window:
    """decode: cost of decoding a frame in looks, None for that of the machine that recorded. slack: how much dearer than
    the optimum the rest of the clip is taken to be."""
    table = graph.table
    costs = table.costs if decode is None else table.costs.with_ratio(decode)
    scale = costs.frame / table.costs.frame
    look = table.costs.look
    outcome = (graph.cost * table.costs.dense - look) * np.float32(scale / costs.dense) + np.float32(look / costs.dense)
    n, steps, _ = outcome.shape
    to = np.minimum(np.arange(n)[:, None] + np.arange(steps)[None], n)
    expected = graph.truth[np.minimum(to + 1, n)] - graph.truth[np.arange(n) + 1][:, None]
    outcome += np.float32(price / table.normaliser) * (graph.error + expected[..., None].astype(np.float32))
    ends = np.arange(1, min(n, steps - 1) + 1)
    outcome[n - ends, ends] += np.float32(look * (scale - 1) / costs.dense)  # no look where the clip ends
    values, step, kind = _cheapest(outcome)
    after = values[np.minimum(end + np.arange(steps), n)] - values[end]
    gap = max(float(np.median(step)), 1.0)
    decoded = (float(costs.decode.mean()) + costs.carry) / costs.dense
    return Window(
        graph, start, end, outcome[start:end, 1:], slack * after, float(values[start] - values[end]),
        np.stack([step[start:end], kind[start:end]], 1), price_values(price, decoded, costs.look / costs.dense),
        _memory(table, np.arange(start, end), gap, rng),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _cheapest(outcome):  # type: ignore[no-untyped-def]
    n, steps, kinds = outcome.shape
    best = np.zeros(n + 1)
    step, kind = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for k in range(n - 1, -1, -1):
        best[k] = np.inf
        for d in range(1, min(steps, n - k + 1)):
            for m in range(kinds):
                value = outcome[k, d, m] + best[k + d]
                if value < best[k]:
                    best[k], step[k], kind[k] = value, d, m
    return best, step, kind


def _memory(table: ClipTable, nodes: Ints, gap: float, rng: np.random.Generator) -> F32:
    """What a policy remembers of the looks before each node, those looks drawn at distances around `gap`."""
    gaps = np.maximum(1, rng.gamma(3.0, gap / 3, (len(nodes), CHAIN)).astype(np.int64))
    gaps = np.minimum(gaps, table.horizon)
    looks = nodes[:, None] - np.cumsum(np.concatenate([np.zeros((len(nodes), 1), np.int64), gaps], 1), 1)
    agreed, usual = np.ones(len(nodes)), np.zeros(len(nodes))
    agreement = np.ones(len(nodes))
    began = np.zeros(len(nodes), np.bool_)
    counts = np.expm1(table.tracks[:, 0, _COUNT].astype(np.float32))
    for i in range(CHAIN, -1, -1):  # oldest first
        at = looks[:, i]
        there = at >= 0
        count = counts[np.maximum(at, 0)]
        first = there & ~began
        usual = np.where(first, count, np.where(there, usual + USUAL * (count - usual), usual))
        if i < CHAIN:
            both = looks[:, i + 1] >= 0
            seen = table.agreement[np.maximum(looks[:, i + 1], 0), gaps[:, i]].astype(np.float64)
            both &= np.isfinite(seen)
            agreement = np.where(both, seen, agreement)
            agreed = np.where(both, agreed + AGREEMENTS * (agreement - agreed), agreed)
        began |= there
    interval = np.where(looks[:, 1] >= 0, gaps[:, 0], 0)
    return np.stack(
        [agreement, agreed, np.minimum(np.log1p(interval) / _LOG_H, 1.0), np.minimum(np.log1p(usual), 5.0)], 1
    ).astype(np.float32)


def awake(window: Window, rows: Ints, steps: Ints) -> F32:
    """(len(rows), len(FEATURES)) float32: observations `steps` frames after the looks `start + rows`, all decoded."""
    return _observed(window, rows, window.start + rows, steps, steps)


def asleep(window: Window, rows: Ints, since: Ints, steps: Ints) -> F32:
    """The same with nothing decoded after `since` frames: what the gate sees `steps` frames after the look."""
    return _observed(window, rows, window.start + rows, since, steps)


def _observed(window: Window, rows: Ints, k: Ints, seen: Ints, steps: Ints) -> F32:
    """seen: frames from the look to the last decoded one."""
    table = window.graph.table
    last = len(table) - 1
    now, decoded = np.minimum(k + steps, last), np.minimum(k + seen, last)
    out = np.empty((len(rows), len(FEATURES)), np.float32)
    behind = now - np.maximum(window.graph.key[now] - 1, decoded)
    out[:, 0] = np.minimum(np.log1p(steps) / _LOG_H, 1.0)
    out[:, 1] = np.minimum(np.log1p(steps - seen) / _LOG_H, 1.0)
    out[:, 2] = np.minimum(np.log1p(behind) / _LOG_G, 1.0)
    out[:, 3:7] = window.memory[rows]
    at = len(TIME)
    for part in (
        table.tracks[k, np.minimum(seen, table.horizon)], table.motion[decoded], table.packets[now],
        np.broadcast_to(window.prices, (len(rows), 3)), table.packets[np.minimum(now + 1, last)],
    ):  # fmt: skip
        out[:, at : at + part.shape[1]] = part
        at += part.shape[1]
    return out


class Chances(NamedTuple):
    """A policy on a window. look (w, D): at each frame after each look, where awake; D is where all look at last. sleep
    (w, kinds): of falling asleep at each age, 0 where that is not followed. which (w, kinds): row of wake, -1 where it is not
    followed; wake (rows, horizon): of waking for each frame, where asleep."""

    look: F32
    sleep: F32
    which: Ints
    wake: F32


class Advantages(NamedTuple):
    """What an action costs more than its alternative, the policy being followed from then on; in the shapes of `Chances`. look:
    than waiting. sleep: than staying awake. wake: than sleeping on. value (w,): of each node."""

    look: F32
    sleep: F32
    wake: F32
    value: F64


@njit(cache=True, nogil=True)
def _advantages(look, sleep, which, wake, ages, outcome, beyond, ends, a_look, a_sleep, a_wake, value):  # type: ignore[no-untyped-def]
    w, followed = look.shape
    kinds = sleep.shape[1]
    horizon = outcome.shape[1]
    fall = np.zeros(kinds)
    to_value = np.zeros(horizon + 1)
    for k in range(w - 1, -1, -1):
        end = min(ends[k], horizon)
        for d in range(1, end + 1):
            to_value[d] = value[k + d] if k + d < w else beyond[min(k + d - w, horizon)]
        for m in range(kinds):
            row = which[k, m]
            if row < 0:
                continue
            after = outcome[k, end - 1, m] + to_value[end]
            for d in range(end - 1, ages[m] + 1, -1):
                now = outcome[k, d - 1, m] + to_value[d]
                a_wake[row, d - 1] = now - after
                after = wake[row, d - 1] * now + (1 - wake[row, d - 1]) * after
            fall[m] = after
        last = min(followed, end)
        arrived = outcome[k, last - 1, kinds] + to_value[last]
        for d in range(last - 1, 0, -1):
            waiting = arrived
            for m in range(kinds):
                if ages[m] == d and which[k, m] >= 0:
                    a_sleep[k, m] = fall[m] - arrived
                    waiting = sleep[k, m] * fall[m] + (1 - sleep[k, m]) * arrived
            now = outcome[k, d - 1, kinds] + to_value[d]
            a_look[k, d - 1] = now - waiting
            arrived = look[k, d - 1] * now + (1 - look[k, d - 1]) * waiting
        value[k] = arrived


def advantages(chances: Chances, window: Window) -> Advantages:
    """By dynamic programming, from the window's last node to its first (Bellman, 1957): exact for this clip."""
    w = len(window.outcome)
    kinds = window.outcome.shape[2] - 1
    ends = np.minimum(len(window.graph) - window.start - np.arange(w), window.outcome.shape[1])
    out = Advantages(np.zeros_like(chances.look), np.zeros_like(chances.sleep), np.zeros_like(chances.wake), np.zeros(w))
    _advantages(
        *chances, np.array(SLEEPS[:kinds]), window.outcome, window.beyond, ends, out.look, out.sleep, out.wake, out.value
    )
    return out


__all__ = ["Advantages", "Chances", "Graph", "Window", "advantages", "asleep", "awake", "window_of"]
