"""Packets to frames: decodes what is asked for, catches up inside a group of pictures, gives one slot for every frame.

A slot leaves for each frame that decoding everything would give, in display order, whatever was skipped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import av.error
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter

from everyframe.pipeline.errors import SourceError, mask_secrets
from everyframe.pipeline.frames.pixels import VECTOR_DTYPE, frame_of, motion_of
from everyframe.pipeline.frames.reorder import MOST_REORDERED, Entry, Reorder, State
from everyframe.pipeline.records import Frame, Packet, PacketSource, Slot
from everyframe.policies.base import PacketFacts

VECTOR_CODECS = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video", "h263", "msmpeg4v2", "msmpeg4v3", "flv1"})
"""Codecs whose motion vectors FFmpeg exports."""
MOST_KEPT_BYTES = 64 << 20
"""Skipped packets kept of one group of pictures; beyond, the group is decoded up to here."""
MOST_LATE_BYTES = 96 << 20
"""Motion of frames decoded too late for their own slots, kept for the next slot; beyond, the oldest is let go."""
_side_data_of: Any = SideDataContainer  # its stub lacks the constructor
_KEPT_WITH_PIXELS = 2 * MOST_REORDERED


@dataclass(slots=True)
class Ahead:
    """A key packet that was decoded ahead. raw: the codec's frame. context: the codec as it stands after it; None where
    the frame had to be drained out of it, so that nothing can follow."""

    raw: Any
    context: Any | None


class Decoder:
    """Decodes one source. `push` each of its packets in order, then `finish` once.

    vectors: export the codec's motion vectors. loop_filter: False leaves H.264's out, for motion vectors at less
    cost. decoded: frames decoded so far. faults: packets that the decoder refused, left out as FFmpeg's tools do.
    """

    def __init__(self, source: PacketSource, vectors: bool = True, loop_filter: bool = True) -> None:
        self.decoded = 0
        self.faults = 0
        self._source = source
        self._options = _options(vectors, loop_filter)
        self._context = source.codec_context
        self.prepare(self._context)
        self._has_vectors = vectors
        self._flows = source.info.codec not in VECTOR_CODECS
        self._to_bgr = VideoReformatter()
        self._reorder = Reorder()
        self._kept: deque[tuple[Packet, Entry]] = deque()
        self._kept_bytes = 0
        self._late: deque[tuple[Frame, int]] = deque()
        self._late_bytes = 0
        self._rotation = source.info.rotation
        self._slots: list[Slot] = []
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._resumed_at: int | None = None
        self._awaits_first = source.start_pts is not None
        self._owed_ms = 0.0
        self._owed_demux_ms = 0.0

    @property
    def must_decode(self) -> bool:
        """The next packet is decoded whatever is asked: nothing has come out yet, or no packet can be skipped."""
        return self.decoded == 0 or self._source.info.decode_all is not None

    def prepare(self, context: Any) -> None:
        """Sets a codec up as this decoder's own."""
        context.options = self._options
        context.copy_opaque = True

    def push(self, packet: Packet, decode: bool, ahead: Ahead | None = None) -> list[Slot]:
        """Takes the next packet; returns the slots whose turn has come, in display order.

        decode: True wants its frame; what was skipped since the last key packet is then decoded too. ahead: a key packet that
        was decoded before; where decoding can go on from there, `ahead.context` is then the codec that is no longer needed.
        """
        entry = self._enter(packet)
        if packet.facts.is_key and self._kept:
            self._resume(packet, entry)
        entry.is_lost = self._is_lost(packet)
        if entry.is_lost:
            if packet.facts.is_reference:
                self._keep(packet, entry)
        elif ahead is not None and ahead.context is not None and self._source.info.decode_all is None:
            self._go_on_from(ahead, entry)
        elif decode or self._is_forced(packet):
            self._catch_up(entry)
            self._feed(packet, entry)
        else:
            self._keep(packet, entry)
        if self._source.info.decode_all is None:
            self._reorder.advance(packet.dts)
        self._leave(self._reorder.pop_ready())
        return self._taken()

    def finish(self) -> list[Slot]:
        """The remaining slots, once all packets are in. Raises SourceError where none of them gave a frame."""
        self._drain(None)
        self._kept.clear()
        if self.decoded == 0:
            shown = mask_secrets(self._source.info.path)
            raise SourceError(f"{shown} has no frame that can be decoded: check that it plays, or copy it again.")
        self._leave(self._reorder.pop_all())
        return self._taken()

    def _taken(self) -> list[Slot]:
        slots, self._slots = self._slots, []
        return slots

    def _enter(self, packet: Packet) -> Entry:
        """Gives the packet its place in display order, where it has one."""
        is_silent = packet.is_discard or (packet.facts.picture == "?" and self._source.info.codec == "h264")
        entry = Entry(packet.facts, packet.pts, not is_silent, demux_ms=packet.demux_ms)
        packet.data.opaque = entry
        if is_silent:
            self._owed_demux_ms += packet.demux_ms
        elif self._source.info.decode_all is None:
            self._reorder.add(entry)
        return entry

    def _is_forced(self, packet: Packet) -> bool:
        if self.must_decode or self._kept_bytes + packet.facts.size > MOST_KEPT_BYTES:
            return True
        if packet.data.is_corrupt:  # a part of it is missing: only the decoder knows if it makes a frame
            return True
        # frames shown before the first one, of an open group of pictures: only the decoder knows if it gives them
        return self._first_pts is not None and packet.pts is not None and packet.pts < self._first_pts

    def _is_lost(self, packet: Packet) -> bool:
        """Cannot be decoded: shown before the key frame that decoding went on with, it needs pictures before that."""
        if self._source.info.decode_all is not None:
            return False
        if packet.is_discard and not packet.facts.is_reference:
            return True
        return self._resumed_at is not None and packet.pts is not None and packet.pts < self._resumed_at

    def _keep(self, packet: Packet, entry: Entry) -> None:
        self._kept.append((packet, entry))
        self._kept_bytes += packet.facts.size

    def _resume(self, packet: Packet, entry: Entry) -> None:
        """Gives up the group of pictures in which packets were skipped; the decoder starts anew at this key packet."""
        self._drain(entry)
        self._kept.clear()
        self._kept_bytes = 0
        self._resumed_at = packet.pts
        self._awaits_first = True

    def _drain(self, entry: Entry | None) -> None:
        """Takes the frames that the decoder still holds and resets it."""
        self._decode(None, entry)
        self._context.flush_buffers()
        self._reorder.settle(None)

    def _catch_up(self, asking: Entry) -> None:
        """Decodes what was kept. Where slots have left, or far back, only the motion is kept, for a later slot."""
        far = len(self._kept) - _KEPT_WITH_PIXELS
        while self._kept:
            packet, entry = self._kept.popleft()
            self._kept_bytes -= packet.facts.size
            if far <= 0 and not (entry.is_lost or entry.has_left):
                entry.state = State.FED
                entry.is_after_gap = self._awaits_first
            far -= 1
            self._decode(packet, asking)

    def _feed(self, packet: Packet, entry: Entry) -> None:
        entry.state = State.FED
        entry.is_after_gap = self._awaits_first
        self._decode(packet, entry)

    def _go_on_from(self, ahead: Ahead, entry: Entry) -> None:
        """Changes to the codec in which this key packet was decoded ahead."""
        self._drain(entry)
        entry.state = State.FED
        entry.is_after_gap = self._awaits_first
        self._context, ahead.context = ahead.context, self._context
        ahead.raw.opaque = entry
        self._take(ahead.raw)

    def run(self, context: Any, packet: Packet | None) -> tuple[list[Any], float]:
        """A codec's frames for a packet, or (None) all that it still holds, and the CPU ms that this took."""
        start = time.process_time()
        try:
            frames = context.decode(None if packet is None else packet.data)
        except av.error.EOFError:
            frames = []
        except av.error.FFmpegError:
            self.faults += 1
            frames = []
        return frames, (time.process_time() - start) * 1e3

    def _decode(self, packet: Packet | None, charged: Entry | None) -> None:
        frames, spent = self.run(self._context, packet)
        start = time.process_time()
        for frame in frames:
            self._take(frame)
        spent += (time.process_time() - start) * 1e3
        if charged is None or not charged.has_slot:
            self._owed_ms += spent
        else:
            charged.decode_ms += spent

    def _take(self, raw: Any) -> None:
        """Brings a decoded frame to its entry."""
        entry: Entry | None = raw.opaque or self._reorder.fed(raw.pts)
        raw.opaque = None  # the entry holds the frame: without this each would keep the other
        self.decoded += 1
        if entry is None or entry.is_lost:
            return
        self._awaits_first = False
        if self._first_pts is None:
            self._first_pts = entry.pts
        if self._is_out_of_order(entry):
            self._source.distrust("its timestamps are not in the order in which frames are shown", lacks_times=True)
        if self._source.info.decode_all is not None:
            self._take_next(raw, entry)
            return
        self._reorder.settle(entry.pts)
        if not entry.has_slot:
            self._take_unforeseen(entry)
        if entry.state is State.FED:
            entry.frame, entry.state = self.frame(raw, entry.pts), State.DECODED
        elif entry.state is State.SKIPPED:
            self._add_late(raw, entry.pts)

    def _is_out_of_order(self, entry: Entry) -> bool:
        last, self._last_pts = self._last_pts, entry.pts
        if last is None or entry.pts is None or self._source.info.decode_all is not None:
            return False
        return entry.pts <= last

    def _take_unforeseen(self, entry: Entry) -> None:
        """A frame of a packet in which no picture was found: it has a slot after all."""
        if entry.facts.picture == "?":
            entry.has_slot, entry.state = True, State.FED
            self._reorder.add(entry)

    def _take_next(self, raw: Any, entry: Entry) -> None:
        """Where times cannot place frames: the decoder's order is the order of display."""
        pts = None if self._source.lacks_times else entry.pts
        entry.state = State.EMPTY  # in case it also waits among the reordered
        self._leave(self._reorder.pop_all())
        entry.frame = self.frame(raw, pts)
        facts = entry.facts if pts is not None else replace(entry.facts, time_s=float("nan"))
        self._slots.append(self._slot(entry, facts, pts))

    def frame(self, raw: Any, pts: int | None) -> Frame:
        """One of the codec's frames as the stages after it see it."""
        return frame_of(raw, pts, self._rotation, self._vectors(raw), self._to_bgr)

    def _vectors(self, raw: Any) -> Any:
        """Motion vectors as a structured array of its own memory, None where there are none."""
        if not self._has_vectors:
            return None
        # not raw.side_data: the frame would keep that, and that the frame, until Python looks for cycles
        side = _side_data_of(raw).get("MOTION_VECTORS")
        # copied as bytes: numpy copies records field by field, which takes tens of times as long
        return None if side is None else np.frombuffer(side, np.uint8).copy().view(VECTOR_DTYPE)

    def _add_late(self, raw: Any, pts: int | None) -> None:
        """Keeps a frame's motion; where its codec exports none, its luma, from which flow is computed."""
        frame, size = motion_of(raw, pts, self._rotation, self._vectors(raw), self._flows, self._to_bgr)
        self._late.append((frame, size))
        self._late_bytes += size
        while self._late_bytes > MOST_LATE_BYTES:
            self._late_bytes -= self._late.popleft()[1]

    def _leave(self, entries: Iterable[Entry]) -> None:
        self._slots += [self._slot(entry, entry.facts, entry.pts) for entry in entries]

    def _slot(self, entry: Entry, facts: PacketFacts, pts: int | None) -> Slot:
        late: tuple[Frame, ...] = ()
        if entry.frame is not None and self._late:
            late = tuple(frame for frame, _ in self._late)
            self._late.clear()
            self._late_bytes = 0
        demux_ms, decode_ms = entry.demux_ms + self._owed_demux_ms, entry.decode_ms + self._owed_ms
        self._owed_demux_ms = self._owed_ms = 0.0
        frame, entry.frame = entry.frame, None
        return Slot(facts, pts, frame, late, demux_ms, decode_ms)


def _options(vectors: bool, loop_filter: bool) -> dict[str, str]:
    options = {"flags2": "+export_mvs"} if vectors else {}
    return options if loop_filter else {**options, "skip_loop_filter": "all"}
