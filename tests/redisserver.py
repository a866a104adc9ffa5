"""A Redis server of the test's own, to be stopped, frozen, filled and killed."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from watching import free_port, wait_for

from everyframe.pipeline.sinks.embedded import server_binary


class RedisServer:
    """Runs on a port of 127.0.0.1 and keeps its data in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        binary = server_binary()
        assert binary is not None
        options = (
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--appendonly",
            "yes",
        )
        self._process = subprocess.Popen(
            [binary, *options, "--save", "", "--logfile", str(self.folder / "log")], start_new_session=True
        )
        wait_for(self._answers, 30)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def configure(self, name: str, value: str, password: str | None = None) -> None:
        with redis.Redis.from_url(self.url, password=password, socket_timeout=5) as client:
            client.config_set(name, value)

    def hang_up(self, password: str) -> None:
        """Ends all connections: clients have to say the password anew."""
        with redis.Redis.from_url(self.url, password=password, socket_timeout=5) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def signal(self, which: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, which)

    def kill(self) -> None:
        """At once, and for good until `start`."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def empty(self) -> None:
        """Kills it and throws its data away."""
        self.kill()
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def _answers(self) -> bool:
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

