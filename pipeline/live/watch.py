"""The supervisor of `everyframe watch`: once a second it hears every camera, starts again what died, holds the CPU
budget, takes over what changed in the YAML file and what commands ask, and tells how all is doing."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everyframe.pipeline.errors import EveryframeError, UsageError
from everyframe.pipeline.live import statefile
from everyframe.pipeline.live.balance import missing
from everyframe.pipeline.live.budget import shares
from everyframe.pipeline.live.crew import Crew, News, Setup
from everyframe.pipeline.live.load import Load
from everyframe.pipeline.live.logs import log_event
from everyframe.pipeline.live.revival import Revival
from everyframe.pipeline.live.roster import Roster
from everyframe.pipeline.live.settings import Changes, WatchSettings
from everyframe.pipeline.live.types import Camera, CameraEvent, CameraReport, MachineReport

TICK_S = 1.0
EVENTS = 500
STOP_S = 3.5
"""Of the 5 s that a stop may take, for cameras: what arrived is labelled, published or spooled."""

SetupMaker = Callable[[Camera], Setup]


@dataclass(frozen=True, slots=True)
class WatchResult:
    """How it ended. unaccounted: by camera, frames that nothing accounts for, where there are any. killed: cameras that
    did not end in time."""

    cameras: tuple[CameraReport, ...]
    machine: MachineReport
    unaccounted: dict[str, int]
    killed: tuple[str, ...]
    wall_s: float


class Watch:
    """Satisfies `live.types.Board`. setup: what a camera's process is told."""

    def __init__(self, settings: WatchSettings, crew: Crew, setup: SetupMaker) -> None:
        self._settings = settings
        self._crew = crew
        self._setup = setup
        self._roster = Roster(settings)
        self._lock = threading.RLock()  # of a round, and of commands between rounds
        self._revivals: dict[str, Revival] = {}
        self._reports: dict[str, CameraReport] = {}
        self._events: deque[CameraEvent] = deque(maxlen=EVENTS)
        self._count = 0
        self._news: dict[str, News] = {}
        self._load = Load(settings.cpus, crew.is_apart)
        self._cnn_pid = 0
        self._restarts = 0
        self._trouble = ""
        self._is_ending = False
        self._began = time.monotonic()
        self._epoch = int(time.time() * 1000)
        self._machine = MachineReport(self._epoch, settings.cpus, 0.0, 0.0, 0, heard=self._began)

    # -- Board

    def machine(self) -> MachineReport:
        return self._machine

    def cameras(self) -> Sequence[CameraReport]:
        return [self._reports[name] for name in list(self._reports)]

    def events(self, after: int) -> tuple[int, Sequence[CameraEvent]]:
        kept, count = list(self._events), self._count
        new = max(count - after, 0)
        return count, kept[len(kept) - min(new, len(kept)) :]

    def picture(self, camera: str) -> bytes | None:
        return self._crew.picture(camera) if camera in self._reports else None

    # -- its life

    def run(self, stop: threading.Event) -> WatchResult:
        """Watches until `stop` is set, the time is up, or every file has been played to its end."""
        duration = self._settings.options.duration
        try:
            self.open()
            until = None if duration is None else time.monotonic() + duration
            due = time.monotonic()
            while not stop.is_set() and (until is None or time.monotonic() < until) and not self._is_over():
                self.round()
                due = max(due + TICK_S, time.monotonic() + 0.05)
                wait = due - time.monotonic()
                stop.wait(wait if until is None else max(0.0, min(wait, until - time.monotonic())))
            return self._end()
        finally:
            self._crew.close()

    def open(self) -> None:
        """Starts the CNN and every camera. Raises EveryframeError where the CNN can't be used."""
        self._crew.open()
        with self._lock:
            self._apply(Changes(added=tuple(self._roster.cameras.values())))

    def round(self) -> None:
        """One look at everything."""
        with self._lock:
            self._hear(self._crew.news())
            self._revive()
            if self._roster.file_has_changed():
                self._reload()
            self._hold_budget()
            statefile.write(self._settings.options.state, self._machine, self.cameras())

    def command(self, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a command asks: add, remove, change, list or status. Raises UsageError or SettingsError, which changes nothing."""
        with self._lock:
            if name == "list":
                return {"cameras": self._roster.rows()}
            if name == "status":
                return {
                    "cameras": [
                        {"name": r.name, "state": r.state, "message": r.message} for r in self.cameras()
                    ]
                }
            if self._is_ending:
                raise UsageError("it is being stopped: send the command again when it runs")
            done = self._roster.command(name, row)
            self._apply(done)
            names = [*(camera.name for camera in (*done.added, *done.changed)), *done.removed]
            return {"done": name, "cameras": names}

    # -- parts of a round

    def _apply(self, done: Changes) -> None:
        gone = [*done.removed, *(camera.name for camera in done.changed)]
        if gone:
            self._last_words(self._crew.stop(gone, STOP_S), gone)
        for name in done.removed:
            self._reports.pop(name, None)
            self._revivals.pop(name, None)
            self._news.pop(name, None)
            log_event("removed", "removed", name)
        for camera in (*done.added, *done.changed):
            self._revivals[camera.name] = Revival(time.monotonic())
            self._reports.setdefault(camera.name, CameraReport(camera.name, 0, "connecting"))
            self._start(camera)
            log_event("added" if camera in done.added else "changed", "is watched", camera.name)

    def _start(self, camera: Camera) -> None:
        try:
            self._crew.start(self._setup(camera))
        except EveryframeError as e:
            self._lost(camera.name, str(e))

    def _reload(self) -> None:
        try:
            done, remark = self._roster.reload()
        except EveryframeError as e:
            log_event("refused", str(e), level=logging.WARNING)
            self._trouble = str(e)
            return
        self._trouble = remark
        if remark:
            log_event("later", remark, level=logging.WARNING)
        self._apply(done)

    def _hear(self, news: Mapping[str, News]) -> None:
        for name, heard in news.items():
            if name not in self._roster.cameras:
                continue
            self._take_events(heard.events)
            if heard.fault:
                self._lost(name, heard.fault)
                continue
            before = self._reports.get(name)
            if before is not None and (before.state, before.message) != (
                heard.report.state,
                heard.report.message,
            ):
                log_event("state", f"{heard.report.state}: {heard.report.message}".rstrip(": "), name)
            self._reports[name], self._news[name] = heard.report, heard

    def _take_events(self, events: Sequence[CameraEvent]) -> None:
        self._events.extend(events)
        self._count += len(events)

    def _lost(self, name: str, why: str) -> None:
        """A camera's process has died: it is due to be started again."""
        revival = self._revivals[name]
        if revival.due is not None:
            return
        self._revivals[name] = revival.died(time.monotonic())
        report = self._reports.get(name) or CameraReport(name, 0, "connecting")
        self._reports[name] = replace(
            report, state="connecting", message=f"its process ended ({why}); it is started again"
        )
        log_event("lost", f"its process ended: {why}", name, logging.WARNING)

    def _revive(self) -> None:
        now = time.monotonic()
        for name, revival in list(self._revivals.items()):
            if revival.due is not None and now >= revival.due:
                self._revivals[name] = revival.started(now)
                self._restarts += 1
                self._start(self._roster.cameras[name])
                log_event("restarted", "started again", name)

    def _hold_budget(self) -> None:
        cnn = self._crew.cnn()
        if cnn.pid and cnn.pid != self._cnn_pid:
            if self._cnn_pid:
                self._restarts += 1
                log_event("restarted", "the CNN's process was started again", level=logging.WARNING)
            self._cnn_pid = cnn.pid
        for name, report in self._reports.items():
            self._reports[name] = replace(report, queue=cnn.queue.get(name), cnn=cnn.cnn.get(name))
        now = time.monotonic()
        cores = self._load.take(now, self.cameras(), cnn, self._crew.rest(now))
        held = shares(self._settings.cpus, cores.cameras)
        self._crew.pace(held.cnn, held.over)
        trouble = next((news.trouble for news in self._news.values() if news.trouble), "")
        self._machine = self._load.report(self._epoch, cores, trouble, self._restarts, cnn, now)

    def _is_over(self) -> bool:
        names = self._roster.cameras
        return bool(names) and all(name in self._news and self._news[name].is_over for name in names)

    # -- the end

    def _end(self) -> WatchResult:
        with self._lock:
            self._is_ending = True
            names = list(self._roster.cameras)
            killed = self._last_words(self._crew.stop(names, STOP_S), names)
            reports = tuple(self._reports[name] for name in names if name in self._reports)
            unaccounted = {
                report.name: lost
                for report in reports
                if report.name not in killed and (lost := missing(report.counts, report.waiting))
            }
            for name, lost in unaccounted.items():
                log_event(
                    "unaccounted",
                    f"{lost} frames are neither published, spooled nor counted",
                    name,
                    logging.ERROR,
                )
            statefile.write(self._settings.options.state, self._machine, reports, is_over=True)
            return WatchResult(reports, self._machine, unaccounted, killed, time.monotonic() - self._began)

    def _last_words(self, news: Mapping[str, News], names: Sequence[str]) -> tuple[str, ...]:
        for name, heard in news.items():
            self._take_events(heard.events)
            self._reports[name] = replace(heard.report, state="stopped", message="")
        killed = tuple(name for name in names if name not in news)
        for name in killed:
            sentence = "did not end in time and was killed; its books are closed at its next start"
            log_event("killed", sentence, name, logging.WARNING)
        return killed
