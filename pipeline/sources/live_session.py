"""Packets of one connection to a camera, as the decoder and policies want them.

A connection is one session after the other: a new one begins at the key packet at which the stream changes (its sequence
parameter set, or a clock that jumped back), so that whoever decodes never meets a change inside a session.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

import av
import av.error

from everyframe.pipeline.errors import mask_secrets
from everyframe.pipeline.live.types import Arrival, Camera
from everyframe.pipeline.records import Packet, SourceInfo
from everyframe.pipeline.sources.checks import StreamCheck, every_frame, facts_of
from everyframe.pipeline.sources.opening import fresh_context

MOST_HELD = 16
"""Packets without a time at a connection's start (RTSP, before the first sender report) that wait for one that has."""
_USUAL_RATE = Fraction(25)
_MOST_RATE = 240
_STEADY_PACKETS = 12
"""So many packets with good times in a row, from a key packet on, are reason enough to trust a stream's times again."""


@dataclass(slots=True)
class _Faults:
    """Why no packet can be skipped; shared by all sessions over the same stretch of a stream."""

    why: str | None = None
    lacks_times: bool = False


class LiveSession:
    """Satisfies `PacketSource`. `anew` is the same stretch of the stream with a codec of its own, to begin in its middle."""

    start_pts: int | None = None
    end_pts: int | None = None

    def __init__(self, info: SourceInfo, stream: Any, context: Any, faults: _Faults | None = None) -> None:
        self._info = info
        self._stream = stream
        self._context = context
        self._faults = faults or _Faults()

    @property
    def info(self) -> SourceInfo:
        if self._info.decode_all is None and self._faults.why is not None:
            self._info = replace(self._info, decode_all=self._faults.why)
        return self._info

    @property
    def lacks_times(self) -> bool:
        return self._faults.lacks_times

    @property
    def codec_context(self) -> Any:
        return self._context

    def distrust(self, why: str, lacks_times: bool = False) -> None:
        """From here on no packet can be skipped."""
        self._take_over(every_frame(why), lacks_times)

    def take_over(self, check: StreamCheck) -> None:
        """What a check of the packets found."""
        if check.fault is not None:
            self._take_over(check.fault, check.lacks_times)

    def _take_over(self, why: str, lacks_times: bool) -> None:
        self._faults.lacks_times = self._faults.lacks_times or lacks_times
        self._faults.why = self._faults.why or why

    def anew(self) -> Self:
        return type(self)(self._info, self._stream, fresh_context(self._stream), self._faults)


