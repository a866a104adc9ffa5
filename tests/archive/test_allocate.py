"""Sharing a budget, and estimating costs: pure, for all inputs."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.archive.allocate import Point, allocate, hull
from everyframe.pipeline.archive.estimate import Sample, estimate_cost, spread_out

POINTS = st.lists(
    st.builds(Point, st.floats(0.1, 100), st.floats(1, 100).map(lambda v: round(v, 2)), st.floats(0, 50).map(lambda v: round(v, 2))),
    min_size=1, max_size=5,
)  # fmt: skip


@given(POINTS)
@settings(deadline=None)
def test_a_hull_saves_less_and_less(points: list[Point]) -> None:
    found = hull(points)
    assert found
    assert set(found) <= set(points)
    slopes = [(a.errors - b.errors) / (b.cpu_s - a.cpu_s) for a, b in pairwise(found)]
    assert all(slope > 0 for slope in slopes)
    assert all(a >= b - 1e-9 for a, b in pairwise(slopes))
    assert min(p.errors for p in points) == found[-1].errors


@given(st.lists(POINTS, min_size=1, max_size=4), st.floats(0, 500))
@settings(deadline=None)
def test_a_budget_is_kept_where_it_can_be(groups: list[list[Point]], budget: float) -> None:
    choices = allocate(groups, budget)
    spent = sum(choice.point.cpu_s for choice in choices)
    cheapest = sum(hull(points)[0].cpu_s for points in groups)
    assert spent <= max(budget, cheapest) + 1e-6


@given(st.lists(POINTS, min_size=1, max_size=3), st.floats(0, 300))
@settings(deadline=None, max_examples=60)
def test_nothing_is_much_better_than_the_allocation(groups: list[list[Point]], budget: float) -> None:
    choices = allocate(groups, budget)
    hulls = [hull(points) for points in groups]
    best = min(
        (sum(p.errors for p in way) for way in product(*hulls) if sum(p.cpu_s for p in way) <= budget),
        default=None,
    )
    if best is not None:
        step = max((a.errors - b.errors for points in hulls for a, b in pairwise(points)), default=0.0)
        assert sum(c.point.errors for c in choices) <= best + len(groups) * step + 1e-6


def test_the_next_second_goes_where_it_saves_most() -> None:
    busy = [Point(1, 10, 40), Point(4, 20, 10), Point(16, 40, 5)]
    idle = [Point(1, 10, 1), Point(4, 20, 0.5)]
    assert [c.point.cpu_s for c in allocate([busy, idle], 30)] == [20, 10]
    assert [c.point.cpu_s for c in allocate([busy, idle], 1000)] == [40, 20]
    with pytest.raises(ValueError, match="without a point"):
        allocate([[]], 1)


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0.5, 2)), min_size=1, max_size=20), st.floats(0, 1e5))
@settings(deadline=None)
def test_an_estimate_lies_in_its_interval(pairs: list[tuple[float, float]], more: float) -> None:
    samples = [Sample(size, size * rate) for size, rate in pairs]
    found = estimate_cost(samples, sum(s.size for s in samples) + more)
    assert found is not None
    assert found.low <= found.cpu_s <= found.high
    assert 0.49 * (sum(s.size for s in samples) + more) <= found.cpu_s <= 2.01 * (sum(s.size for s in samples) + more)


def test_samples_of_all_leave_no_doubt() -> None:
    samples = [Sample(10, 5), Sample(20, 30)]
    found = estimate_cost(samples, 30)
    assert found is not None
    assert found.low == pytest.approx(found.cpu_s) == pytest.approx(35) == pytest.approx(found.high)
    assert estimate_cost([], 30) is None


@given(st.integers(0, 1000), st.integers(1, 50))
@settings(deadline=None)
def test_samples_are_spread_out(count: int, wanted: int) -> None:
    found = spread_out(count, wanted)
    assert len(found) == len(set(found)) == min(count, wanted)
    assert all(0 <= i < count for i in found)
