"""What a stream is, from its container and its first packets: size, rotation, and whether packets can be skipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from everyframe.pipeline.errors import SourceError, mask_secrets
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.sources.checks import StreamCheck
from everyframe.pipeline.sources.opening import open_video, reason

_LEAST_PACKETS = 24
_MOST_PACKETS = 400
_USUAL_RATE = Fraction(25)


@dataclass(frozen=True, slots=True)
class Probe:
    """info: see SourceInfo. lacks_times: no timestamps, or such that don't say when a frame is shown."""

    info: SourceInfo
    lacks_times: bool


@dataclass(slots=True)
class _First:
    """The first decoded frame, and what the packets around it say."""

    packets: int = 0
    discarded: int = 0
    frame: Any = None
    fault: str | None = None
    lacks_times: bool = False
    is_encrypted: bool = False


def examine(path: str) -> Probe:
    """Opens a file, reads a few packets, decodes until one frame is out, closes it again.

    Raises SourceError, in one sentence, where no frame can be had.
    """
    container, stream = open_video(path)
    try:
        first = _read_on(container, stream)
        if first.is_encrypted or (first.frame is None and first.packets < _MOST_PACKETS):
            raise _no_frames(path, first)
        return Probe(_info(path, container, stream, first), first.lacks_times)
    except av.error.FFmpegError as e:
        shown = mask_secrets(path)
        raise SourceError(f"{shown} cannot be read ({reason(e)}): check that it plays, or copy it again.") from e
    finally:
        container.close()


def _no_frames(path: str, first: _First) -> SourceError:
    shown = mask_secrets(path)
    if first.packets == 0:
        return SourceError(f"{shown} has a video stream without frames: record or copy it again.")
    if first.is_encrypted:
        return SourceError(
            f"{shown} is encrypted: decrypt it first (ffmpeg -decryption_key KEY -i IN -c copy OUT.mp4, with the key in hex)."
        )
    return SourceError(f"{shown} has no frame that can be decoded: check that it plays, or copy it again.")


def _read_on(container: Any, stream: Any) -> _First:
    context = stream.codec_context
    check = StreamCheck(container, stream)
    first = _First()
    for packet in _packets(container, stream):
        first.packets += 1
        if packet.has_sidedata("encryption_info"):  # ISO/IEC 23001-7: its pictures are noise without the key
            first.is_encrypted = True
            break
        first.discarded += packet.is_discard
        check.look(packet)
        if first.frame is None:
            first.frame = next(iter(_decoded(context, packet)), None)
        if (first.frame is not None and first.packets >= _LEAST_PACKETS) or first.packets >= _MOST_PACKETS:
            break
    else:
        if first.frame is None:
            first.frame = next(iter(_decoded(context, None)), None)
    check.settle()
    first.fault, first.lacks_times = check.fault, check.lacks_times
    return first


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The first packets; a file that breaks so early ends here, and breaks again when it is read."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.error.FFmpegError:
        return


def _decoded(context: Any, packet: Any) -> list[Any]:
    try:
        return list(context.decode(packet))
    except av.error.FFmpegError:
        return []


def _info(path: str, container: Any, stream: Any, first: _First) -> SourceInfo:
    context, frame = stream.codec_context, first.frame
    rotation = 0 if frame is None else round(frame.rotation / 90) * 90 % 360
    width, height = (context.width, context.height) if frame is None else (frame.width, frame.height)
    if rotation % 180:
        width, height = height, width
    rate = stream.average_rate or stream.guessed_rate or _USUAL_RATE
    return SourceInfo(
        name=Path(mask_secrets(path)).stem,
        path=path,
        codec=context.name,
        width=width,
        height=height,
        rotation=rotation,
        time_base=Fraction(stream.time_base),
        rate=Fraction(rate),
        frames=_expected_frames(container, stream, first, Fraction(rate)),
        decode_all=first.fault,
    )


def _expected_frames(container: Any, stream: Any, first: _First, rate: Fraction) -> int | None:
    if stream.frames:
        return max(1, int(stream.frames) - first.discarded)
    seconds = stated_seconds(container, stream)
    return max(1, round(seconds * rate)) if seconds and not first.lacks_times else None


def stated_seconds(container: Any, stream: Any) -> float | None:
    """How long the video is by its container, None where that doesn't say."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    hours, _, rest = str(stream.metadata.get("DURATION", "")).partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return container.duration / av.time_base if container.duration else None
