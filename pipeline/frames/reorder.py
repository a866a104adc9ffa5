"""Slots of packets, put into display order and let go as soon as no earlier one can come."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum, auto

from everyframe.pipeline.records import Frame
from everyframe.policies.base import PacketFacts

MOST_REORDERED = 16
"""H.264 and HEVC let at most 16 pictures be decoded before a picture that is shown before all of them."""


class State(Enum):
    SKIPPED = auto()  # its slot is an undecoded frame
    FED = auto()  # in the decoder
    DECODED = auto()
    EMPTY = auto()  # the decoder gave no frame: no slot


@dataclass(slots=True, eq=False)
class Entry:
    """A packet on its way to a slot. has_slot: False where a full decode shows nothing either (edit lists).

    is_lost: its pictures to predict from were left out. is_after_gap: fed when earlier packets of the stream had been
    left out and no frame had come since.
    """

    facts: PacketFacts
    pts: int | None
    has_slot: bool
    state: State = State.SKIPPED
    has_left: bool = False
    is_lost: bool = False
    is_after_gap: bool = False
    frame: Frame | None = None
    demux_ms: float = 0.0
    decode_ms: float = 0.0


class Reorder:
    """A heap by pts. Times of all entries must be known."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Entry]] = []
        self._bound: int | None = None

    def add(self, entry: Entry) -> None:
        assert entry.pts is not None
        heapq.heappush(self._heap, (entry.pts, entry.facts.index, entry))

    def advance(self, dts: int | None) -> None:
        """Later packets have a larger dts than this one, and are not shown before their dts."""
        if dts is not None and (self._bound is None or dts > self._bound):
            self._bound = dts

    def settle(self, before: int | None) -> None:
        """The decoder gave out the frame shown at `before`, or (None) all that it had: what it did not give of what
        is shown earlier, it never will."""
        for pts, _, entry in self._heap:
            if entry.state is not State.FED:
                continue
            if before is None or pts < before:
                entry.state = State.SKIPPED if entry.is_after_gap else State.EMPTY
            else:
                entry.is_after_gap = False  # the decoder has found its way

    def fed(self, pts: int | None) -> Entry | None:
        """The entry in the decoder with this pts."""
        return next((e for p, _, e in self._heap if p == pts and e.state is State.FED), None)

    def pop_ready(self) -> list[Entry]:
        """Entries whose turn it is, in display order."""
        ready: list[Entry] = []
        while self._heap and self._heap[0][2].state is not State.FED:
            is_first = self._bound is not None and self._heap[0][0] <= self._bound
            if not is_first and len(self._heap) <= MOST_REORDERED:
                break
            self._pop(ready)
        return ready

    def pop_all(self) -> list[Entry]:
        """All entries that are not in the decoder."""
        ready: list[Entry] = []
        waiting = [item for item in self._heap if item[2].state is State.FED]
        self._heap = [item for item in self._heap if item[2].state is not State.FED]
        heapq.heapify(self._heap)
        while self._heap:
            self._pop(ready)
        heapq.heapify(waiting)
        self._heap = waiting
        return ready

    def _pop(self, ready: list[Entry]) -> None:
        entry = heapq.heappop(self._heap)[2]
        if entry.state is not State.EMPTY:
            entry.has_left = True
            ready.append(entry)
