"""Ray's start and end, for the engines: quiet, on this machine alone unless an address is given."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from everyframe.pipeline.errors import EngineError, mask_secrets

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_enable_metrics_collection": "0",
}
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no cluster of machines: Ray's processes bind to 127.0.0.1, also on Linux
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
"""For a cluster on this machine alone: out of reach of the network, and of other users of the machine."""
OBJECT_STORE_BYTES = 256 << 20
KNOCK_S = 5.0
FOLDERS, PREFIX, HELD = "/tmp", "ef-ray-", "held"
"""Ray's files lie in a folder of ours, whose file `held` is locked as long as its owner lives."""
YOUNG_S = 60.0
"""A folder's owner may not have locked it yet."""


class Cluster:
    """A Ray cluster that is joined, or started and ended. cpus: how many actors of one CPU it takes at a time. address: of a
    cluster that runs already; None starts one on this machine."""

    def __init__(self, cpus: int, address: str | None = None) -> None:
        self._cpus = cpus
        self._address = address
        self._is_started = False
        self._folder: str | None = None
        self._held: Any = None
        self._prints: Any = None

    def start(self, threads: int) -> None:
        """threads: of the CNN in each process. Raises EngineError."""
        runtime: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": str(threads)}}
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.FATAL,
            "runtime_env": runtime,
        }
        if self._address is None:
            options |= self._local()
        else:
            import everyframe

            options["address"] = self._address
            runtime["py_modules"] = [everyframe.__path__[0]]  # the module itself cannot be sent to a ray:// address
        try:
            _knock(self._address)
            with _environment(_QUIET if self._address else _QUIET | _ALONE), _own_signals():
                self._is_started = not ray_module().is_initialized()
                if self._is_started:
                    self._hush(lambda *data, **options: None)
                ray_module().init(**options)
        except (ConnectionError, OSError, RuntimeError, ValueError) as e:
            where = "a local Ray cluster" if self._address is None else f"the Ray cluster at {self._address}"
            sentence = f"cannot reach {where}: {first_line(e)}; try --engine local."
            raise EngineError(mask_secrets(sentence)) from e

    def close(self, actors: list[Any]) -> None:
        """Ends these actors, and the cluster and its files if it was started here."""
        if self._is_started:
            ray = ray_module()
            with _own_signals():
                if ray.is_initialized():
                    for actor in actors:
                        ray.kill(actor)
                ray.shutdown()
            self._hush(self._prints)
            actors.clear()
            self._is_started = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._held.close()
            self._folder = None

    def _hush(self, prints: Any) -> None:
        """Ray prints what befell a process to stdout, where our results go, whatever `log_to_driver` says. We say it ourselves."""
        from ray._private import worker

        self._prints = getattr(worker, "print_to_stdstream", None)
        if self._prints is not None and prints is not None:
            worker.print_to_stdstream = prints

    def _local(self) -> dict[str, Any]:
        remove_left_folders()
        # short: Ray's sockets lie far below it, and their paths may have 107 bytes
        self._folder = tempfile.mkdtemp(prefix=PREFIX, dir=FOLDERS)
        self._held = open(os.path.join(self._folder, HELD), "w")  # noqa: SIM115  (held until close)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return {
            "address": "local",
            "num_cpus": self._cpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": os.path.join(self._folder, "r"),  # Ray opens its folder to all, so ours is around it
        }


def remove_left_folders(parent: str = FOLDERS) -> list[Path]:
    """Removes Ray's files of our own runs that were killed: those whose owner's lock is gone. Returns them. Never raises."""
    removed = []
    for folder in Path(parent).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


def _is_left(folder: Path) -> bool:
    facts = folder.lstat()
    if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < YOUNG_S:
        return False
    with open(folder / HELD) as held:  # without it: not one of ours, or of an older version
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def ray_module() -> Any:
    """Ray, imported when it is first needed: its import takes a second."""
    import ray
    import ray.exceptions

    return ray


def _knock(address: str | None) -> None:
    """Raises OSError where nothing answers at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


@contextmanager
def _environment(extra: dict[str, str]) -> Iterator[None]:
    """Sets variables that Ray and the processes it starts read; what the user has set wins."""
    added = {name: value for name, value in extra.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts its own handler on SIGTERM: ours come back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
