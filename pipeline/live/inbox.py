"""Between a camera's socket and its worker: bounded in frames and bytes, and never in the socket's way.

When it is full, the oldest whole group of pictures goes, so that what is left can be decoded. After a gap the consumer gets
the same connection as another session object, with a codec of its own: decoding starts anew at a key packet.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

from everyframe.pipeline.live.types import DROPPED, RECEIVED, Arrival, Counter
from everyframe.pipeline.records import Packet, PacketSource

OVERLOAD = DROPPED + "overload"


@runtime_checkable
class Renewable(Protocol):
    """A session that can begin anew in the middle of its connection."""

    def anew(self) -> Self: ...


def shows_frame(session: PacketSource, packet: Packet) -> bool:
    """Whether the decoder gives a packet a place in display order: the packets that are counted."""
    return not (packet.is_discard or (packet.facts.picture == "?" and session.info.codec == "h264"))


class Inbox:
    """Thread-safe. most_frames, most_bytes: of packets that wait. counts: gets `received` for each packet that shows a frame,
    when it is put, and `dropped.overload` for each of those that is let go."""

    def __init__(self, most_frames: int, most_bytes: int, counts: Counter) -> None:
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self._counts = counts
        self._waiting: deque[Arrival] = deque()
        self._changed = threading.Condition()
        self._frames = 0
        self._bytes = 0
        self._awaits_key: PacketSource | None = None  # of this session nothing is taken before its next key packet
        self._broken: PacketSource | None = None  # in this session there is a gap before what waits
        self._renewed: tuple[PacketSource, PacketSource] | None = None

    @property
    def frames(self) -> int:
        """Packets that wait."""
        return self._frames

    @property
    def bytes(self) -> int:
        """Their size."""
        return self._bytes

    @property
    def lag_s(self) -> float:
        """Age of the oldest packet that waits, 0 where none does."""
        with self._changed:
            oldest = next((a.since for a in self._waiting if a.packet is not None), None)
        return 0.0 if oldest is None else max(0.0, time.monotonic() - oldest)

    def put(self, arrival: Arrival) -> None:
        """Takes what came; never waits."""
        with self._changed:
            if arrival.packet is not None:
                if shows_frame(arrival.session, arrival.packet):
                    self._counts.add(RECEIVED)
                if self._is_useless(arrival):
                    self._count_dropped([arrival])
                    return
            self._append(arrival)
            while self._is_full() and self._drop_group():
                pass
            self._changed.notify()

    def get(self, timeout: float) -> Arrival | None:
        """The oldest arrival; None where none came within `timeout` seconds."""
        with self._changed:
            if not self._waiting and not self._changed.wait_for(lambda: bool(self._waiting), timeout):
                return None
            arrival = self._waiting.popleft()
            if arrival.packet is not None:
                self._frames -= 1
                self._bytes -= arrival.packet.facts.size
            return self._renew(arrival)

    def drop_groups(self, n: int) -> int:
        """Lets the oldest `n` whole groups of pictures go; returns how many there were to let go."""
        with self._changed:
            return sum(self._drop_group() for _ in range(n))

    def _append(self, arrival: Arrival) -> None:
        self._waiting.append(arrival)
        if arrival.packet is not None:
            self._frames += 1
            self._bytes += arrival.packet.facts.size

    def _is_useless(self, arrival: Arrival) -> bool:
        """What it is predicted from was let go."""
        if self._awaits_key is not arrival.session:
            self._awaits_key = None
            return False
        if not _is_entry(arrival):
            return True
        self._awaits_key = None
        return False

    def _is_full(self) -> bool:
        return self._frames > self._most_frames or self._bytes > self._most_bytes

    def _drop_group(self) -> bool:
        """Lets the oldest group go, up to the next packet with which decoding can begin; ends of sessions stay."""
        first = next((i for i, a in enumerate(self._waiting) if a.packet is not None), None)
        if first is None:
            return False
        session = self._waiting[first].session
        end = first + 1
        while end < len(self._waiting) and not self._begins(self._waiting[end], session):
            end += 1
        gone = [self._waiting[i] for i in range(first, end)]
        if end == len(self._waiting):  # the rest of this group is still to come
            self._awaits_key = session
        self._broken = session
        for _ in range(end):
            self._waiting.popleft()
        self._frames -= len(gone)
        self._bytes -= sum(a.packet.facts.size for a in gone if a.packet is not None)
        self._count_dropped(gone)
        return True

    @staticmethod
    def _begins(arrival: Arrival, session: PacketSource) -> bool:
        return arrival.packet is None or arrival.session is not session or _is_entry(arrival)

    def _count_dropped(self, gone: list[Arrival]) -> None:
        count = sum(shows_frame(a.session, a.packet) for a in gone if a.packet is not None)
        if count:
            self._counts.add(OVERLOAD, count)

    def _renew(self, arrival: Arrival) -> Arrival:
        """Puts the session that began after a gap in the place of the connection's first one."""
        session = arrival.session
        if self._broken is session and arrival.packet is not None:
            self._broken = None
            if isinstance(session, Renewable):
                self._renewed = session, session.anew()
        if self._renewed is None:
            return arrival
        if self._renewed[0] is session:
            return replace(arrival, session=self._renewed[1])
        self._renewed = None
        return arrival


def _is_entry(arrival: Arrival) -> bool:
    return arrival.packet is not None and (arrival.packet.facts.is_key or arrival.is_entry)
