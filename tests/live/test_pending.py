"""Looks under way: what late answers are carried along."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.propagate import Propagate
from everyframe.operators.types import NO_TRACK, MotionField, Objects
from everyframe.pipeline.labelling.tracks import TrackState
from everyframe.pipeline.live.pending import MOST_FIELDS, Asked, Pending, carried

STEPS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=12)


def uniform(x: float, y: float) -> MotionField:
    """Everything moves by so many pixels."""
    still = MotionField.still(320, 240)
    return MotionField(still.motion + np.array((x, y), np.float32), still.known, still.cell, 320, 240)


def asked(number: int) -> Asked:
    return Asked(number, TrackState.empty(), None, True, -1)


@settings(deadline=None)
@given(STEPS)
def test_objects_go_where_the_fields_went(steps: list[tuple[int, int]]) -> None:
    box = np.array([[120, 90, 200, 150]], np.float32)
    found = carried(Objects.of(box, [0.8], [2]), [uniform(*step) for step in steps], Propagate())
    moved = np.array(steps, np.float32).reshape(-1, 2).sum(0)
    np.testing.assert_allclose(found.xyxy, box + np.tile(moved, 2), atol=0.3)
    assert found.track_id.tolist() == [NO_TRACK] and found.score.tolist() == [np.float32(0.8)]


def test_what_has_left_the_picture_ends() -> None:
    found = carried(Objects.of([[2, 90, 42, 150]], [0.8], [2]), [uniform(-8, 0)] * 10, Propagate())
    assert not len(found)


def test_looks_that_are_too_late_are_let_go() -> None:
    pending = Pending()
    pending.add(asked(0))
    pending.add(asked(5))
    for number in range(MOST_FIELDS):
        assert not pending.moved(uniform(0, 0)), number
    assert [one.number for one in pending.moved(uniform(0, 0))] == [0, 5]
    assert len(pending) == 0 and pending.pop(0) is None


def test_only_looks_count_as_looks() -> None:
    pending = Pending()
    audit = Asked(3, TrackState.empty(), Objects.empty(), False, -1)
    pending.add(audit)
    assert not pending.has_look and pending.audit is audit
    audit.is_look = True
    assert pending.has_look
