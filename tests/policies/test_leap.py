"""What stretches teach a stream about leaving others out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.policies.base import PacketFacts
from everyframe.policies.features import PACKET
from everyframe.policies.leap import CHECKED, PRIOR, LeapRule, Stretch, level_of
from everyframe.policies.learned import Learned
from everyframe.policies.motion import Motion

STRETCHES = st.builds(Stretch, st.sampled_from(["empty", "alike"]), st.floats(0, 12))


def test_a_level_is_that_of_the_packets_between() -> None:
    packets = [PacketFacts(i, size, size > 5000, "P", True, float(i)) for i, size in enumerate([9000, 99, 0, 99])]
    assert level_of(packets, 1.0) == (pytest.approx(2 * math.log(100) / 3), 2)
    assert level_of(packets[:1], 1.0) == (0.0, -1)


def test_a_second_of_large_packets_is_seen_in_a_long_stretch() -> None:
    sizes = [99] * 190 + [9999] * 10 + [99] * 200
    packets = [PacketFacts(i, size, False, "P", True, i / 10) for i, size in enumerate(sizes)]
    assert level_of(packets, 40.0) == (pytest.approx(math.log(10_000)), 195)
    assert level_of(packets[:190], 19.0)[0] == pytest.approx(math.log(100))


def test_quiet_stretches_that_lost_nothing_are_left_and_loud_ones_are_not() -> None:
    rule = LeapRule()
    quiet, loud = Stretch("empty", 3.0), Stretch("empty", 6.0)
    assert not rule.leaves(quiet, 10.0)  # nothing is known yet
    for _ in range(4):
        rule.learn(quiet, 0.0)
        rule.learn(loud, 0.5)
    assert rule.expect(quiet)[0] < 0.05 and rule.expect(loud)[0] > 0.3 and rule.expect(loud)[1] == 4
    assert rule.leaves(quiet, 0.1) and not rule.leaves(loud, 0.1)
    assert not rule.leaves(Stretch("alike", 3.0), 0.1)  # which nothing is known of


def test_what_changed_is_followed_whatever_was_learned() -> None:
    rule = LeapRule()
    rule.learn(Stretch("changed", 3.0), 0.0)
    assert not rule.leaves(Stretch("changed", 3.0), 1e9)


def test_some_are_followed_to_see_what_is_missed() -> None:
    rule = LeapRule()
    for _ in range(20):
        rule.learn(Stretch("alike", 3.0), 0.0)
    left = [rule.leaves(Stretch("alike", 3.0), 0.1) for _ in range(5 * CHECKED)]
    assert left.count(False) == 5


@given(known=st.lists(st.tuples(STRETCHES, st.floats(0, 5)), max_size=100), new=STRETCHES)
@settings(deadline=None)
def test_what_is_expected_lies_between_what_was_seen(known: list[tuple[Stretch, float]], new: Stretch) -> None:
    rule = LeapRule()
    for stretch, wrong in known:
        rule.learn(stretch, wrong)
    seen = [wrong for stretch, wrong in known if stretch.ends == new.ends]
    wrong, known = rule.expect(new)
    assert min([PRIOR, *seen]) - 1e-9 <= wrong <= max([PRIOR, *seen]) + 1e-9 and 0 <= known <= len(seen)


@pytest.mark.parametrize("make", [Motion, Learned])
def test_packets_that_are_left_count_as_seen(make: type[Motion | Learned]) -> None:
    """No gate is asked about them, and what is usual is known as if it had been."""
    told, asked = make(), make()
    for i in range(200):
        packet = PacketFacts(i, 1000 + i % 7, i % 40 == 0, "I" if i % 40 == 0 else "P", True, i / 10)
        told.left(packet)
        asked.gate(packet)
    large = PacketFacts(200, 50_000, False, "P", True, 20.0)
    assert _how_large(told, large) == _how_large(asked, large)
    assert _how_large(told, large) != _how_large(make(), large)


def _how_large(policy: Motion | Learned, packet: PacketFacts) -> list[float]:
    """What the policy makes of a packet's size."""
    if isinstance(policy, Motion):
        return [policy._learn_size(packet)]
    seen: list[float] = policy._watch.gate(packet)[-len(PACKET) :].tolist()
    return seen
