"""Cameras over HTTP, and files played as if they were cameras."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import join, make_clip, remux
from watching_source import Watched

from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.live.types import RECONNECTS
from everyframe.pipeline.sources.live import next_wait

Serve = Callable[[bytes], str]


class _Camera(BaseHTTPRequestHandler):
    """Sends `server.body` without saying how long it is, as a live stream; /401 and /404 are refused."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        if self.path in ("/401", "/404"):
            self.send_error(int(self.path[1:]))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "video/mp2t")
        self.end_headers()
        try:
            self.wfile.write(self.server.body)  # type: ignore[attr-defined]
        except ConnectionError:
            return

    def log_message(self, format: str, *args: object) -> None: ...


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(body) -> URL of a stream with these bytes."""
    servers = []

    def start(body: bytes) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
        server.body = body  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/live"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def transport_stream(path: Path, frames: int = 40, **options: int | str) -> bytes:
    return make_clip(path, frames, 96, 64, rate=25, **options).read_bytes()  # type: ignore[arg-type]


def test_a_transport_stream(serve: Serve, tmp_path: Path) -> None:
    url = serve(transport_stream(tmp_path / "a.ts", bframes=2))
    with Watched(url) as watched:
        watched.until(lambda: len(watched.sessions) >= 2 and watched.frames >= 60, "the stream twice")
    assert len(watched.sessions[0][1]) == 40  # a clean end of a live stream is a reason to connect again
    assert watched.counts[RECONNECTS] >= 1
    watched.check_balance()


def test_a_clock_that_jumps_back(serve: Serve, tmp_path: Path) -> None:
    part = make_clip(tmp_path / "a.ts", 40, 96, 64, rate=25, gop=10)
    with Watched(serve(part.read_bytes() * 3)) as watched:
        watched.until(lambda: watched.counts[RECONNECTS] >= 1, "the end of the stream")
    sessions = [slots for _, slots in watched.sessions[:3]]
    assert [len(slots) for slots in sessions] == [40, 40, 40]
    for slots in sessions:
        times = [slot.pts for slot in slots if slot.pts is not None]
        assert len(times) == 40 and all(a < b for a, b in pairwise(times))
    watched.check_balance()


def test_a_clock_that_jumps_back_between_key_packets(serve: Serve, tmp_path: Path) -> None:
    """Until the next key packet every frame is decoded; from there on times count again."""
    whole = make_clip(tmp_path / "a.mp4", 100, 96, 64, rate=25, gop=20)
    times = [(n + 100, n + 100) if n < 50 else (n - 50, n - 50) for n in range(100)]
    early = remux(whole, tmp_path / "b.ts", times[:50], limit=50)
    late = remux(whole, tmp_path / "c.ts", times, first=50)
    with Watched(serve(early.read_bytes() + late.read_bytes())) as watched:
        watched.until(lambda: watched.counts[RECONNECTS] >= 1, "the end of the stream")
    first = watched.sessions[0][0]
    assert first.info.decode_all is not None and "jump back" in first.info.decode_all
    assert watched.sessions[1][0].info.decode_all is None
    watched.check_balance()


def test_a_stream_without_times(serve: Serve, tmp_path: Path) -> None:
    raw = make_clip(tmp_path / "a.264", 60, 96, 64, rate=25, gop=10)
    with Watched(serve(raw.read_bytes())) as watched:
        watched.until(lambda: watched.counts[RECONNECTS] >= 1, "the end of the stream")
    assert len(watched.sessions[0][1]) == 60
    watched.check_balance()


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [
        ("mpeg2video", "ts", "yuv420p"),
        ("libx265", "ts", "yuv420p"),
        ("mjpeg", "nut", "yuvj420p"),
        ("rawvideo", "nut", "yuyv422"),  # what a webcam sends
    ],
)
def test_other_codecs(serve: Serve, tmp_path: Path, codec: str, suffix: str, pix_fmt: str) -> None:
    body = transport_stream(tmp_path / f"a.{suffix}", codec=codec, pix_fmt=pix_fmt)
    with Watched(serve(body)) as watched:
        watched.until(lambda: watched.counts[RECONNECTS] >= 1, "the end of the stream")
        again = watched.sessions[0][0].anew()  # a codec of its own, from the same stream
    assert len(watched.sessions[0][1]) == 40 and watched.sessions[0][0].info.width == 96
    decoder = Decoder(again)
    slots = [slot for a in watched.arrivals[:40] if a.packet is not None for slot in decoder.push(a.packet, True)]
    slots += decoder.finish()
    assert sum(slot.frame is not None for slot in slots) == 40


def test_noise_in_the_stream(serve: Serve, tmp_path: Path) -> None:
    body = bytearray(transport_stream(tmp_path / "a.ts", frames=100, gop=10))
    middle = len(body) // 2
    body[middle : middle + 700] = bytes((i * 37) % 251 for i in range(700))
    with Watched(serve(bytes(body))) as watched:
        watched.until(lambda: watched.counts[RECONNECTS] >= 1, "the end of the stream")
        suspects = [a.is_suspect for a in watched.arrivals[:90]]
    assert any(suspects) and not suspects[0] and not suspects[89]
    assert watched.frames > 80


def test_resolution_changes_in_one_stream(serve: Serve, tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{w}.264", 20, w, 64, rate=25, gop=10) for w in (96, 160)]
    with Watched(serve(join(tmp_path / "c.264", parts).read_bytes())) as watched:
        watched.until(lambda: watched.counts[RECONNECTS] >= 1, "the end of the stream")
    assert [session.info.width for session, _ in watched.sessions[:2]] == [96, 160]
    assert sum(len(slots) for _, slots in watched.sessions[:2]) == 40
    watched.check_balance()


@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8"])
def test_a_finished_recording_over_http_is_played_at_its_pace(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / name, 25, 96, 64, rate=25, gop=10)
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        start = time.monotonic()
        with Watched(f"http://127.0.0.1:{server.server_address[1]}/{name}") as watched:
            watched.until(lambda: watched.frames >= 24, "all of it")
            assert time.monotonic() - start >= 0.8
        server.shutdown()


def test_what_is_refused(serve: Serve) -> None:
    url = serve(b"<html>no camera</html>" * 100)
    for path, words in (("/401", "password"), ("/404", "404"), ("/page", "names a stream")):
        with Watched(url.replace("/live", path)) as watched:
            watched.until_state("waiting", words)


def test_a_file_ends(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", 20, 96, 64, rate=20, gop=10)
    start = time.monotonic()
    with Watched(str(clip), realtime=True) as watched:
        watched.until_state("stopped")
        assert time.monotonic() - start >= 0.9  # twenty frames at twenty a second
    assert len(watched.slots) == 20 and watched.counts[RECONNECTS] == 0
    watched.check_balance()


def test_a_file_is_played_again(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", 10, 96, 64, rate=25, gop=10, bframes=2)
    with Watched(str(clip), realtime=True, loop=True) as watched:
        watched.until(lambda: len(watched.sessions) >= 3, "three times")
    assert [len(slots) for _, slots in watched.sessions[:2]] == [10, 10]
    watched.check_balance()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with Watched(str(tmp_path / "none.mp4"), realtime=True) as watched:
        assert "does not exist" in watched.until_state("failed")
        watched.run.join(20)
        assert not watched.run.is_alive()


def test_a_device_that_is_not_there() -> None:
    with Watched("/dev/video97") as watched:
        assert "connect the camera" in watched.until_state("waiting")


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(-30, 30), st.floats(0, 3)), min_size=1, max_size=60),
    start=st.floats(0, 1e6),
)
def test_waits_of_a_file_are_bounded_whatever_its_clock_does(steps: list[tuple[float, float]], start: float) -> None:
    anchor, seconds, now = None, 0.0, start
    for step, passed in steps:
        seconds, now = seconds + step, now + passed
        anchor, wait = next_wait(anchor, seconds, now)
        assert 0.0 <= wait <= 10.0
        now += wait


@settings(deadline=None)
@given(rate=st.integers(1, 60), count=st.integers(2, 200), start=st.floats(0, 1e6))
def test_a_steady_file_is_played_at_its_rate(rate: int, count: int, start: float) -> None:
    anchor, now = None, start
    for number in range(count):
        anchor, wait = next_wait(anchor, number / rate, now)
        now += wait
    assert now - start == pytest.approx((count - 1) / rate, abs=1e-6)
