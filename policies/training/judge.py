"""What a policy comes to on whole clips, in the game itself: cost and pooled F1 for each price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from everyframe.policies.base import F32
from everyframe.policies.brain import Brain
from everyframe.policies.pace import Pace
from everyframe.policies.simulation import optimum as o
from everyframe.policies.simulation.arena import Arena, arena_of
from everyframe.policies.simulation.baselines import strides
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame

PRICES = tuple(np.geomspace(0.02, 12, 9).tolist())
TARGETS = (0.85, 0.9, 0.95)
NEVER = -60.0
Doubts = Callable[[VectorKeyFrame, F32], F32]
"""From streams and their observations (B, features) to (B,) logarithms of doubts."""


def play(
    brain: Brain | Doubts, arena: Arena, lookahead: bool, prices: Sequence[float] = PRICES, decode: float | None = None
) -> list[list[o.Point]]:
    """Points by clip, then by price. brain: or what gives (B,) logarithms of doubts, which never sleeps. decode: cost of decoding
    a frame in looks, None for that of the machine that recorded."""
    clips = len(arena.tables)
    batch = clips * len(prices)
    env = VectorKeyFrame(arena, batch, lookahead, Draw(decode=None if decode is None else (decode, decode)))
    which = np.repeat(np.arange(clips), len(prices))
    observation = env.reset(clips=which.tolist(), price=np.tile(prices, clips).tolist(), decode=decode)
    pace = Pace(batch)
    awake = np.tile(np.array([NEVER, NEVER], np.float32), (batch, 1))
    totals, counts = np.zeros((batch, 4)), np.zeros((batch, 2))
    live = np.ones(batch, np.bool_)
    first = True
    while live.any():
        doubts = brain.look(observation) if isinstance(brain, Brain) else brain(env, observation)
        looks = pace.look(doubts) | first
        first = False
        pace.looked(looks)
        decodes = pace.decodes(brain.gate(observation) if isinstance(brain, Brain) else awake)
        pace.since += 1
        step = env.step(looks, decodes)
        counts[live] += np.stack([looks, decodes], 1)[live]
        totals[live] += np.stack([step.cost, step.right, step.shown, step.truth], 1)[live]
        live &= ~step.over
        observation = step.observation
    lengths = arena.clips.length[which]
    points = [
        o.Point(f"{price:.3g}", cost / n, o.pooled_f1(found, shown, truth), int(looks), float(min(decoded / n, 1.0)))
        for price, n, (cost, found, shown, truth), (looks, decoded) in zip(
            np.tile(prices, clips).tolist(), lengths.tolist(), totals.tolist(), counts.tolist(), strict=True
        )
    ]
    return [points[i : i + len(prices)] for i in range(0, batch, len(prices))]


class Judge:
    """Compares with the best stride and the optimum at equal F1, on clips that are not trained on."""

    def __init__(self, tables: Sequence[ClipTable], lookahead: bool, decode: float | None = None) -> None:
        self.tables = tables
        self.arena = arena_of(tables, lookahead)
        self.lookahead = lookahead
        self.decode = decode
        self.machine = [_on(table, decode) for table in tables]
        self.strides = [strides(table, lookahead) for table in self.machine]
        self.optima = [o.curve(table, lookahead) for table in self.machine]

    def score(
        self, brain: Brain | Doubts, prices: Sequence[float] = PRICES
    ) -> tuple[float, float, list[list[o.Point]]]:
        """Mean over clips and `TARGETS` of cost / cost of the best stride, and median regret; and the points. What no price
        reaches is taken to be reached by a share of the stream with a look at every frame."""
        points = play(brain, self.arena, self.lookahead, prices, self.decode)
        ratios, regrets = self.compared(points)
        return float(np.mean(ratios)), float(np.median(regrets)), points

    def compared(self, points: Sequence[Sequence[o.Point]]) -> tuple[list[float], list[float]]:
        """Cost over that of the best stride, and regret, for each clip and target."""
        ratios, regrets = [], []
        for mine, fixed, optimum in zip(points, self.strides, self.optima, strict=True):
            for f1 in TARGETS:
                stride, best = o.cost_at(fixed, f1), o.cost_at(optimum, f1)
                cost = o.cost_at([*mine, fixed[0]], f1)
                ratios.append(cost / stride)
                regrets.append(o.regret(cost, stride, best))
        return ratios, regrets


def _on(table: ClipTable, decode: float | None) -> ClipTable:
    return table if decode is None else replace(table, costs=table.costs.with_ratio(decode))
