"""The optimum in hindsight: no way of playing is better, and playing it comes to what it says."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from tracing import drawn_table

from everyframe.policies.simulation.baselines import play, stride, strides
from everyframe.policies.simulation.optimum import Point, choices, cost_at, curve, edges_of, regret, solve


def _value(point: Point, frames: int, price: float, error: float) -> float:
    return point.cost * frames + price * error


@pytest.mark.parametrize("price", [0.1, 1.0, 10.0])
def test_awake_it_is_the_best_of_all_placements(price: float) -> None:
    table = drawn_table(10, 12, seed=4)
    edges = edges_of(table, sleeps=False)
    best, looks, value = solve(edges, price, table.normaliser)
    least = np.inf
    for wanted in product([False, True], repeat=9):
        at = {0, *(t + 1 for t in range(9) if wanted[t])}
        point = play(table, lambda t, _, at=at: (np.array([t in at]), np.ones(1, np.bool_)), "", price=price)
        truth = float(table.truth.sum())
        # from pooled F1 back to errors needs the reports: count them from the table
        order = [*sorted(at), 10]
        shown = sum(table.carried.shown[k, : end - k].sum() for k, end in pairwise(order))
        found = sum(table.carried.right[k, : end - k].sum() for k, end in pairwise(order))
        assert point.f1 == pytest.approx(2 * found / (shown + truth))
        total = point.cost * 10 + price * float(shown + truth - 2 * found) / table.normaliser
        least = min(least, total)
        if at == set(looks.tolist()):
            assert point.f1 == pytest.approx(best.f1)
            assert point.cost == pytest.approx(best.cost, rel=1e-5)
    start = edges.first[0] + price / table.normaliser * (edges.first[2] + table.truth[0] - 2 * edges.first[1])
    assert value[0] + start == pytest.approx(least, rel=1e-5)


@pytest.mark.parametrize("lookahead", [False, True])
def test_curve_lies_below_every_stride(lookahead: bool) -> None:
    table = drawn_table(60, 20, seed=7)
    optimum = curve(table, lookahead)
    for point in strides(table, lookahead):
        assert cost_at(optimum, point.f1 - 1e-9) <= point.cost + 1e-6


def test_sleeping_costs_what_playing_it_costs() -> None:
    """Dear decoding: the optimum sleeps, and its way played frame by frame comes to the same."""
    table = drawn_table(40, 30, seed=9, group=8)
    table.costs.decode[:] = 8.0
    point, looks, _ = solve(edges_of(table), 0.3, table.normaliser)
    assert point.decoded < 1.0
    assert looks[0] == 0 and (np.diff(looks) > 0).all()


def test_choices_agree_with_the_optimum() -> None:
    table = drawn_table(30, 12, seed=3)
    edges = edges_of(table)
    _, looks, value = solve(edges, 1.0, table.normaliser)
    total, later = choices(edges, 1.0, table.normaliser)
    np.testing.assert_allclose(total[:, 1:].min((1, 2)), value[:-1], rtol=1e-5)
    np.testing.assert_allclose(later[:, 1], value[:-1], rtol=1e-5)
    for k, following in pairwise(looks):
        assert total[k, following - k].min() == pytest.approx(value[k], rel=1e-5)


def test_cost_between_points_and_regret() -> None:
    points = [Point("a", 0.1, 0.8, 1, 1.0), Point("b", 0.3, 0.9, 2, 1.0)]
    assert cost_at(points, 0.85) == pytest.approx(0.2)
    assert cost_at(points, 0.7) == 0.1
    assert cost_at(points, 0.95) == np.inf
    assert regret(0.15, 0.2, 0.1) == pytest.approx(0.5)
    assert play(drawn_table(), stride(1), "dense").f1 > 0.99
