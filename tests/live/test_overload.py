"""Overload: cheaper at once, dearer slowly, and no swinging to and fro."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from everyframe.pipeline.live.overload import CALM_S, MOST_CALM_S, NAMES, Overload, Pressure

PRESSURES = st.builds(Pressure, st.floats(0, 20), st.floats(0, 1), st.floats(0, 4))
STEP_S = 0.2


def run(state: Overload, pressures: list[Pressure], start: float = 0.0) -> list[Overload]:
    states = []
    for number, pressure in enumerate(pressures):
        state = state.step(start + number * STEP_S, pressure)
        states.append(state)
    return states


@settings(deadline=None)
@given(st.lists(PRESSURES, max_size=200))
def test_levels_are_bounded_and_left_one_at_a_time(pressures: list[Pressure]) -> None:
    levels = [0, *(state.level for state in run(Overload(), pressures))]
    assert all(0 <= level < len(NAMES) for level in levels)
    assert all(after >= before - 1 for before, after in pairwise(levels))


@settings(deadline=None)
@given(st.lists(PRESSURES, max_size=100))
def test_calm_always_brings_it_back(pressures: list[Pressure]) -> None:
    state = (run(Overload(), pressures) or [Overload()])[-1]
    calm = int((len(NAMES) * MOST_CALM_S + 1) / STEP_S) + len(NAMES)
    assert run(state, [Pressure()] * calm, 100.0)[-1].level == 0


def test_it_falls_at_once_and_comes_back_slowly() -> None:
    state = Overload().step(0.0, Pressure(lag_s=5.0))
    assert state.level == 4 and state.drops_groups and state.keys_only and not state.audits
    states = run(state, [Pressure()] * 100, 0.2)
    left = [number * STEP_S for number, (a, b) in enumerate(pairwise([state, *states])) if b.level < a.level]
    assert len(left) == 4
    assert all(after - before >= CALM_S - 1e-6 for before, after in pairwise(left))
    assert states[-1].level == 0 and left[-1] < 15.0


@settings(deadline=None)
@given(st.floats(0.05, 5.0))
def test_a_load_that_grows_without_bound_reaches_the_last_level(growth: float) -> None:
    lag, state, now = 0.0, Overload(), 0.0
    while now < 100.0:
        lag += growth * STEP_S
        now += STEP_S
        state = state.step(now, Pressure(lag))
    assert state.level == 4


def constant(work: tuple[float, ...], seconds: float, by_cpu: bool) -> list[int]:
    """Levels under a constant load. work: CPU seconds that a second of video takes at each level."""
    state, now, lag, levels = Overload(), 0.0, 0.0, []
    while now < seconds:
        busy = work[state.level]
        lag = max(0.0, lag + (busy - 1) * STEP_S)
        lag = 0.0 if state.drops_groups else lag
        now += STEP_S
        state = state.step(now, Pressure(over=busy) if by_cpu else Pressure(lag))
        levels.append(state.level)
    return levels


WORKS = st.lists(st.floats(0.1, 3.0), min_size=5, max_size=5).map(lambda work: tuple(sorted(work, reverse=True)))


@settings(deadline=None, max_examples=60)
@example((2.0, 2.0, 2.0, 1.125, 1.0), False)  # the lag takes long to grow after each return
@given(WORKS, st.booleans())
def test_a_constant_load_is_not_followed_to_and_fro(work: tuple[float, ...], by_cpu: bool) -> None:
    levels = constant(work, 1800.0, by_cpu)
    last = levels[len(levels) * 2 // 3 :]  # 10 minutes, after 20 in which patience is learnt
    rises = sum(after > before for before, after in pairwise(last))
    assert rises <= 10 + 4  # at most one return and its rises each minute of patience


def test_a_level_that_bears_the_load_is_kept() -> None:
    levels = constant((1.5, 1.2, 0.9, 0.5, 0.2), 600.0, by_cpu=True)
    late = levels[len(levels) // 2 :]
    assert sum(level == 2 for level in late) > 0.8 * len(late)
