"""Waits between tries: bounded, growing, spread, the same for the same draw."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.live.backoff import HEALTHY_S, SLOW, USUAL, Pace, delay_s, failures_after

PACES = st.builds(
    Pace, first=st.floats(0.1, 10), most=st.floats(10, 600), least=st.floats(0, 0.1)
)


@settings(deadline=None)
@given(failures=st.integers(-3, 10_000), draw=st.floats(0, 1, exclude_max=True), pace=PACES)
def test_a_wait_is_never_outside_its_bounds(failures: int, draw: float, pace: Pace) -> None:
    assert pace.least <= delay_s(failures, draw, pace) <= pace.most


@settings(deadline=None)
@given(failures=st.integers(0, 100), draw=st.floats(0, 1, exclude_max=True), pace=PACES)
def test_more_failures_never_make_it_shorter(failures: int, draw: float, pace: Pace) -> None:
    assert delay_s(failures + 1, draw, pace) >= delay_s(failures, draw, pace)


def test_cameras_that_failed_together_do_not_come_back_together() -> None:
    rng = random.Random(5)
    waits = sorted(delay_s(6, rng.random()) for _ in range(400))
    assert waits[0] < 0.1 * USUAL.most and waits[-1] > 0.9 * USUAL.most  # full jitter: over the whole range
    assert 0.4 * USUAL.most < sum(waits) / 400 < 0.6 * USUAL.most


def test_a_refused_password_is_tried_seldom() -> None:
    rng = random.Random(5)
    assert min(delay_s(0, rng.random(), SLOW) for _ in range(100)) >= 15.0


def test_a_good_connection_is_forgiven_all() -> None:
    assert failures_after(9, HEALTHY_S) == 0
    assert failures_after(9, HEALTHY_S - 0.1) == 10
