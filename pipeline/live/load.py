"""How much CPU all of it uses, from what each process says it has used, and the budget it is held to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from everyframe.pipeline.live.crew import CnnNews
from everyframe.pipeline.live.family import Rest
from everyframe.pipeline.live.types import CameraReport, MachineReport

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SMOOTH_S = 3.0
"""Rates are means over about so long."""


def rss_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE


@dataclass(slots=True)
class Rate:
    """Growth per second of a number that only grows, smoothed; one that went back began anew."""

    value: float = 0.0
    _last: float | None = None
    _at: float = 0.0

    def take(self, now: float, total: float) -> float:
        if self._last is not None and now > self._at:
            grown = max(total - self._last, 0.0) / (now - self._at)
            share = min((now - self._at) / _SMOOTH_S, 1.0)
            self.value += share * (grown - self.value)
        self._last, self._at = total, now
        return self.value


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores in use. cnn: by looks alone. cameras: by everything else."""

    cnn: float
    cameras: float

    @property
    def total(self) -> float:
        return self.cnn + self.cameras


class Load:
    """Measures once a round. is_apart: cameras and the CNN are processes of their own, not threads of this one."""

    def __init__(self, cpus: float, is_apart: bool) -> None:
        self._cpus = cpus
        self._is_apart = is_apart
        self._own, self._cnn, self._cnn_process = Rate(), Rate(), Rate()
        self._cameras: dict[str, Rate] = {}
        self._rss = 0

    def take(self, now: float, reports: Sequence[CameraReport], cnn: CnnNews, rest: Rest) -> Cores:
        """What is in use now. now: by the monotonic clock. rest: processes of the engine's own."""
        own = self._own.take(now, time.process_time() + rest.cpu_s)
        looks = self._cnn.take(now, cnn.cpu_s)
        self._rss = rss_bytes() + rest.rss_bytes
        total = own
        if self._is_apart:
            for name in [name for name in self._cameras if name not in {report.name for report in reports}]:
                del self._cameras[name]
            for report in reports:
                total += self._cameras.setdefault(report.name, Rate()).take(now, report.cpu_s)
                self._rss += report.rss_bytes
            total += self._cnn_process.take(now, cnn.process_cpu_s)
            self._rss += cnn.rss_bytes
        return Cores(min(looks, total), max(total - looks, 0.0))

    def report(
        self, epoch: int, cores: Cores, redis: str, restarts: int, cnn: CnnNews, heard: float
    ) -> MachineReport:
        return MachineReport(
            epoch=epoch, cpus=self._cpus, cpu=cores.total, cnn=cores.cnn, rss_bytes=self._rss, pool_waiting=cnn.waiting,
            looks=cnn.looks, looks_dropped=cnn.looks_dropped, restarts=restarts, redis=redis, is_ready=cnn.is_ready,
            heard=heard,
        )  # fmt: skip
