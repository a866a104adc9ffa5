"""One camera in one process: its connection and its worker, each on a thread of its own, and its publisher.

    LiveSource -> Inbox -> LiveWorker -> EventMaker, LivePublisher

What a killed process had received and not yet handed on is counted when the camera is opened anew: `dropped.restart`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from everyframe.pipeline.errors import SinkError, mask_secrets
from everyframe.pipeline.live.balance import RESTART, missing
from everyframe.pipeline.live.crew import News, Setup
from everyframe.pipeline.live.events import EventMaker
from everyframe.pipeline.live.inbox import Inbox
from everyframe.pipeline.live.ledger import Ledger
from everyframe.pipeline.live.load import rss_bytes
from everyframe.pipeline.live.preview import draw_preview
from everyframe.pipeline.live.types import CameraEvent, CameraReport, LiveLabels, Looker, State
from everyframe.pipeline.live.worker import LiveWorker
from everyframe.pipeline.sinks.live import LivePublisher
from everyframe.pipeline.sources.live import LiveSource

INBOX_FRAMES, INBOX_BYTES = 300, 64 << 20
IDLE_S = 0.04
EVENTS = 1000
LOCK_S = 10.0
"""Another process of this camera may still be ending."""
RECEIVE, WORK = "receive", "work"
_TICKS = os.sysconf("SC_CLK_TCK")
_LOG = logging.getLogger("everyframe.camera")


class Host:
    """A camera from when it is made until `stop`. looker: the way to the CNN. owns_process: the process is this camera's
    alone, so its CPU and memory are the camera's. Raises SinkError where the camera's folder can't be used."""

    def __init__(self, setup: Setup, looker: Looker, owns_process: bool = False) -> None:
        self._setup = setup
        self._owns_process = owns_process
        self._epoch = int(time.time() * 1000)
        self._state: tuple[State, str, float] = ("connecting", "", time.time())
        self._fault = ""
        self._events: deque[CameraEvent] = deque(maxlen=EVENTS)
        self._lock = _locked(setup.folder)
        try:
            self._assemble(setup, looker)
        except BaseException:
            os.close(self._lock)
            raise
        self._threads = {
            name: threading.Thread(
                target=self._guard, args=(run,), name=f"{setup.camera.name}-{name}", daemon=True
            )
            for name, run in ((RECEIVE, self._source.run), (WORK, self._work))
        }
        for thread in self._threads.values():
            thread.start()

    def _assemble(self, setup: Setup, looker: Looker) -> None:
        camera = setup.camera
        self._ledger = Ledger(setup.folder / "ledger")
        self._publisher = LivePublisher(
            camera.name, setup.redis, setup.folder, self._ledger, names=setup.names, maxlen=setup.maxlen,
            retain_s=setup.retain_s, spool_bytes=setup.spool_bytes, out=setup.out,
        )  # fmt: skip
        self._settle()
        self._inbox = Inbox(INBOX_FRAMES, INBOX_BYTES, self._ledger)
        self._source = LiveSource(camera, self._inbox, self._ledger, self._on_state)
        self._maker = EventMaker(camera, setup.names)
        self._worker = LiveWorker(camera, looker, setup.facts, self._ledger, self._out)

    def _settle(self) -> None:
        """Closes the books of a process that was killed."""
        lost = missing(self._ledger.snapshot(), self._publisher.waiting)
        if lost > 0:
            self._ledger.add(RESTART, lost)

    # -- for the crew

    def news(self) -> News:
        """How it is, and the events since it was last asked."""
        events = [self._events.popleft() for _ in range(len(self._events))]
        report = self.report()
        self._publisher.put_status(report)
        is_over = not self._fault and self._state[0] == "stopped" and not self._threads[WORK].is_alive()
        return News(
            report,
            tuple(events),
            self._publisher.trouble,
            self._fault,
            is_over and not self._publisher.pending,
            os.getpid(),
        )

    def report(self) -> CameraReport:
        state, message, since = self._state
        worker, publisher = self._worker, self._publisher
        waiting = publisher.waiting
        return CameraReport(
            name=self._setup.camera.name, epoch=self._epoch, state=state, message=message, since=since,
            width=worker.width, height=worker.height, fps=worker.fps, counts=self._ledger.snapshot(), waiting=waiting,
            spool_bytes=publisher.spool_bytes, level=worker.level, level_name=worker.level_name,
            lag_s=self._inbox.lag_s, cpu_s=self._cpu_s(), rss_bytes=rss_bytes() if self._owns_process else 0,
            price=worker.price, policy=worker.policy_name, audits=worker.audits, publish=publisher.latency,
            rungs=bytes(worker.rungs), tracks=worker.tracks,
        )  # fmt: skip

    def pace(self, over: float) -> None:
        """over: CPU of the whole machine in budgets, above 1 where it must get cheaper."""
        self._worker.pace(over)

    def picture(self) -> bytes | None:
        """The latest picture with its boxes as JPEG; None before there is one."""
        found = self._worker.picture()
        return None if found is None else draw_preview(*found, self._setup.names)

    def stop(self, timeout_s: float) -> News:
        """Ends it: what arrived is labelled and published, or spooled, within the time."""
        until = time.monotonic() + timeout_s
        self._source.stop()
        for thread in self._threads.values():
            thread.join(max(until - time.monotonic() - 0.2, 0.1))
        self._publisher.close(max(until - time.monotonic(), 0.2))
        heard = self.news()
        os.close(self._lock)  # its counters stay readable: somebody may still ask
        return heard

    # -- threads

    def _guard(self, run: Callable[[], None]) -> None:
        """A thread that fails is the camera's end: the supervisor starts it anew."""
        try:
            run()
        except Exception as e:  # noqa: BLE001
            self._fault = mask_secrets(f"{type(e).__name__}: {e}")[:300]
            _LOG.exception("a thread of camera %s has failed", self._setup.camera.name)
            self._source.stop()

    def _work(self) -> None:
        while True:
            has_ended = not self._threads[RECEIVE].is_alive()  # asked before the last look into the inbox
            arrival = self._inbox.get(IDLE_S)
            if arrival is not None:
                self._worker.take(arrival)
            elif has_ended:
                break
            else:
                self._worker.idle()
        self._worker.close()

    def _out(self, labels: LiveLabels) -> None:
        self._publisher.put(labels)
        for event in self._maker.take(labels.labels):
            self._events.append(event)
            self._publisher.put_event(event)

    def _on_state(self, state: State, message: str) -> None:
        message = mask_secrets(message)
        if (state, message) != self._state[:2]:
            self._state = state, message, time.time()

    def _cpu_s(self) -> float:
        if self._owns_process:
            return time.process_time()
        return sum(_thread_s(thread) for thread in self._threads.values())


def _thread_s(thread: threading.Thread) -> float:
    """CPU seconds of a thread that runs; 0 of one that has ended."""
    try:
        stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    except OSError:
        return 0.0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def _locked(folder: Path) -> int:
    """A lock on a camera's folder, as long as it is open. Raises SinkError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise SinkError(f"cannot write to {folder}: {e.strerror}; name another folder with --state") from e
    until = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(lock)
                raise SinkError(
                    f"another process uses {folder}: end it, or name another folder with --state"
                ) from None
            time.sleep(0.05)
