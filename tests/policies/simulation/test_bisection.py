"""Halving the gaps between looks."""

from __future__ import annotations

import numpy as np
import pytest
from tracing import drawn_table

from everyframe.policies.simulation.baselines import play, stride
from everyframe.policies.simulation.bisection import GAP, Gaps, along, halve
from everyframe.policies.training.bisection import Settings, train


@pytest.fixture(scope="module")
def gaps() -> Gaps:
    return Gaps.of(drawn_table(120, 32, seed=3))


def test_without_halving_it_is_a_stride(gaps: Gaps) -> None:
    looks = list(range(0, len(gaps), 8))
    fixed = play(gaps.table, stride(8), "stride:8", lookahead=True)
    mine = along(gaps.edges, looks)
    assert mine.looks == fixed.looks
    assert mine.cost == pytest.approx(fixed.cost, rel=1e-3)
    assert mine.f1 == pytest.approx(fixed.f1, abs=1e-3)


def test_halving_everything_looks_everywhere(gaps: Gaps) -> None:
    point = halve(gaps, lambda k, d, x: True, 16)
    assert point.looks == len(gaps)
    assert point.f1 == pytest.approx(1.0)


def test_halving_where_errors_are_beats_halving_where_none_are(gaps: Gaps) -> None:
    median = float(np.nanmedian(gaps.error[:, 16]))
    worse = halve(gaps, lambda k, d, x: d == 16 and gaps.error[k, d] < median, 16)
    better = halve(gaps, lambda k, d, x: d == 16 and gaps.error[k, d] >= median, 16)
    assert better.f1 > worse.f1


def test_features_are_named_and_finite(gaps: Gaps) -> None:
    seen: list[np.ndarray] = []
    halve(gaps, lambda k, d, x: seen.append(x) is None and d > 4, 32)
    x = np.array(seen)
    assert x.shape[1] == len(GAP)
    assert np.isfinite(x).all()
    assert (x >= 0).all()


def test_a_network_halves_more_where_errors_are_dearer(gaps: Gaps) -> None:
    net = train([gaps], Settings(fitting=100, steps=20, roots=8))
    cheap, dear = (halve(gaps, net.halves(price), 16) for price in (0.05, 20.0))
    assert dear.looks > cheap.looks
    assert dear.f1 > cheap.f1


def test_equal_seeds_give_equal_networks(gaps: Gaps) -> None:
    few = Settings(fitting=20, steps=5, roots=8)
    a, b = train([gaps], few), train([gaps], few)
    assert all((x == y).all() for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
