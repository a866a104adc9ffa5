"""One connection to a camera, from packets to frames with motion fields, and when each of them arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.fields import FieldBuilder, FieldSlot
from everyframe.pipeline.live.inbox import shows_frame
from everyframe.pipeline.live.types import Arrival
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.records import Packet, PacketSource, SourceInfo

MOST_OPEN = 4096
"""Packets whose frames have not come yet; a decoder that gives so few is not waited for."""


@dataclass(frozen=True, slots=True)
class Came:
    """When a frame's packet arrived, and whether its picture may be damaged."""

    at: float
    since: float
    is_suspect: bool


class LiveSession:
    """Decodes one connection. `push` its packets in order, then `finish` once; each gives frames in display order.

    taken, given: packets in that show a frame, frames out; what differs after `finish` was never a picture.
    """

    def __init__(self, source: PacketSource, meter: Meter) -> None:
        self.source = source
        self.taken = 0
        self.given = 0
        self._decoder = Decoder(source)
        self._fields = FieldBuilder(source.info)
        self._meter = meter
        self._open: dict[int, Came] = {}
        self._last = Came(0.0, 0.0, True)
        self._last_index = -1
        self._told = 0

    @property
    def info(self) -> SourceInfo:
        return self.source.info

    def newly_decoded(self) -> int:
        """Frames decoded since this was last asked."""
        before, self._told = self._told, self._decoder.decoded
        return self._told - before

    @property
    def must_decode(self) -> bool:
        return self._decoder.must_decode

    def is_gap(self, packet: Packet) -> bool:
        """Whether packets before this one were left out on the way here."""
        return self._last_index >= 0 and packet.facts.index != self._last_index + 1

    def push(self, arrival: Arrival, decode: bool) -> Iterator[tuple[FieldSlot, Came]]:
        """Takes a packet; the frames whose turn has come. The iterator must be exhausted before the next call."""
        packet = arrival.packet
        assert packet is not None
        self.taken += shows_frame(self.source, packet)
        self._last_index = packet.facts.index
        self._last = self._open[packet.facts.index] = Came(arrival.at, arrival.since, arrival.is_suspect)
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        for slot in self._decoder.push(packet, decode):
            with self._meter.step("motion"):
                items = self._fields.push(slot)
            yield from self._given(items)

    def finish(self) -> Iterator[tuple[FieldSlot, Came]]:
        """The frames that are left."""
        try:
            slots = self._decoder.finish()
        except SourceError:  # nothing of it could be decoded: its packets are counted, not shown
            slots = []
        items = [item for slot in slots for item in self._fields.push(slot)]
        yield from self._given([*items, *self._fields.finish()])

    def _given(self, items: list[FieldSlot]) -> Iterator[tuple[FieldSlot, Came]]:
        for item in items:
            self.given += 1
            yield item, self._open.pop(item.slot.facts.index, self._last)
