"""An evolutionary search for the best trade-offs of two costs, over vectors of small whole numbers.

Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II (2002): tournaments by front and crowding, uniform crossover,
mutation, the best of parents and children survive. Deviations: mutation steps to a near value more often than to a far one, as the
values are ordered; nothing is judged twice; what `allowed` refuses is never judged; each generation has a seed of its own, so
that a search goes on from the scores it has, without any other state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Genes = tuple[int, ...]
"""Of each dimension, which of its values."""
Scores = tuple[float, float]
"""Two costs, both to be small."""
F64 = NDArray[np.float64]
TRIES = 60
"""Draws until a new and allowed child is found."""


class Enough(Exception):
    """Raised by what judges when time is up: the search ends with what it has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """sizes: how many values each dimension has. population: that survive. generations: the first one, as given, included."""

    sizes: tuple[int, ...]
    population: int = 16
    generations: int = 20
    seed: int = 0


def evolve(
    plan: Plan, first: Sequence[Genes], judge: Callable[[Genes], Scores], judged: MutableMapping[Genes, Scores],
    allowed: Callable[[Genes], bool] = lambda _: True,
) -> int:
    """Fills `judged`, which may hold scores of an earlier call that was cut off; returns how many generations were finished.

    first: where it starts. judge: called once for each that is not yet in `judged`; may raise `Enough`.
    """  # fmt: skip
    alive: list[Genes] = []
    known: set[Genes] = set()  # not those of `judged`: what was cut off is to go on with the same children
    for generation in range(plan.generations):
        rng = np.random.default_rng((plan.seed, generation))
        young = list(dict.fromkeys(first)) if generation == 0 else _children(plan, alive, judged, known, rng, allowed)
        if not young:
            return generation
        known.update(young)
        for genes in young:
            if genes not in judged:
                try:
                    judged[genes] = judge(genes)
                except Enough:
                    return generation
        alive = survivors([*alive, *young], judged, plan.population)
    return plan.generations


def survivors(genes: Sequence[Genes], judged: MutableMapping[Genes, Scores], count: int) -> list[Genes]:
    """The best `count`: by fronts, in the last of these those that have most room around them."""
    points = np.array([judged[g] for g in genes], np.float64).reshape(-1, 2)
    kept: list[int] = []
    for front in fronts(points):
        room = crowding(points[front])
        order = [front[i] for i in np.argsort(-room, kind="stable")]
        kept += order[: count - len(kept)]
        if len(kept) == count:
            break
    return [genes[i] for i in kept]


def fronts(points: F64) -> list[list[int]]:
    """Rows of (n, 2) costs in fronts: each of those that nothing but the fronts before is better than."""
    no_worse = (points[:, None] <= points[None]).all(2)
    better = no_worse & (points[:, None] < points[None]).any(2)
    left = np.ones(len(points), np.bool_)
    found = []
    while left.any():
        best = left & ~(better & left[:, None]).any(0)
        found.append(np.flatnonzero(best).tolist())
        left &= ~best
    return found


def crowding(points: F64) -> F64:
    """Room around each of (n, 2) points of a front: the sides of the box between its neighbours, in shares of the front's; the
    ends have infinite room."""
    room = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        room[order[[0, -1]]] = math.inf
        if span > 0:
            room[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return room


def _children(
    plan: Plan, alive: Sequence[Genes], judged: MutableMapping[Genes, Scores], known: AbstractSet[Genes], rng: np.random.Generator,
    allowed: Callable[[Genes], bool],
) -> list[Genes]:
    """As many as survive, new ones; fewer where few are left."""
    points = np.array([judged[g] for g in alive], np.float64)
    rank = np.zeros(len(alive), np.int64)
    room = np.zeros(len(alive))
    for level, front in enumerate(fronts(points)):
        rank[front] = level
        room[front] = crowding(points[front])
    made: list[Genes] = []
    for _ in range(plan.population):
        for _ in range(TRIES):
            child = _child(plan, alive[_winner(rank, room, rng)], alive[_winner(rank, room, rng)], rng)
            if child not in known and child not in made and allowed(child):
                made.append(child)
                break
    return made


def _winner(rank: NDArray[np.int64], room: F64, rng: np.random.Generator) -> int:
    a, b = (int(i) for i in rng.integers(len(rank), size=2))
    return a if (rank[a], -room[a]) <= (rank[b], -room[b]) else b


def _child(plan: Plan, a: Genes, b: Genes, rng: np.random.Generator) -> Genes:
    """Each value of one of the parents, and on average one or two of them changed."""
    child = [x if rng.random() < 0.5 else y for x, y in zip(a, b, strict=True)] if rng.random() < 0.9 else list(a)
    chance = 1.5 / len(child)
    for i, size in enumerate(plan.sizes):
        if rng.random() < chance:
            child[i] = _step(child[i], size, rng) if rng.random() < 0.75 else int(rng.integers(size))
    return tuple(child)


def _step(value: int, size: int, rng: np.random.Generator) -> int:
    return int(np.clip(value + rng.choice((-1, 1)), 0, size - 1))
