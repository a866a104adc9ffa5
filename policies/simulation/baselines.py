"""Policies without eyes on the tables: what a learned one must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from everyframe.policies.simulation.optimum import Point, pooled_f1
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame
from everyframe.policies.stray import Bool

STRIDES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300)
Acts = Callable[[int, NDArray[np.float32]], tuple[Bool, Bool]]
"""From the frame's number and the observations (1, features): look at it, decode the next."""


def play(table: ClipTable, acts: Acts, name: str, lookahead: bool = False, price: float = 1.0) -> Point:
    """A whole clip, from its first frame to its last, on the machine that recorded it."""
    env = VectorKeyFrame([table], 1, lookahead, Draw(decode=None))
    observation = env.reset(clips=[0], price=price)
    totals = np.zeros(4)
    looks = decoded = 0
    for t in range(len(table)):
        look, decode = acts(t, observation)
        step = env.step(look, decode)
        totals += step.cost[0], step.right[0], step.shown[0], step.truth[0]
        looks += bool(look[0]) or t == 0
        decoded += bool(decode[0]) or t == 0
        observation = step.observation
    cost, found, shown, truth = totals.tolist()
    return Point(name, cost / len(table), pooled_f1(found, shown, truth), looks, min(decoded / len(table), 1.0))


def stride(every: int) -> Acts:
    """A look at every n-th frame, all decoded."""
    yes = np.ones(1, np.bool_)
    return lambda t, _: (yes if t % every == 0 else ~yes, yes)


def random(share: float, seed: int = 0) -> Acts:
    """A look at each frame with one probability, all decoded."""
    draw = np.random.default_rng(seed)
    return lambda t, _: (draw.random(1) < share, np.ones(1, np.bool_))


def iframes(table: ClipTable) -> Acts:
    """Key frames alone are decoded and looked at."""
    key = np.append(table.is_key, False)
    return lambda t, _: (key[t : t + 1], key[t + 1 : t + 2])


def strides(table: ClipTable, lookahead: bool = False, every: Sequence[int] = STRIDES) -> list[Point]:
    """Every stride that has at least two looks in the clip."""
    return [play(table, stride(n), f"stride:{n}", lookahead) for n in every if n < len(table)]
