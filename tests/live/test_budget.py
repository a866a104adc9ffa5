"""One CPU budget: what is left is the CNN's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.pipeline.live.budget import LEAST_SHARE, shares


@given(st.floats(0.05, 256), st.floats(-1, 1000))
def test_the_cnn_gets_something_and_never_more_than_all(cpus: float, cameras: float) -> None:
    found = shares(cpus, cameras)
    assert LEAST_SHARE * cpus <= found.cnn <= cpus
    assert found.over >= 0


@given(st.floats(0.1, 64), st.floats(0, 64), st.floats(0, 64))
def test_more_for_cameras_is_less_for_the_cnn(cpus: float, one: float, other: float) -> None:
    low, high = shares(cpus, min(one, other)), shares(cpus, max(one, other))
    assert high.cnn <= low.cnn and high.over >= low.over


@given(st.floats(0.1, 64), st.floats(0, 1))
def test_cameras_within_their_part_are_left_alone(cpus: float, share: float) -> None:
    found = shares(cpus, share * (1 - LEAST_SHARE) * cpus)
    assert found.over <= 1 + 1e-9
    assert found.cnn + share * (1 - LEAST_SHARE) * cpus <= cpus * (1 + 1e-9)


def test_no_budget() -> None:
    with pytest.raises(ValueError, match="give more than 0"):
        shares(0.0, 1.0)
