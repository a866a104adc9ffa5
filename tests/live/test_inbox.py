"""The inbox: bounded, never in the way, whole groups of pictures, every packet accounted for."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import make_clip
from watching_source import Counts

from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.live.inbox import OVERLOAD, Inbox
from everyframe.pipeline.live.types import RECEIVED, Arrival, Camera
from everyframe.pipeline.records import Packet, SourceInfo
from everyframe.pipeline.sources.live import LiveSource
from everyframe.policies.base import PacketFacts

INFO = SourceInfo("cam", "", "h264", 64, 48, 0, Fraction(1, 1000), Fraction(25), None, None)


@dataclass(eq=False)
class Session:
    """A session that carries no video: the inbox looks at packets' facts only."""

    root: int
    renewals: int = 0
    info: SourceInfo = INFO
    start_pts: int | None = None
    end_pts: int | None = None
    lacks_times: bool = False
    codec_context: Any = None
    made: list[Session] = field(default_factory=list)

    def distrust(self, why: str, lacks_times: bool = False) -> None: ...

    def anew(self) -> Session:
        child = Session(self.root, self.renewals + 1)
        self.made.append(child)
        return child


def arrival(session: Session, index: int, is_key: bool, size: int = 10, picture: str = "P") -> Arrival:
    facts = PacketFacts(index, size, is_key, "I" if is_key else picture, True, index / 25)
    return Arrival(session, Packet(facts, index, index, False, None), time.time(), time.monotonic())


def everything(inbox: Inbox) -> list[Arrival]:
    out = []
    while (found := inbox.get(0)) is not None:
        out.append(found)
    return out


def numbers(arrivals: list[Arrival]) -> list[int]:
    return [a.packet.facts.index for a in arrivals if a.packet is not None]


def test_in_order_and_counted() -> None:
    counts, session = Counts(), Session(0)
    inbox = Inbox(100, 10_000, counts)
    for index in range(20):
        inbox.put(arrival(session, index, index % 5 == 0))
    assert (inbox.frames, inbox.bytes, counts[RECEIVED]) == (20, 200, 20)
    assert inbox.lag_s > 0
    out = everything(inbox)
    assert numbers(out) == list(range(20)) and all(a.session is session for a in out)
    assert (inbox.frames, inbox.bytes, inbox.lag_s, counts.dropped) == (0, 0, 0.0, 0)


def test_packets_without_a_picture_are_not_counted() -> None:
    counts = Counts()
    inbox = Inbox(10, 1000, counts)
    inbox.put(arrival(Session(0), 0, False, picture="?"))
    assert inbox.frames == 1 and counts[RECEIVED] == 0


def test_the_oldest_whole_group_goes_and_decoding_starts_anew() -> None:
    counts, session = Counts(), Session(0)
    inbox = Inbox(12, 10_000, counts)
    for index in range(13):
        inbox.put(arrival(session, index, index % 5 == 0))
    assert counts[OVERLOAD] == 5
    out = everything(inbox)
    assert numbers(out) == list(range(5, 13))
    assert out[0].packet is not None and out[0].packet.facts.is_key
    assert session.made == [out[0].session] and all(a.session is out[0].session for a in out)


def test_a_group_larger_than_the_inbox_goes_with_what_is_still_to_come() -> None:
    counts, session = Counts(), Session(0)
    inbox = Inbox(10, 10_000, counts)
    for index in range(30):
        inbox.put(arrival(session, index, index in (0, 25)))
    assert numbers(everything(inbox)) == list(range(25, 30))
    assert counts[OVERLOAD] == 25


def test_bytes_are_bounded_too() -> None:
    counts, session = Counts(), Session(0)
    inbox = Inbox(1000, 100, counts)
    for index in range(9):
        inbox.put(arrival(session, index, index % 3 == 0, size=20))
        assert inbox.bytes <= 100
    assert counts[OVERLOAD] + len(everything(inbox)) == 9


def test_groups_can_be_let_go_on_request() -> None:
    counts, session = Counts(), Session(0)
    inbox = Inbox(100, 10_000, counts)
    for index in range(12):
        inbox.put(arrival(session, index, index % 4 == 0))
    assert inbox.drop_groups(2) == 2
    assert numbers(everything(inbox)) == [8, 9, 10, 11]
    assert inbox.drop_groups(3) == 0


