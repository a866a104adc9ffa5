"""One `everyframe watch` from its settings to its end: Redis, the crew, the supervisor, HTTP, commands, signals."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

from everyframe.pipeline.errors import SettingsError, SinkError, UsageError
from everyframe.pipeline.live.crew import Crew, Setup
from everyframe.pipeline.live.http import serve
from everyframe.pipeline.live.logs import log_event, use_logs
from everyframe.pipeline.live.settings import MAXLEN, WatchSettings
from everyframe.pipeline.live.status import StatusTable
from everyframe.pipeline.live.types import Camera
from everyframe.pipeline.live.watch import Watch, WatchResult
from everyframe.pipeline.models import class_names
from everyframe.pipeline.sinks.control import ControlReader
from everyframe.pipeline.sinks.embedded import EmbeddedRedis


def watch_cameras(settings: WatchSettings, quiet: bool = False) -> tuple[WatchResult, bool]:
    """Watches until it is told to stop. Returns how it ended, and whether by Ctrl-C. Raises EveryframeError."""
    use_logs(settings.options.log_json)
    with ExitStack() as stack:
        state = stack.enter_context(_own_folder(Path(settings.options.state)))
        redis = _redis(settings, state, stack)
        crew = make_crew(settings)
        watch = Watch(settings, crew, _setups(settings, state, redis))
        stop = stack.enter_context(_Signals())
        if settings.options.http is not None:
            server = serve(watch, settings.options.http, settings.options.http_token)
            stack.callback(server.stop)
            log_event("http", f"the live page is at {server.url}", url=server.url)
        if redis is not None:
            stack.enter_context(ControlReader(redis, watch.command, state / "control"))
        if not quiet:
            stack.enter_context(StatusTable(watch, as_lines=settings.options.log_json))
        result = watch.run(stop.event)
        return result, stop.which == signal.SIGINT


def make_crew(settings: WatchSettings) -> Crew:
    """In processes of Ray's, or in this one."""
    engine = settings.options.engine
    several = len(settings.cameras) > 1 and (os.cpu_count() or 1) > 1
    if engine == "ray" or settings.options.address is not None or (engine == "auto" and several):
        from everyframe.pipeline.engines.ray_live import RayCrew

        return RayCrew(settings.model, settings.cpus, settings.options.address)
    from everyframe.pipeline.live.local_crew import LocalCrew

    return LocalCrew(settings.model, settings.cpus)


def _setups(settings: WatchSettings, state: Path, redis: str | None) -> Any:
    names = class_names(settings.model.model)
    options, retain_s = settings.options, settings.retain_s
    maxlen = None if retain_s is not None or options.redis_maxlen == 0 else options.redis_maxlen or MAXLEN

    def setup(camera: Camera) -> Setup:
        return Setup(
            camera=camera, folder=state / "cameras" / camera.name, names=names, redis=redis,
            out=None if options.out is None else Path(options.out).absolute(), maxlen=maxlen, retain_s=retain_s,
            spool_bytes=int(options.spool_mb * 1e6),
        )  # fmt: skip

    return setup


def _redis(settings: WatchSettings, state: Path, stack: ExitStack) -> str | None:
    """URL of the Redis to publish to, started where it is our own. One that is away is no reason not to start."""
    where = settings.options.redis or os.environ.get("REDIS_URL") or "none"
    if where == "none":
        if settings.options.out is None:
            raise UsageError(
                "nowhere to put labels: add --redis redis://HOST:6379/0, --redis embedded, or --out DIR"
            )
        return None
    if where == "embedded":
        server = stack.enter_context(EmbeddedRedis(state / "redis"))
        log_event(
            "redis", f"records are in {state / 'redis'}: read them with everyframe labels {state / 'redis'}"
        )
        return server.url
    if "://" not in where:
        raise SettingsError("--redis: write a URL such as redis://localhost:6379/0, embedded or none")
    return where


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """The state folder, made and locked: two of us on one would both count and publish. Raises UsageError, SinkError."""
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise SinkError(f"cannot write to {folder}: {e.strerror}; name another folder with --state") from e
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise UsageError(
                f"another everyframe watch uses {folder}: end it, or name another folder with --state"
            ) from e
        yield folder
    finally:
        os.close(lock)


class _Signals:
    """SIGTERM and SIGINT set `event`, and `which` tells the first; a second Ctrl-C breaks in at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.which = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for which in (signal.SIGTERM, signal.SIGINT):
                self._before[which] = signal.signal(which, self._handle)
        return self

    def _handle(self, which: int, frame: FrameType | None) -> None:
        if self.which and which == signal.SIGINT:
            raise KeyboardInterrupt
        self.which = self.which or which
        self.event.set()

    def __exit__(self, *_: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)