class Feed:
    """One connection's raw packets to arrivals. before_key: packets that came before the first one that decoding can begin
    with; they are left out. session: the one that goes on, None before the first."""

    def __init__(self, camera: Camera, container: Any, stream: Any) -> None:
        self.session: LiveSession | None = None
        self.before_key = 0
        self._camera = camera
        self._container = container
        self._stream = stream
        self._base = Fraction(stream.time_base)
        self._has_b_frames = bool(stream.codec_context.has_b_frames)
        self._check = StreamCheck(container, stream)
        self._shadow: StreamCheck | None = None
        self._shadow_packets = 0
        self._held: list[Any] | None = []
        self._sps = b""
        self._last_pts: int | None = None
        self._index = 0
        self._is_suspect = False

    def push(self, raw: Any) -> Iterator[Arrival]:
        """Takes one of PyAV's packets as it came."""
        for timed in self._timed(raw):
            arrival = self._arrive(timed)
            if arrival is not None:
                yield arrival

    def finish(self) -> Iterator[Arrival]:
        """What still waits for a time."""
        held, self._held = self._held or [], None
        for raw in held:
            arrival = self._arrive(raw)
            if arrival is not None:
                yield arrival

    # -- times

    def _timed(self, raw: Any) -> list[Any]:
        """Packets whose turn it is; those without a time at the beginning are counted back from the first that has one."""
        if self._held is None:
            return [self._with_dts(raw)]
        held = self._held
        held.append(raw)
        known = [r.pts for r in held if r.pts is not None]
        wanted = 4 if self._has_b_frames else 1  # of reordered frames the first shown is among the next few
        if held[0].pts is None and len(known) < wanted and len(held) < MOST_HELD:
            return []
        self._held = None
        self._count_back(held, known)
        return [self._with_dts(r) for r in held]

    def _count_back(self, held: list[Any], known: list[int]) -> None:
        untimed = [r for r in held if r.pts is None]
        if not known or not untimed or any(r.pts is None for r in held[len(untimed) :]):
            return
        step = untimed[0].duration or round(1 / (self._rate() * self._base))
        for back, raw in enumerate(reversed(untimed), 1):
            raw.pts = min(known) - back * step

    def _with_dts(self, raw: Any) -> Any:
        """FFmpeg leaves dts out until it knows how far a stream reorders; without B pictures they are as pts."""
        if raw.dts is None and not self._has_b_frames:
            raw.dts = raw.pts
        return raw

    # -- sessions

    def _arrive(self, raw: Any) -> Arrival | None:
        at, since, start = time.time(), time.monotonic(), time.thread_time()
        head = self._check.look(raw)
        self._has_b_frames = self._has_b_frames or head.picture == "B"
        facts = facts_of(raw, head, self._index, self._seconds(raw))
        is_entry = bool(raw.is_keyframe) and head.is_gradual
        if self.session is None and not (facts.is_key or is_entry):
            self.before_key += not raw.is_discard
            return None
        if self.session is None or (facts.is_key and self._is_other(raw)):
            self._begin(raw)
            facts = replace(facts, index=0, time_s=self._seconds(raw))
        assert self.session is not None
        self.session.take_over(self._check)
        self._suspect(raw, facts.is_key)
        self._watch_times(raw, facts.is_key)
        self._index += 1
        if raw.pts is not None:
            self._last_pts = raw.pts if self._last_pts is None else max(self._last_pts, raw.pts)
        spent = (time.thread_time() - start) * 1e3
        packet = Packet(facts, raw.pts, raw.dts, bool(raw.is_discard), raw, spent)
        return Arrival(self.session, packet, at, since, self._is_suspect, is_entry)

    def _seconds(self, raw: Any) -> float:
        is_unknown = raw.pts is None or (self.session is not None and self.session.lacks_times)
        return float("nan") if is_unknown else float(raw.pts * self._base)

    def _is_other(self, raw: Any) -> bool:
        """Whether a new session begins with this key packet."""
        assert self.session is not None
        if self._check.reader.sps != self._sps:
            return True
        if raw.pts is not None and self._last_pts is not None and raw.pts < self._last_pts:
            return True
        is_steady = self._shadow is not None and self._shadow.fault is None and self._shadow_packets >= _STEADY_PACKETS
        return self.session.info.decode_all is not None and is_steady

    def _begin(self, raw: Any) -> None:
        context = self._stream.codec_context if self.session is None else fresh_context(self._stream)
        self._check = StreamCheck(self._container, self._stream)
        self._check.look(raw)
        self._sps = self._check.reader.sps
        self._shadow, self._last_pts, self._index = None, None, 0
        self.session = LiveSession(self._info(raw), self._stream, context)

    def _info(self, raw: Any) -> SourceInfo:
        """Size and rotation are those of the key picture itself: a container's may be old."""
        frame = _decoded(fresh_context(self._stream), raw)
        given = self._stream.codec_context
        width, height = (given.width, given.height) if frame is None else (frame.width, frame.height)
        rotation = 0 if frame is None else round(frame.rotation / 90) * 90 % 360
        if rotation % 180:
            width, height = height, width
        return SourceInfo(
            name=self._camera.name, path=mask_secrets(self._camera.url), codec=given.name, width=width, height=height,
            rotation=rotation, time_base=self._base, rate=self._rate(), frames=None, decode_all=None,
        )  # fmt: skip

    def _rate(self) -> Fraction:
        rate = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
        return Fraction(rate) if 0 < rate <= _MOST_RATE else _USUAL_RATE

    def _suspect(self, raw: Any, is_key: bool) -> None:
        """Packets were lost: nothing is trusted until the next key packet."""
        if is_key:
            self._is_suspect = False
        self._is_suspect = self._is_suspect or bool(raw.is_corrupt) or self._check.reader.has_gap

    def _watch_times(self, raw: Any, is_key: bool) -> None:
        """Where a session's times are not trusted, checks from each key packet on whether they would be again."""
        assert self.session is not None
        if self.session.info.decode_all is None:
            return
        if self._shadow is None or (is_key and self._shadow.fault is not None):
            self._shadow, self._shadow_packets = StreamCheck(self._container, self._stream), 0
        self._shadow.look(raw)
        self._shadow_packets += 1


def _decoded(context: Any, raw: Any) -> Any:
    """The frame of one packet alone, None where it gives none."""
    for packet in (raw, None):
        try:
            frames = context.decode(packet)
        except av.error.FFmpegError:
            return None
        if frames:
            return frames[0]
    return None


