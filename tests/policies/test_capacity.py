"""Which capacity looks: what a look costs against what it gets wrong, learned on the camera."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.policies.base import Rung
from everyframe.policies.capacity import ADDS, EXPECTED, FULL, SELDOM, Capacities, look_of


def made(*rungs: Rung, mode="causal") -> Capacities:
    out = Capacities(mode)
    out.offer(rungs)
    return out


def test_without_others_the_full_one_looks_and_nothing_is_compared():
    alone = made()
    alone.looked(0.5, 10)
    assert alone.is_alone and alone.choose() is FULL and alone.due() == ()


def test_one_that_costs_as_much_is_left_out():
    assert made(Rung("detect@dear", 1.0)).is_alone


@pytest.mark.parametrize(("error", "expected"), [(0.0, "detect@fast"), (0.05, "detect@fast"), (EXPECTED, "detect@fast"), (0.12, "detect"), (0.5, "detect")])
def test_it_is_worth_it_as_long_as_its_errors_leave_room(error, expected):
    """At a third of the cost: up to two thirds of the errors that are expected between looks."""
    assert made(Rung("detect@fast", 0.33, "whole", error)).choose().name == expected
    assert (0.33 / (1 - ADDS * error / EXPECTED) < 1) == (expected == "detect@fast") or ADDS * error >= EXPECTED


@settings(deadline=None)
@given(
    costs=st.lists(st.floats(0.01, 2.0), max_size=4), errors=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    expected=st.floats(0, 1), looks=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 300)), max_size=30),
)  # fmt: skip
def test_the_choice_is_never_dearer_than_the_full_one_at_equal_accuracy(costs, errors, expected, looks):
    rungs = [Rung(f"detect@{i}", cost, "whole", errors[i]) for i, cost in enumerate(costs)]
    capacities = made(*rungs)
    capacities.expected = expected
    for agreement, frames in looks:
        capacities.looked(agreement, frames)
        chosen = capacities.choose()
        assert chosen is FULL or chosen.cost < 1
        assert chosen is capacities.current
        assert chosen is FULL or ADDS * capacities.error(chosen) < 1


def test_a_camera_on_which_it_is_wrong_is_learned_and_forgotten():
    capacities = made(Rung("detect@fast", 0.3, "whole", 0.02))
    assert capacities.choose().name == "detect@fast"
    before = capacities.error(capacities.current)
    capacities.compared("detect@fast", 20, 100)  # 40 of 100 agree
    assert capacities.error(capacities.offered[0]) > 0.4 > before == pytest.approx(0.02)
    assert capacities.choose() is FULL
    capacities.reset()
    assert capacities.choose().name == "detect@fast"


def test_a_comparison_of_empty_pictures_says_nothing():
    capacities = made(Rung("detect@fast", 0.3, "whole", 0.02))
    capacities.compared("detect@fast", 0, 0)
    assert capacities.error(capacities.offered[0]) == pytest.approx(0.02)


def test_tracks_that_drift_make_room_for_a_cheaper_one():
    capacities = made(Rung("detect@fast", 0.3, "whole", 0.12))
    assert capacities.choose() is FULL
    for _ in range(40):
        capacities.looked(0.4, 20)
    assert capacities.choose().name == "detect@fast"
    for _ in range(80):
        capacities.looked(1.0, 20)
    assert capacities.choose() is FULL


def test_at_every_frame_only_the_full_one_is_without_error():
    capacities = made(Rung("detect@fast", 0.3, "whole", 0.05))
    capacities.expected = 0.0
    for _ in range(60):
        capacities.looked(0.8, 1)
    assert capacities.choose() is FULL


def test_comparisons_grow_rare_but_never_end():
    capacities = made(Rung("detect@fast", 0.3))
    at = []
    for look in range(300):
        capacities.looked(0.9, 5)
        if capacities.due():
            at.append(look)
    gaps = [b - a for a, b in pairwise(at)]
    assert at[0] == 0 and gaps == sorted(gaps) and gaps[-1] == SELDOM and len(at) < 12


def test_records_tell_which_capacity_looked():
    assert look_of(FULL, "new motion").reason == "new motion"
    decision = look_of(Rung("detect@fast", 0.3), "long ago")
    assert (decision.rung, decision.reason) == ("detect@fast", "long ago, by fast")


def test_an_unknown_agreement_is_no_disagreement():
    a, b = made(Rung("detect@fast", 0.3, "whole", 0.02)), made(Rung("detect@fast", 0.3, "whole", 0.02))
    a.looked(math.nan, 1 << 30)
    assert a.choose() == b.choose()
