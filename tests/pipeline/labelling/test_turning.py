"""Beliefs of when an object came or went: against sums over all turns, and on pictures that tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everyframe.operators.types import MotionField, Objects
from everyframe.pipeline.labelling.lookahead import Strands, both_ways
from everyframe.pipeline.labelling.tracks import TrackKeeper
from everyframe.pipeline.labelling.turning import Beliefs, believe

SIZE = WIDTH, HEIGHT = 320, 240
STILL = MotionField.still(WIDTH, HEIGHT)
HERE, FAR = [40, 40, 80, 120], [200, 40, 240, 120]


def seen(*boxes: list[float], score: float = 0.9) -> Objects:
    return Objects.of(np.reshape(boxes, (-1, 4)), [score] * len(boxes), [0] * len(boxes))


def strands_of(first: Objects, last: Objects, steps: int) -> Strands:
    keeper = TrackKeeper(np.zeros(3, np.int32), 0.45)
    keeper.look(first, 0)
    return Strands.of(both_ways(keeper, keeper.state, [STILL] * steps, last), last, 0.45)


def luma(shows: bool) -> np.ndarray:
    """A grey picture in which something stands at HERE, or nothing."""
    out = np.full((HEIGHT, WIDTH), 128, np.uint8)
    out[:, np.arange(WIDTH) % 16 < 8] = 100
    if shows:
        out[40:80, 40:80], out[80:120, 40:60] = 30, 220
    return out


def least_errors(chance: np.ndarray, wrong: np.ndarray) -> float:
    """Expected errors of the best turn, over all turns."""
    return min(float((chance * np.abs(wrong - w)).sum()) for w in wrong)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 20), st.data())
def test_sums_are_those_over_all_turns(n, data):
    chance = data.draw(hnp.arrays(np.float64, n, elements=st.floats(0.01, 1)))
    differs = data.draw(hnp.arrays(np.bool_, n - 1))
    chance, wrong = chance / chance.sum(), np.concatenate([[0], np.cumsum(differs)])
    none = np.zeros(1, np.bool_)
    beliefs = Beliefs(
        chance[:, None].astype(np.float32), wrong[:, None].astype(np.float32), none, np.zeros((n + 1, 1), np.bool_)
    )
    until = int(beliefs.turns().until[0])
    if differs.any():
        assert (chance * np.abs(wrong - wrong[until])).sum() == pytest.approx(least_errors(chance, wrong), abs=1e-3)
    assert beliefs.errors() == pytest.approx(least_errors(chance, wrong), abs=1e-3)
    for m, saved in enumerate(beliefs.saved()[:, 0], start=1):
        after = least_errors(chance[:m], wrong[:m]) + least_errors(chance[m:], wrong[m:])
        assert saved == pytest.approx(least_errors(chance, wrong) - after, abs=1e-3)
        assert 0 <= saved <= beliefs.errors() + 1e-3


def test_looks_that_agree_leave_no_question():
    assert believe(strands_of(seen(HERE, FAR), seen(HERE, FAR), 10), [luma(True)] * 11, 0.45, SIZE) is None
    assert believe(strands_of(seen(HERE), seen(FAR), 1), [luma(True)] * 2, 0.45, SIZE) is None
    some = believe(strands_of(seen(HERE, FAR), seen(HERE), 10), [luma(True)] * 11, 0.45, SIZE)
    assert some is not None and (some.saved() > 0).any(0).tolist() == [False, True]
    assert some.turns().until[0] == 5 and some.turns().sharp.tolist() == [False, True]


@pytest.mark.parametrize("last", [4, 8, 12])
def test_pictures_tell_when_it_went_and_when_it_came(last):
    shows = [step <= last for step in range(21)]
    went = believe(strands_of(seen(HERE), seen(), 20), [luma(s) for s in shows], 0.45, SIZE)
    came = believe(strands_of(seen(), seen(HERE), 20), [luma(s) for s in shows[::-1]], 0.45, SIZE)
    assert went.turns().sharp.all() and came.turns().sharp.all()
    assert abs(went.turns().until[0] - last) <= 3
    assert abs(came.turns().until[0] - (19 - last)) <= 3
    assert went.errors() == pytest.approx(came.errors(), abs=0.05)
    blind = believe(strands_of(seen(HERE), seen(), 20), [None] * 21, 0.45, SIZE)
    assert went.errors() < blind.errors() and 5 <= blind.turns().until[0] <= 15


def test_small_pictures_tell_it_too():
    whole = [luma(step <= 8).reshape(HEIGHT // 4, 4, WIDTH // 4, 4) for step in range(21)]
    small = [picture.mean((1, 3)).astype(np.uint8) for picture in whole]
    went = believe(strands_of(seen(HERE), seen(), 20), small, 0.45, SIZE)
    assert went is not None and abs(went.turns().until[0] - 8) <= 3


def test_between_pictures_in_memory_it_goes_on():
    shown = [luma(step <= 10) if step % 3 == 0 else None for step in range(21)]
    went = believe(strands_of(seen(HERE), seen(), 20), shown, 0.45, SIZE)
    assert abs(went.turns().until[0] - 10) <= 4


def test_an_object_that_is_not_reported_is_no_question():
    assert believe(strands_of(seen(), seen(HERE, score=0.3), 8), [luma(True)] * 9, 0.45, SIZE) is None


def test_what_left_the_picture_is_no_question():
    keeper = TrackKeeper(np.zeros(3, np.int32), 0.45)
    keeper.look(seen([280, 40, 318, 120]), 0)
    fast = MotionField(np.full_like(STILL.motion, (40, 0)), STILL.known, 8, *SIZE)
    paths = both_ways(keeper, keeper.state, [fast] * 6, seen())
    assert believe(Strands.of(paths, seen(), 0.45), [luma(True)] * 7, 0.45, SIZE) is None


def test_ways_that_do_not_meet_turn_once_from_one_to_the_other():
    last = seen([64, 40, 104, 120])  # overlaps, and too little to be a box moved on
    strands = strands_of(seen(HERE), last, 10)
    assert len(strands) == 1
    lumas = [luma(step <= 3) for step in range(11)]
    beliefs = believe(strands, lumas, 0.45, SIZE)
    assert beliefs.apart[1:10].all() and not beliefs.sharp[0] and beliefs.errors() > 0
    assert beliefs.turns().until[0] <= 5
