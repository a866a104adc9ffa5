"""A real `everyframe watch` in a process of its own, for tests and benchmarks, and the books that it must keep."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis

from everyframe.pipeline.live.balance import missing
from everyframe.pipeline.sinks.entries import stream_key

SMALL = ("--imgsz", "192", "--runtime", "torch", "--precision", "f32")
"""A CNN that is loaded and run soon."""
QUICK = ("--policy", "stride:10", *SMALL)
LONG_S = 90.0


def wait_for(what: Callable[[], Any], seconds: float = LONG_S, why: str = "") -> Any:
    """What `what` returns as soon as it is true. Fails after so long: generous, as the machine may be busy."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {why or what}"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Watched:
    """A running `everyframe watch`. arguments: its cameras and options. Its state is below `folder`. prefix: what
    it is started by."""

    def __init__(
        self, folder: Path, *arguments: str, engine: str = "local", prefix: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        self.log = folder / f"log-{self.port}.txt"
        command = [
            *prefix, sys.executable, "-m", "everyframe", "watch", *arguments, "--state", str(self.state), "--engine", engine,
            "--http", f"127.0.0.1:{self.port}", "--json", "--log-json",
        ]  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def status(self) -> dict[str, Any] | None:
        """What it says of itself; None while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status", timeout=5) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except (OSError, ValueError):
            return None
        return found

    def cameras(self) -> dict[str, dict[str, Any]]:
        return {camera["name"]: camera for camera in (self.status() or {"cameras": []})["cameras"]}

    def count(self, name: str, camera: str | None = None) -> int:
        """A counter, of one camera or of all."""
        return sum(c["counts"].get(name, 0) for c in self.cameras().values() if camera in (None, c["name"]))

    def published(self, least: int, camera: str | None = None, seconds: float = LONG_S) -> int:
        """Waits until so many records are published."""
        return int(
            wait_for(
                lambda: self.is_up() and (n := self.count("published", camera)) >= least and n,
                seconds,
                f"{least} published",
            )
        )

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.words()
        return True

    def words(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def stop(self, which: int = signal.SIGTERM, seconds: float = 30.0) -> tuple[int, dict[str, Any]]:
        """Asks it to end; its exit status and its last words."""
        self.process.send_signal(which)
        return self.ended(seconds)

    def ended(self, seconds: float = LONG_S) -> tuple[int, dict[str, Any]]:
        try:
            out, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {seconds:g} s:\n{self.words()}") from None
        try:
            return self.process.returncode, json.loads(out) if out.strip() else {}
        except ValueError:
            raise AssertionError(f"no JSON on stdout: {out[:1000]!r}\n{self.words()}") from None

    def kill(self) -> None:
        """As the kernel would when memory is short."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def check(self, ended: tuple[int, dict[str, Any]], status: int = 0) -> dict[str, dict[str, Any]]:
        """It ended as it should, and its books balance. Returns its cameras."""
        assert ended[0] == status, self.words()
        assert ended[1]["unaccounted"] == {} and ended[1]["killed"] == [], ended[1]
        cameras = {camera["name"]: camera for camera in ended[1]["cameras"]}
        for camera in cameras.values():
            assert missing(camera["counts"], camera["waiting"]) == 0, camera
        assert "Traceback" not in self.words(), self.words()
        return cameras


@contextmanager
def watched(
    folder: Path, *arguments: str, engine: str = "local", prefix: Sequence[str] = ()
) -> Iterator[Watched]:
    """Killed at the end if it is still there."""
    running = Watched(folder, *arguments, engine=engine, prefix=prefix)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


def entries(url: str, camera: str) -> list[tuple[tuple[int, int], int]]:
    """Ids and frame numbers of a camera's records in Redis."""
    with redis.Redis.from_url(url) as client:
        found = client.xrange(stream_key(camera))
    return [(_id(key), int(fields[b"frame_index"])) for key, fields in found]  # type: ignore[union-attr]


def _id(key: bytes) -> tuple[int, int]:
    ms, _, number = key.decode().partition("-")
    return int(ms), int(number)


def check_stream(found: Sequence[tuple[tuple[int, int], int]], lives: int = 1, holes: int = 0) -> None:
    """Ids rise, and no frame number is there twice. lives: how often the camera's process began, each from frame 0. holes:
    frames that may be missing, because they are counted as dropped."""
    ids = [key for key, _ in found]
    assert all(a < b for a, b in pairwise(ids)), "ids do not rise"
    numbers = [number for _, number in found]
    starts = [0, *(i for i in range(1, len(numbers)) if numbers[i] <= numbers[i - 1])]
    assert len(starts) <= lives, f"frame numbers fall {len(starts) - 1} times"
    ends = [*starts[1:], len(numbers)]
    missing_numbers = sum(
        numbers[end - 1] + 1 - (end - start) for start, end in zip(starts, ends, strict=True)
    )
    assert missing_numbers <= holes, f"{missing_numbers} records are missing, {holes} are counted"
