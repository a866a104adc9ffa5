"""Whether each packet of a stream is one frame with a time of its own: only then can packets be skipped."""

from __future__ import annotations

from typing import Any

from everyframe.pipeline.sources.nal import PacketReader, PictureHead
from everyframe.policies.base import PacketFacts

_WINDOW = 64  # packets among which a timestamp must be unique: pictures are reordered by 16 at most


def every_frame(why: str) -> str:
    return f"Every frame is decoded, because {why}."


def facts_of(raw: Any, head: PictureHead, index: int, seconds: float) -> PacketFacts:
    """What policies see of one of PyAV's packets. seconds: when it is shown, NaN where that is not known."""
    is_key = raw.is_keyframe and head.picture not in "PB" and not head.is_gradual
    return PacketFacts(index, raw.size, is_key, head.picture, head.is_reference, seconds)


class StreamCheck:
    """Looks at packets in decode order. `fault`: why no packet can be skipped, None as long as they can.

    lacks_times: there are no timestamps, or such that don't say when a frame is shown.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        context = stream.codec_context
        self.reader = PacketReader(context.name, context.extradata)
        self.fault: str | None = None
        self.lacks_times = False
        # AVI has a counter in decode order; FFmpeg makes display times of it where it can
        self._is_doubtful = container.format.name == "avi" and bool(context.has_b_frames)
        self._recent: dict[int, None] = {}
        self._pts: int | None = None
        self._dts: int | None = None

    def look(self, packet: Any) -> PictureHead:
        """Checks one of PyAV's packets and returns what its first bytes say."""
        data = memoryview(packet)
        head = self.reader.read(data)
        if self.fault is None:
            self.fault = self._time_fault(packet.pts, packet.dts) or self._picture_fault(head, data)
        return head

    def settle(self) -> None:
        """To be called after the first packets: times that never went back can't be those of reordered frames."""
        if self._is_doubtful and not self.lacks_times:
            self.lacks_times = True
            self.fault = every_frame("its timestamps count packets, not frames in the order of display")

    def _time_fault(self, pts: int | None, dts: int | None) -> str | None:
        if pts is None:
            self.lacks_times = True
            return every_frame("the stream has no timestamps")
        if pts in self._recent:
            return every_frame("several frames have the same timestamp")
        if dts is not None and self._dts is not None and dts < self._dts:
            return every_frame("its timestamps jump back")
        self._is_doubtful = self._is_doubtful and (self._pts is None or pts > self._pts)
        self._pts = pts
        self._dts = self._dts if dts is None else dts
        self._recent[pts] = None
        if len(self._recent) > _WINDOW:
            del self._recent[next(iter(self._recent))]
        return None

    def _picture_fault(self, head: PictureHead, data: memoryview) -> str | None:
        if not head.is_field:
            return None
        return None if self.reader.pictures(data) == 2 else every_frame("the fields of its frames are stored apart")
