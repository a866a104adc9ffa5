"""Tiny real clips for tests: encoded on the spot with the encoders of PyAV's FFmpeg, one thread, no data files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
"""Real video for tests; absent on most machines."""


def drawn(index: int, width: int, height: int) -> np.ndarray:
    """BGR picture number `index`: a textured ground with a bright square that moves 3 px a picture to the right."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([(x * 3 + y) % 97 + 40, (x + y * 2) % 83 + 60, (x * y // 7) % 61 + 50], -1).astype(np.uint8)
    side = max(2, min(width, height) // 4)
    left = (index * 3) % max(1, width - side)
    top = height // 3
    picture[top : top + side, left : left + side] = (200 - index * 7 % 100, 90, 220)
    return picture


def make_clip(
    path: Path | str,
    frames: int = 30,
    width: int = 64,
    height: int = 48,
    rate: int = 10,
    codec: str = "libx264",
    gop: int = 12,
    bframes: int = 0,
    refs: int = 1,
    open_gop: bool = False,
    pyramid: bool = False,
    slices: int = 1,
    interlaced: bool = False,
    cabac: bool = True,
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    first_pts: int = 0,
    audio: bool = False,
    x264: str = "",
    draw: Callable[[int, int, int], np.ndarray] = drawn,
) -> Path:
    """Encodes a clip; the suffix of `path` names the container. rotation: degrees counter-clockwise to show it at."""
    path = Path(path)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, rate)
        stream.options = _options(codec, gop, bframes, refs, open_gop, pyramid, slices, interlaced, cabac, x264)
        stream.codec_context.gop_size = gop
        if codec in ("mpeg4", "mpeg2video"):
            stream.codec_context.max_b_frames = bframes
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        sound = output.add_stream("aac", rate=16000, layout="mono") if audio else None
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(draw(index, width, height), format="bgr24")
            picture = picture.reformat(format=pix_fmt)
            picture.pts, picture.time_base = first_pts + index, Fraction(1, rate)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        if sound is not None:
            _add_tone(output, sound, frames / rate)
    return path


def _options(
    codec: str, gop: int, bframes: int, refs: int, open_gop: bool, pyramid: bool, slices: int,
    interlaced: bool, cabac: bool, x264: str,
) -> dict[str, str]:
    if codec == "libx265":
        return {
            "preset": "ultrafast",
            "x265-params": f"keyint={gop}:min-keyint={gop}:bframes={bframes}:open-gop={int(open_gop)}:"
            "log-level=none:pools=none:frame-threads=1:scenecut=0:b-adapt=0",
        }
    if codec.startswith("libvpx"):
        return {"deadline": "realtime", "cpu-used": "8", "g": str(gop), "lag-in-frames": "0"}
    if codec != "libx264":
        return {}
    params = (
        f"keyint={gop}:min-keyint={gop}:bframes={bframes}:ref={refs}:open-gop={int(open_gop)}:b-adapt=0:"
        f"b-pyramid={'normal' if pyramid else 'none'}:scenecut=0:slices={slices}:cabac={int(cabac)}:threads=1"
    )
    params += ":interlaced=1:tff=1" if interlaced else ""
    return {"preset": "veryfast", "crf": "24", "threads": "1", "x264-params": params + (f":{x264}" if x264 else "")}


def _add_tone(output: av.container.OutputContainer, sound: av.AudioStream, seconds: float) -> None:
    total = int(seconds * 16000)
    wave = (np.sin(np.arange(total) * 0.17) * 8000).astype(np.int16)[None]
    for start in range(0, total, 1024):
        part = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "s16", "mono")
        part.sample_rate, part.pts = 16000, start
        output.mux(sound.encode(part))
    output.mux(sound.encode(None))


def make_audio(path: Path | str, seconds: float = 0.5) -> Path:
    """A file with sound only."""
    with av.open(str(path), "w") as output:
        _add_tone(output, output.add_stream("aac", rate=16000, layout="mono"), seconds)
    return Path(path)


