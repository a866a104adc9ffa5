"""The evolution finds a front that is known, goes on where it was cut off, and never judges what is not allowed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.compress.evolve import F64, Enough, Genes, Plan, Scores, crowding, evolve, fronts

SIZES = (4,) * 7
START = [(0,) * 7, (3,) * 7, (1, 2) * 3 + (1,)]
COST, WORTH = (8, 5, 4, 3, 2, 2, 1), (9, 2, 6, 1, 3, 1, 2)


def judge(genes: Genes) -> Scores:
    """Larger values cost time and save error, with diminishing returns; two of them help each other only together."""
    time = sum(c * g for c, g in zip(COST, genes, strict=True))
    error = sum(w * 2.0**-g for w, g in zip(WORTH, genes, strict=True)) + 2 * abs(genes[0] - genes[2])
    return float(time), error


def area(points: F64) -> float:
    """What is above and right of the front and within (80, 40): hypervolume."""
    rows = points[np.lexsort(points.T[::-1])]
    lowest = np.minimum.accumulate(rows[:, 1])
    edges = np.append(rows[1:, 0], 80.0)
    return float(((edges - rows[:, 0]) * (40 - lowest)).sum())


def test_a_known_front_is_found() -> None:
    every = list(itertools.product(range(4), repeat=7))
    known = np.array([judge(genes) for genes in every])
    judged: dict[Genes, Scores] = {}
    assert evolve(Plan(SIZES, population=24, generations=25, seed=3), START, judge, judged) == 25
    assert len(judged) < len(every) / 25
    drawn = np.random.default_rng(0).choice(len(every), len(judged), replace=False)
    reached, random = (area(points) / area(known) for points in (np.array(list(judged.values())), known[drawn]))
    assert reached > 0.985 and reached > random + 0.03, (reached, random)


PLAN = Plan(SIZES, population=24, generations=30, seed=3)


def test_equal_seeds_judge_the_same_in_the_same_order() -> None:
    orders = []
    for seed in (3, 3, 4):
        judged: dict[Genes, Scores] = {}
        evolve(Plan(SIZES, 8, 4, seed), START, judge, judged)
        orders.append(list(judged))
    assert orders[0] == orders[1] != orders[2]


@given(st.integers(1, 120))
@settings(deadline=None, max_examples=25)
def test_what_was_cut_off_goes_on_to_the_same_end(cut: int) -> None:
    whole: dict[Genes, Scores] = {}
    evolve(Plan(SIZES, 12, 8), START, judge, whole)
    left = cut

    def tired(genes: Genes) -> Scores:
        nonlocal left
        if left == 0:
            raise Enough
        left -= 1
        return judge(genes)

    parts: dict[Genes, Scores] = {}
    evolve(Plan(SIZES, 12, 8), START, tired, parts)
    assert len(parts) == min(cut, len(whole))
    evolve(Plan(SIZES, 12, 8), START, judge, parts)
    assert list(parts) == list(whole)


def test_what_is_not_allowed_is_not_judged() -> None:
    judged: dict[Genes, Scores] = {}
    evolve(PLAN, [(2,) * 7], judge, judged, lambda genes: genes[0] == 2)
    assert len(judged) > 50 and {genes[0] for genes in judged} == {2}
    assert evolve(PLAN, [(2,) * 7], judge, {}, lambda _: False) == 1, "no child: it ends after the first"


def test_fronts_and_crowding_of_a_few_points() -> None:
    points = np.array([[1, 5], [2, 3], [4, 1], [2, 5], [4, 4], [2, 3]], np.float64)
    assert fronts(points) == [[0, 1, 2, 5], [3, 4]]
    assert crowding(points[[0, 1, 2]]).tolist() == pytest.approx([np.inf, 2.0, np.inf])
    assert crowding(np.ones((3, 2))).tolist().count(np.inf) >= 1, "all alike is no division by 0"
