"""Cuts a span out of a video without coding it anew: packets from the key packet before it, times from zero.

The clip begins with that key frame, because the frames after it can't be decoded without. Video only: sound is dropped, as it has
other cutting points.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error

from everyframe.pipeline.errors import SinkError, SourceError, mask_secrets
from everyframe.pipeline.sinks.files import part_path, take_final_name, write_error
from everyframe.pipeline.sources.opening import open_video, reason


@dataclass(frozen=True, slots=True)
class Piece:
    """What was cut. start_s, end_s: in the source's time, of the first frame shown and of the end of the last. frames: of it."""

    path: str
    start_s: float
    end_s: float
    frames: int
    size: int


def cut(path: str, start_s: float, end_s: float, target: Path) -> Piece:
    """Writes the frames shown from the key frame at or before start_s to the last before end_s, by the source's own times.

    Where B frames need a frame after the end, a few more are shown.

    The target's ending says its container (mp4, mkv). Raises SourceError where the source can't be read or has no frame there,
    SinkError where the target can't be written; the target then isn't there.
    """
    container, stream = open_video(path)
    part = part_path(target).with_suffix(".part" + target.suffix)
    try:
        packets = _span(container, stream, start_s, end_s)
        if not packets:
            raise SourceError(f"{mask_secrets(path)} has no frame at {start_s:.2f} s that can be cut out: check its times.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shown = _write(packets, stream, part)
        size = part.stat().st_size
        take_final_name(part, target)
        frames = sum(not packet.is_discard for packet in packets)
        return Piece(str(target), *shown, frames, size)
    except av.error.FFmpegError as e:
        raise SourceError(f"{mask_secrets(path)} cannot be cut at {start_s:.2f} s ({reason(e)}): check that it plays.") from e
    except OSError as e:
        raise write_error(target, e) from e
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        container.close()


def _span(container: Any, stream: Any, start_s: float, end_s: float) -> list[Any]:
    """Packets in decode order: from the last key packet shown at or before the start, without those shown before it, as far as
    the frames before the end need."""
    base = float(stream.time_base)
    begin, end = round(start_s / base), round(end_s / base)
    container.seek(begin, stream=stream, backward=True)
    kept: list[Any] = []
    entry: int | None = None
    limit = end
    for packet in container.demux(stream):
        if packet.pts is None or packet.dts is None or not packet.size:
            continue
        if packet.is_keyframe and (entry is None or packet.pts <= begin):
            kept, entry = [], packet.pts
        if entry is None or packet.pts < entry:
            continue  # leading pictures of an open group: they need what is not there
        if kept and packet.dts >= limit:
            _, bound = _needed(kept, end)
            if bound <= limit:
                break
            limit = bound
        kept.append(packet)
    return kept[: _needed(kept, end)[0]]


def _needed(packets: list[Any], end: int) -> tuple[int, int]:
    """(how many packets the frames before the end need, the pts before which no frame is missing from them).

    A B frame before the end needs one after it; that one is shown too, and so are all before it.
    """
    count, bound = 0, end
    while True:
        more = max((i + 1 for i, packet in enumerate(packets) if packet.pts < bound), default=0)
        if more == count:
            return count, bound
        count = more
        bound = max(bound, 1 + max(packet.pts for packet in packets[:count]))


def _write(packets: list[Any], stream: Any, part: Path) -> tuple[float, float]:
    """Muxes packets with the first frame at time zero; returns the span that is shown, in seconds of the source."""
    shown = [packet for packet in packets if not packet.is_discard] or packets
    first = min(packet.pts for packet in shown)
    last = max(packet.pts + (packet.duration or 0) for packet in shown)
    base = float(stream.time_base)
    # what the source hides before its first frame stays before time zero, where the edit list hides it again
    options = {"avoid_negative_ts": "disabled"} | ({"movflags": "faststart"} if part.suffix == ".mp4" else {})
    try:
        output = av.open(str(part), "w", options=options)
    except ValueError as e:
        raise SinkError(f"cannot write {part.suffix} files: name .mp4 or .mkv.") from e
    with output:
        copy = output.add_stream_from_template(stream)
        copy.time_base = stream.time_base
        for packet in packets:
            packet.pts, packet.dts = packet.pts - first, packet.dts - first
            packet.stream = copy
            output.mux(packet)
    return first * base, last * base
