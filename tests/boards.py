"""A `Board` fed by a real clip: its labels as a real worker gives them, its pictures as they were decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from media import DATA

import everyframe
from everyframe.operators.detectors.coco import NAMES
from everyframe.operators.types import U8
from everyframe.pipeline.labelling.audits import AuditSums
from everyframe.pipeline.live.preview import draw_preview
from everyframe.pipeline.live.types import (
    DECODED,
    DROPPED,
    PUBLISHED,
    RECEIVED,
    RECONNECTS,
    RUNG,
    SPOOLED,
    CameraEvent,
    CameraReport,
    Histogram,
    MachineReport,
)
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.sinks.video import pictures_at

BOUNDS_MS = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


class Clip:
    """A clip's labels and pictures, as many as `limit`."""

    def __init__(self, path: Path, limit: int = 30, policy: str = "stride:10") -> None:
        self.labels: list[FrameLabels] = list(
            everyframe.label(str(path), policy=policy, mode="causal", limit=limit, runtime="torch", precision="f32")
        )
        wanted = [(record.frame_index, record.pts) for record in self.labels]
        found = list(pictures_at(str(path), wanted))
        assert all(picture is not None for picture in found)
        self.pictures: list[U8] = [np.asarray(picture) for picture in found]


@cache
def dashcam() -> Clip:
    """A short clip, labelled once for all tests of a process."""
    path = DATA / "moving" / "dashcam.mp4"
    if not path.exists():
        pytest.skip("no real video: ../shared/data is absent")
    return Clip(path, limit=20)


class ClipBoard:
    """Cameras that all show one clip over and over. `step` plays frames; `play` does so in a thread.

    asked: of which cameras a picture was asked for.
    """

    def __init__(self, clip: Clip, names: Sequence[str] = ("yard",), epoch: int = 1_700_000_000_000) -> None:
        self.clip = clip
        self.asked: list[str] = []
        self.fault: Exception | None = None
        self._lock = threading.Lock()
        self._frame = 0
        self._events: list[CameraEvent] = []
        self._ids: set[tuple[str, int]] = set()
        self._stop = threading.Event()
        self._machine = MachineReport(epoch, 1.5, 0.0, 0.0, 90_000_000, is_ready=True, heard=time.monotonic())
        empty = Histogram(BOUNDS_MS, (0,) * (len(BOUNDS_MS) + 1), 0.0)
        self._reports = {
            name: CameraReport(
                name, epoch, "connecting", price=0.25, policy="stride:10", audits=AuditSums(),
                publish=empty, queue=empty, cnn=empty,
            )
            for name in names
        }  # fmt: skip

    def change(self, name: str, /, **values: object) -> None:
        with self._lock:
            self._reports[name] = replace(self._reports[name], **values)  # type: ignore[arg-type]

    def set_machine(self, **values: object) -> None:
        with self._lock:
            self._machine = replace(self._machine, **values)  # type: ignore[arg-type]

    def remove(self, name: str) -> None:
        with self._lock:
            del self._reports[name]

    def step(self, frames: int = 1) -> None:
        """The next frames of the clip arrive at every camera."""
        for _ in range(frames):
            with self._lock:
                record = self.clip.labels[self._frame % len(self.clip.labels)]
                self._frame += 1
                for name in self._reports:
                    self._arrive(name, record)
                cpu = time.process_time() % 1
                looks = self._frame // 10
                self._machine = replace(self._machine, cpu=cpu, cnn=cpu / 2, looks=looks, heard=time.monotonic())

    def play(self, fps: float = 20.0) -> ClipBoard:
        def run() -> None:
            while not self._stop.wait(1 / fps):
                self.step()

        threading.Thread(target=run, daemon=True).start()
        return self

    def stop(self) -> None:
        self._stop.set()

    def _arrive(self, name: str, record: FrameLabels) -> None:
        report = self._reports[name]
        counts = dict(report.counts)
        for key in (RECEIVED, DECODED, PUBLISHED, f"{RUNG}{record.origin.label}"):
            counts[key] = counts.get(key, 0) + 1
        counts.setdefault(SPOOLED, 0)
        counts.setdefault(RECONNECTS, 0)
        counts.setdefault(f"{DROPPED}overload", 0)
        report.audits.take(len(record.objects), len(record.objects), len(record.objects) + 1)
        report.audits.open += 10
        took = sum(record.cost_ms.values())
        self._reports[name] = replace(
            report,
            state="live" if report.state == "connecting" else report.state,
            width=record.width,
            height=record.height,
            fps=20.0,
            counts=counts,
            cpu_s=report.cpu_s + took / 1000,
            publish=_add(report.publish, took),
            queue=_add(report.queue, took),
            cnn=_add(report.cnn, record.cost_ms.get("cnn", 0.0)),
            rungs=(report.rungs + bytes([record.origin]))[-300:],
            tracks=len(record.objects),
        )
        for track, kind in zip(record.objects.track_id.tolist(), record.objects.class_id.tolist(), strict=True):
            if (name, track) not in self._ids:
                self._ids.add((name, track))
                event = CameraEvent(name, "new", time.time(), record.frame_index, track, NAMES[kind])
                self._events.append(event)

    def machine(self) -> MachineReport:
        if self.fault is not None:
            raise self.fault
        with self._lock:
            return self._machine

    def cameras(self) -> list[CameraReport]:
        with self._lock:
            return list(self._reports.values())

    def events(self, after: int) -> tuple[int, list[CameraEvent]]:
        with self._lock:
            return len(self._events), self._events[after:]

    def picture(self, camera: str) -> bytes | None:
        self.asked.append(camera)
        with self._lock:
            if camera not in self._reports or not self._frame:
                return None
            at = (self._frame - 1) % len(self.clip.labels)
        return draw_preview(self.clip.pictures[at], self.clip.labels[at].objects, NAMES)


def _add(histogram: Histogram | None, ms: float) -> Histogram:
    assert histogram is not None
    counts = list(histogram.counts)
    counts[int(np.searchsorted(histogram.bounds_ms, ms))] += 1
    return Histogram(histogram.bounds_ms, tuple(counts), histogram.total_ms + ms)
