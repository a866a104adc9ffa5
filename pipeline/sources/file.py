"""A video file as packets in decode order: sizes, times, picture types; nothing is decoded."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import av.error

from everyframe.pipeline.errors import SourceBroken, SourceError, mask_secrets
from everyframe.pipeline.records import Packet, SourceInfo
from everyframe.pipeline.sources.checks import StreamCheck, every_frame, facts_of
from everyframe.pipeline.sources.cut import is_cut
from everyframe.pipeline.sources.opening import fresh_context, open_video, reason
from everyframe.pipeline.sources.probe import examine, stated_seconds
from everyframe.pipeline.sources.remote import RemoteError

_BACK_S = (0.0, 1.0, 5.0, 30.0)
"""How far before a shard's start to seek, until its first packet is found; after the last, the file is read through."""


class FileSource:
    """One file, or the shard [start_pts, end_pts) of it in display order.

    A shard's packets begin with the key packet that has start_pts. They end with the key packet that has end_pts and
    the packets after it that are shown before it: that frame belongs to the next shard, but closes this one.
    Opens at once: raises SourceError. `packets` can be run once; it raises SourceBroken where the file breaks.
    """

    def __init__(
        self, path: str | os.PathLike[str], start_pts: int | None = None, end_pts: int | None = None
    ) -> None:
        path = os.fspath(path)
        self.start_pts = start_pts
        self.end_pts = end_pts
        probe = examine(path)
        self._info = probe.info
        self._lacks_times = probe.lacks_times
        self._container, self._stream = open_video(path)
        self._packets_seen = 0
        self._frames_seen = 0
        self._end_s = 0.0
        self._dts = -math.inf
        self._without_picture = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    @property
    def info(self) -> SourceInfo:
        """What is known of the stream; `decode_all` may be set while packets come."""
        return self._info

    @property
    def lacks_times(self) -> bool:
        """No timestamps, or such that don't say when a frame is shown."""
        return self._lacks_times

    @property
    def codec_context(self) -> Any:
        """PyAV's decoder of this stream, not yet open: for `pipeline.frames.decoder` only."""
        return self._stream.codec_context

    def another_context(self) -> Any:
        """A further decoder of this stream: for `pipeline.frames.scout` only."""
        return fresh_context(self._stream)

    def distrust(self, why: str, lacks_times: bool = False) -> None:
        """From here on no packet can be skipped."""
        self._lacks_times = self._lacks_times or lacks_times
        if self._info.decode_all is None:
            self._info = replace(self._info, decode_all=every_frame(why))

    def packets(self) -> Iterator[Packet]:
        """Packets in decode order, each with the CPU ms that demuxing it took."""
        check = StreamCheck(self._container, self._stream)
        base = float(self._info.time_base)
        start = time.process_time()
        for raw in self._shard():
            head = check.look(raw)
            if check.fault is not None:
                self._take_over(check)
            pts = raw.pts
            picture = head.picture
            seconds = float("nan") if pts is None or self._lacks_times else pts * base
            facts = facts_of(raw, head, self._packets_seen, seconds)
            self._count(raw, picture == "?" and check.reader.knows_pictures)
            is_discard = raw.is_discard or self._is_outside(pts)
            spent = (time.process_time() - start) * 1e3
            yield Packet(facts, pts, raw.dts, is_discard, raw, spent)
            start = time.process_time()
        if self.end_pts is None:
            self._check_end()

    def _take_over(self, check: StreamCheck) -> None:
        self._lacks_times = self._lacks_times or check.lacks_times
        if self._info.decode_all is None:
            self._info = replace(self._info, decode_all=check.fault)

    def _count(self, raw: Any, is_without_picture: bool) -> None:
        self._packets_seen += 1
        self._frames_seen += not (raw.is_discard or raw.is_corrupt)
        self._without_picture = self._without_picture + 1 if is_without_picture else 0
        if raw.dts is not None and not raw.is_corrupt:
            self._dts = raw.dts
        if raw.pts is not None:
            end = float((raw.pts + (raw.duration or 0)) * self._info.time_base)
            self._end_s = max(self._end_s, end)

    def _is_outside(self, pts: int | None) -> bool:
        """Shown before this shard: part of the one before."""
        return self.start_pts is not None and pts is not None and pts < self.start_pts

    def _shard(self) -> Iterator[Any]:
        """Raw packets of this shard."""
        raws = self._read() if self.start_pts is None else self._from(self.start_pts)
        end = self.end_pts
        is_past = False
        for raw in raws:
            if end is None:
                yield raw
            elif not is_past:
                is_past = raw.pts == end and raw.is_keyframe
                yield raw
            elif raw.dts is not None and raw.dts >= end:
                return  # nothing after it is shown before the end
            elif raw.pts is not None and raw.pts < end:
                yield raw

    def _read(self) -> Iterator[Any]:
        """Raw packets from where the demuxer stands; FFmpeg's errors become SourceBroken."""
        try:
            for raw in self._container.demux(self._stream):
                if raw.size:
                    yield raw
        except av.error.FFmpegError as e:
            raise self._broken(reason(e)) from e
        except RemoteError as e:
            raise self._broken(f"it {e.why}") from e
        except IndexError:  # PyAV, at the end of a file in which further streams turned up
            return

    def _from(self, start_pts: int) -> Iterator[Any]:
        """Raw packets beginning with the key packet at start_pts, wherever the container's own seeking lands."""
        for back in _BACK_S:
            offset = start_pts - round(back / self._info.time_base)
            try:
                self._container.seek(offset, stream=self._stream)
            except av.error.FFmpegError:
                continue
            raws = self._starting_at(start_pts)
            if raws is not None:
                return raws
        self._container.close()
        self._container, self._stream = open_video(self._info.path)
        raws = self._starting_at(start_pts)
        if raws is None:
            shown = mask_secrets(self._info.path)
            raise SourceError(f"{shown} has no key frame at pts {start_pts}: it changed since it was planned; run again.")
        return raws

    def _starting_at(self, start_pts: int) -> Iterator[Any] | None:
        raws = self._read()
        for raw in raws:
            if raw.is_keyframe and raw.pts == start_pts:
                return _chained(raw, raws)
            if raw.dts is not None and raw.dts > start_pts:
                return None
        return None

    def _check_end(self) -> None:
        """Raises SourceBroken where packets ended before the file should."""
        if self._without_picture:
            count = self._without_picture
            raise self._broken(
                "its last packet holds no picture" if count == 1 else f"its last {count} packets hold no pictures"
            )
        kind = self._container.format.name
        if is_cut(self._info.path, kind) and not self._is_whole(kind):
            raise self._broken("the file is cut short")

    def _is_whole(self, kind: str) -> bool:
        """Whether all frames came although bytes are missing at the file's end: those may be of an index."""
        if "matroska" in kind:
            stated = stated_seconds(self._container, self._stream)
            first_s = float((self._stream.start_time or 0) * self._info.time_base)
            return stated is not None and self._end_s - first_s >= stated - 0.5 / float(self._info.rate)
        entries = self._stream.index_entries
        return "mpegts" not in kind and len(entries) > 0 and self._dts >= entries[-1].timestamp

    def _broken(self, why: str) -> SourceBroken:
        where = f"at {self._end_s:.2f} s, " if self._end_s else ""
        return SourceBroken(
            f"{mask_secrets(self._info.path)} breaks off {where}after {self._frames_seen} frames ({why}): the labels "
            "up to there are kept; copy the file again for the rest."
        )


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
