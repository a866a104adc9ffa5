"""What a policy comes to on whole clips, in the game itself: cost and pooled F1 for each price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from everyframe.policies.brain import Brain, Curve
from everyframe.policies.pace import Pace
from everyframe.policies.simulation import optimum as o
from everyframe.policies.simulation.arena import Arena, arena_of
from everyframe.policies.simulation.baselines import strides
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame

PRICES = tuple(np.geomspace(0.02, 12, 9).tolist())
TARGETS = (0.85, 0.9, 0.95)


def play(
    brain: Brain, arena: Arena, lookahead: bool, prices: Sequence[float] = PRICES, decode: float | None = None
) -> list[list[o.Point]]:
    """Points by clip, then by price. decode: cost of decoding a frame in looks, None for that of the machine that recorded."""
    clips = len(arena.tables)
    batch = clips * len(prices)
    env = VectorKeyFrame(arena, batch, lookahead, Draw(decode=None if decode is None else (decode, decode)))
    which = np.repeat(np.arange(clips), len(prices))
    observation = env.reset(clips=which.tolist(), price=np.tile(prices, clips).tolist(), decode=decode)
    pace = Pace(batch)
    totals, counts = np.zeros((batch, 4)), np.zeros((batch, 2))
    live = np.ones(batch, np.bool_)
    first = True
    while live.any():
        looks = pace.look(brain.look(observation)) | first
        first = False
        pace.looked(looks)
        decodes = pace.decodes(brain.gate(observation))
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


def curve_of(points: Sequence[Sequence[o.Point]], prices: Sequence[float]) -> Curve:
    """The mean over clips."""
    f1 = np.mean([[p.f1 for p in clip] for clip in points], 0)
    cost = np.mean([[p.cost for p in clip] for clip in points], 0)
    return Curve(tuple(prices), tuple(f1.tolist()), tuple(cost.tolist()))


class Judge:
    """Compares with the best stride and the optimum at equal F1, on clips that are not trained on."""

    def __init__(self, tables: Sequence[ClipTable], lookahead: bool, decode: float | None = None) -> None:
        self.tables = tables
        self.arena = arena_of(tables, lookahead)
        self.lookahead = lookahead
        self.decode = decode
        machine = [_on(table, decode) for table in tables]
        self.strides = [strides(table, lookahead) for table in machine]
        self.optima = [o.curve(table, lookahead) for table in machine]

    def score(self, brain: Brain, prices: Sequence[float] = PRICES) -> tuple[float, float, list[list[o.Point]]]:
        """Mean over clips and `TARGETS` of cost / cost of the best stride, and median regret; and the points. What no price
        reaches is taken to be reached by a share of the stream with a look at every frame."""
        points = play(brain, self.arena, self.lookahead, prices, self.decode)
        ratios, regrets = [], []
        for mine, fixed, optimum in zip(points, self.strides, self.optima, strict=True):
            for f1 in TARGETS:
                stride, best = o.cost_at(fixed, f1), o.cost_at(optimum, f1)
                cost = o.cost_at([*mine, fixed[0]], f1)
                ratios.append(cost / stride)
                regrets.append(o.regret(cost, stride, best))
        return float(np.mean(ratios)), float(np.median(regrets)), points


def _on(table: ClipTable, decode: float | None) -> ClipTable:
    return table if decode is None else replace(table, costs=table.costs.with_ratio(decode))