def test_the_end_of_a_session_is_never_let_go() -> None:
    counts, first, second = Counts(), Session(0), Session(1)
    inbox = Inbox(4, 10_000, counts)
    for index in range(3):
        inbox.put(arrival(first, index, index == 0))
    inbox.put(Arrival(first, None, 0.0, 0.0))
    for index in range(4):
        inbox.put(arrival(second, index, index == 0))
    out = everything(inbox)
    assert [a.packet is None for a in out] == [True, False, False, False, False]
    assert all(a.session is second for a in out[1:])  # nothing of the second is missing: it need not start anew


def test_get_waits_for_what_comes_and_not_for_ever() -> None:
    inbox = Inbox(10, 1000, Counts())
    assert inbox.get(0.01) is None
    timer = threading.Timer(0.1, lambda: inbox.put(arrival(Session(0), 0, True)))
    timer.start()
    found = inbox.get(30)
    timer.join()
    assert found is not None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.booleans(), st.integers(1, 40)),
        st.tuples(st.just("get"), st.just(False), st.integers(1, 6)),
        st.tuples(st.just("drop"), st.just(False), st.integers(1, 2)),
        st.tuples(st.just("end"), st.just(False), st.just(0)),
    ),
    max_size=120,
)


@settings(deadline=None, max_examples=300)
@given(steps=STEPS)
def test_whatever_happens_what_comes_out_can_be_decoded_and_nothing_is_lost_uncounted(steps: list[Any]) -> None:
    counts = Counts()
    inbox = Inbox(8, 150, counts)
    session, root, index, taken = Session(0), 0, 0, []
    for what, is_key, n in steps:
        if what == "put":
            inbox.put(arrival(session, index, is_key or index == 0, n))
            index += 1
        elif what == "get":
            taken += [a for a in (inbox.get(0) for _ in range(n)) if a is not None]
        elif what == "drop":
            inbox.drop_groups(n)
        else:
            inbox.put(Arrival(session, None, 0.0, 0.0))
            root, index = root + 1, 0
            session = Session(root)
        assert inbox.frames <= 8 and inbox.bytes <= 150
    taken += everything(inbox)
    packets = [a for a in taken if a.packet is not None]
    assert counts[RECEIVED] == len(packets) + counts[OVERLOAD]
    assert inbox.frames == inbox.bytes == 0
    seen: tuple[Session, int] | None = None
    for a in packets:
        assert isinstance(a.session, Session) and a.packet is not None
        number = a.packet.facts.index
        if seen is None or seen[0] is not a.session:
            assert a.packet.facts.is_key  # a codec of its own begins with a key packet
        else:
            assert number == seen[1] + 1  # no gap inside what one codec gets
        seen = a.session, number


@pytest.mark.parametrize("most", [1, 3])
def test_a_stalled_consumer_stalls_nobody(most: int) -> None:
    counts, session = Counts(), Session(0)
    inbox = Inbox(most, 10_000, counts)
    feeder = threading.Thread(
        target=lambda: [inbox.put(arrival(session, i, i % 10 == 0)) for i in range(5000)], daemon=True
    )
    feeder.start()
    feeder.join(60)
    assert not feeder.is_alive() and inbox.frames <= most
    assert counts[RECEIVED] == 5000


def test_after_a_real_gap_every_frame_is_decoded(tmp_path: Path) -> None:
    """A consumer that sleeps through most of a file goes on at a key packet, with the real decoder."""
    clip = make_clip(tmp_path / "a.mp4", 60, 64, 48, rate=60, gop=10, bframes=2)
    counts, states = Counts(), []
    inbox = Inbox(25, 1 << 20, counts)
    camera = Camera("cam", str(clip), realtime=True)
    source = LiveSource(camera, inbox, counts, lambda state, message: states.append(state))
    source.run()
    assert states[-1] == "stopped" and counts[OVERLOAD] >= 30 and inbox.frames <= 25
    session, decoder, slots = None, None, []
    while (found := inbox.get(0)) is not None:
        if found.session is not session:
            session, decoder = found.session, Decoder(found.session)
        assert decoder is not None
        if found.packet is not None:
            slots += decoder.push(found.packet, True)
    assert decoder is not None
    slots += decoder.finish()
    assert decoder.faults == 0 and all(slot.frame is not None and not slot.frame.is_corrupt for slot in slots)
    assert counts[RECEIVED] == 60 == len(slots) + counts[OVERLOAD]
