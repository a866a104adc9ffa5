"""Live HLS: a real ffmpeg writes segments at their own pace, a local HTTP server gives them out."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from media import make_clip
from watching_source import Watched

from everyframe.pipeline.live.types import RECONNECTS

RATE = 25


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """URL of the folder `tmp_path / "web"`."""
    (tmp_path / "web").mkdir()
    handler = partial(_Quiet, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def broadcast(clip: Path, folder: Path) -> Iterator[None]:
    """ffmpeg plays the clip for ever, as segments of a second of which the newest few are kept."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("no ffmpeg: run `make system` as root (Debian)")
    command = [
        program, "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "hls",
        "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments+temp_file+append_list", str(folder / "live.m3u8"),
    ]  # fmt: skip
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def test_a_live_playlist_is_watched_and_watched_again_when_it_goes_on(served: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 4 * RATE, 96, 64, rate=RATE, gop=RATE)
    with Watched(f"{served}/live.m3u8", open_timeout_s=5, read_timeout_s=4) as watched:
        with broadcast(clip, tmp_path / "web"):
            watched.until(lambda: watched.frames >= 5 * RATE, "more than the playlist holds at a time")
            said = len(watched.states)
        watched.until(lambda: any(state == "waiting" for state, _ in watched.states[said:]), "a lost camera")
        before = watched.frames
        with broadcast(clip, tmp_path / "web"):
            watched.until(lambda: watched.frames >= before + 2 * RATE, "frames after the pause")
        assert watched.counts[RECONNECTS] >= 1
    assert all(session.info.width == 96 for session, slots in watched.sessions if slots)
    watched.check_balance()
