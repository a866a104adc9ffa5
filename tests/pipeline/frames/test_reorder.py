"""Entries leave in display order, as early as they can, and none is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.frames.reorder import MOST_REORDERED, Entry, Reorder, State
from everyframe.policies.base import PacketFacts


def entry(index: int, pts: int, state: State = State.SKIPPED) -> Entry:
    return Entry(PacketFacts(index, 100, index == 0, "P", True, pts / 10), pts, True, state)


@st.composite
def decode_orders(draw: st.DrawFn) -> list[int]:
    """Display times in decode order: each run of pictures has one that is shown last and decoded first."""
    order: list[int] = []
    while len(order) < 60:
        length = draw(st.integers(1, MOST_REORDERED))
        start = len(order)
        inner = draw(st.permutations(range(start, start + length - 1)))
        order += [start + length - 1, *inner]
    return order


@settings(deadline=None, max_examples=100)
@given(decode_orders(), st.booleans())
def test_display_order_with_and_without_decoding_times(order: list[int], has_dts: bool) -> None:
    delay = max(place - pts for place, pts in enumerate(order))
    reorder, left = Reorder(), []
    for place, pts in enumerate(order):
        reorder.add(entry(place, pts))
        reorder.advance(place - delay if has_dts else None)
        left += reorder.pop_ready()
        assert has_dts or place + 1 - len(left) <= MOST_REORDERED
    left += reorder.pop_all()
    assert [e.pts for e in left] == list(range(len(order)))
    assert all(e.has_left for e in left)


def test_a_picture_without_reordering_leaves_at_once() -> None:
    reorder = Reorder()
    for pts in range(0, 50, 10):
        reorder.add(entry(pts // 10, pts))
        reorder.advance(pts)
        assert [e.pts for e in reorder.pop_ready()] == [pts]


def test_what_is_in_the_decoder_holds_up_what_is_shown_later() -> None:
    reorder = Reorder()
    fed = entry(0, 0, State.FED)
    reorder.add(fed)
    for index in range(1, 40):
        reorder.add(entry(index, index))
        reorder.advance(index)
        assert reorder.pop_ready() == []
    assert reorder.fed(0) is fed
    fed.state = State.DECODED
    assert len(reorder.pop_ready()) == 40


def test_what_the_decoder_does_not_give_has_no_slot_unless_it_began_anew() -> None:
    reorder = Reorder()
    entries = [entry(index, index, State.FED) for index in range(4)]
    entries[1].is_after_gap = True
    for each in entries:
        reorder.add(each)
    reorder.advance(3)
    reorder.settle(2)
    assert [e.state for e in entries] == [State.EMPTY, State.SKIPPED, State.FED, State.FED]
    assert reorder.pop_ready() == [entries[1]]
    reorder.settle(None)
    assert reorder.pop_all() == []


def test_all_but_what_is_in_the_decoder() -> None:
    reorder = Reorder()
    for index in range(5):
        reorder.add(entry(index, 10 - index, State.FED if index == 2 else State.SKIPPED))
    assert [e.pts for e in reorder.pop_all()] == [6, 7, 9, 10]
    assert reorder.pop_all() == []
    assert reorder.fed(8) is not None
