"""Whose turn it is: by value per cost, and nobody starves."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.live.schedule import Turns, Waiting, pick, too_old

NAMES = st.sampled_from("abcdefgh")
ONES = st.builds(Waiting, NAMES, st.floats(0, 100), st.floats(0, 50), st.floats(0.1, 500))


def test_the_best_value_for_its_cost_goes_first() -> None:
    waiting = [Waiting("a", 0, 4, 40), Waiting("b", 0, 3, 20), Waiting("c", 0, 1, 20)]
    found = pick(waiting, Turns(), 0.0)
    assert found is not None and found.camera == "b"


def test_who_waited_too_long_goes_before_any_value() -> None:
    turns = Turns().asked("calm", 0.0).asked("busy", 3.0)
    waiting = [Waiting("busy", 3.0, 100.0, 1.0), Waiting("calm", 3.9, 0.0, 50.0)]
    early, late = pick(waiting, turns, 3.9, floor_s=4.0), pick(waiting, turns, 4.1, floor_s=4.0)
    assert early is not None and late is not None
    assert (early.camera, late.camera) == ("busy", "calm")


def test_nothing_waits() -> None:
    assert pick([], Turns(), 1.0) is None


@settings(deadline=None)
@given(st.lists(ONES, unique_by=lambda one: one.camera), st.randoms())
def test_order_of_arrival_decides_nothing(waiting: list[Waiting], rng: random.Random) -> None:
    turns = Turns()
    for one in waiting:
        turns = turns.asked(one.camera, one.since)
    shuffled = waiting[:]
    rng.shuffle(shuffled)
    assert pick(waiting, turns, 100.0) == pick(shuffled, turns, 100.0)


@settings(deadline=None)
@given(
    st.dictionaries(NAMES, st.tuples(st.floats(0, 50), st.floats(1, 500)), min_size=1),
    st.floats(0.01, 0.5),
    st.floats(0.1, 4.0),
)
def test_no_camera_starves(cameras: dict[str, tuple[float, float]], look_s: float, floor_s: float) -> None:
    """All ask for ever, again as soon as they were served: each is served again within the floor and a round of looks."""
    turns, now, last = Turns(), 0.0, dict.fromkeys(cameras, 0.0)
    for _ in range(200):
        for name in cameras:
            turns = turns.asked(name, now)
        best = pick((Waiting(name, now, *of) for name, of in cameras.items()), turns, now, floor_s)
        assert best is not None
        turns = turns.served(best.camera)
        assert now - last[best.camera] <= floor_s + (len(cameras) + 1) * look_s + 1e-6
        now += look_s
        last[best.camera] = now
    assert all(now - since <= floor_s + (len(cameras) + 1) * look_s + 1e-6 for since in last.values())


@settings(deadline=None)
@given(st.lists(ONES), st.floats(0, 200), st.floats(0.1, 10))
def test_what_is_too_old(waiting: list[Waiting], now: float, most: float) -> None:
    assert too_old(waiting, now, most) == [one for one in waiting if now - one.since > most]


def test_asking_again_does_not_lose_its_place() -> None:
    turns = Turns().asked("a", 1.0).asked("a", 5.0)
    assert turns.hungry == {"a": 1.0}
    assert turns.served("a").asked("a", 6.0).hungry == {"a": 6.0}