def remux(
    source: Path | str,
    path: Path | str,
    times: Iterable[tuple[int | None, int | None]] | None = None,
    rate: int = 25,
    options: dict[str, str] | None = None,
    limit: int | None = None,
    first: int = 0,
) -> Path:
    """Copies the video packets from number `first` up to `limit` into another container without encoding.

    times: (pts, dts) for each packet in units of 1 / rate, for streams that have none; None keeps their own.
    """
    stamps = None if times is None else iter(times)
    with av.open(str(source)) as given, av.open(str(path), "w", options=options or {}) as output:
        stream = given.streams.video[0]
        copy = output.add_stream_from_template(stream)
        copy.time_base = stream.time_base if stamps is None else Fraction(1, rate)
        for number, packet in enumerate(islice((p for p in given.demux(stream) if p.size), limit)):
            if stamps is not None:
                packet.time_base = Fraction(1, rate)
                packet.pts, packet.dts = next(stamps)
            if number < first:
                continue
            packet.stream = copy
            output.mux(packet)
    return Path(path)


def display_times(path: Path | str) -> list[tuple[int, int]]:
    """(pts, dts) for each packet of a stream without times, from the order in which a decoder shows its frames.

    A packet without a frame is placed after the one before it.
    """
    shown: list[int] = []
    count = 0
    with av.open(str(path)) as given:
        stream = given.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1
        context.copy_opaque = True
        for packet in given.demux(stream):
            if packet.size:
                packet.opaque = [count]
                count += 1
            with suppress(av.error.FFmpegError):
                shown += [frame.opaque[0] for frame in context.decode(packet if packet.size else None)]
    for number in sorted(set(range(count)) - set(shown)):
        shown.insert(shown.index(number - 1) + 1 if number - 1 in shown else 0, number)
    rank = {number: place for place, number in enumerate(shown)}
    delay = max(number - place for number, place in rank.items())
    return [(rank[number] + delay, number) for number in range(count)]


class _Bits:
    """A bit writer for H.264 headers."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, value: int, width: int) -> _Bits:
        self._bits.append(f"{value:0{width}b}")
        return self

    def ue(self, *values: int) -> _Bits:
        for value in values:
            code = f"{value + 1:b}"
            self._bits.append("0" * (len(code) - 1) + code)
        return self

    def align(self) -> _Bits:
        self._bits.append("0" * (-len("".join(self._bits)) % 8))
        return self

    def payload(self) -> bytes:
        text = "".join(self._bits)
        return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))

    def nal(self, header: int) -> bytes:
        """A NAL unit with start code, stop bit and emulation prevention (clause 7.4.1)."""
        self.u(1, 1).align()
        out = bytearray()
        zeros = 0
        for byte in self.payload():
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([header]) + bytes(out)


def field_coded(path: Path | str, frames: int = 6) -> Path:
    """A raw H.264 stream of 32x32 pixels whose two fields are separate pictures (PAFF), all macroblocks I_PCM.

    No encoder of FFmpeg writes such streams; broadcast does.
    """
    sps = _Bits().u(77, 8).u(0, 8).u(30, 8).ue(0, 0, 2, 1).u(0, 1).ue(1, 0).u(0, 1).u(0, 1).u(1, 1).u(0, 1).u(0, 1)
    pps = _Bits().ue(0, 0).u(0, 1).u(0, 1).ue(0, 0, 0).u(0, 1).u(0, 2).ue(0, 0, 0).u(1, 1).u(0, 1).u(0, 1)
    stream = sps.nal(0x67) + pps.nal(0x68)
    for index in range(frames):
        for bottom in (0, 1):
            stream += _pcm_field(index, bottom)
    Path(path).write_bytes(stream)
    return Path(path)


def _pcm_field(index: int, bottom: int) -> bytes:
    is_idr = index == 0 and not bottom
    bits = _Bits().ue(0, 7, 0).u(index % 16, 4).u(1, 1).u(bottom, 1)
    if is_idr:
        bits.ue(0)
    if is_idr:
        bits.u(0, 1).u(0, 1)
    else:
        bits.u(0, 1)
    bits.ue(0)  # slice_qp_delta
    bits.ue(1)  # no deblocking
    for block in range(2):
        bits.ue(25).align()
        for value in [60 + 9 * index % 90 + 20 * bottom + 40 * block] * 256 + [128] * 128:
            bits.u(value, 8)
    return bits.nal(0x65 if is_idr else 0x61)


def join(path: Path | str, parts: Iterable[Path]) -> Path:
    """Raw streams one after the other."""
    Path(path).write_bytes(b"".join(part.read_bytes() for part in parts))
    return Path(path)
