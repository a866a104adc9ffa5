"""What the page needs to draw lines: the last ten minutes of CPU, sampled once a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from everyframe.pipeline.live.types import Board, CameraReport, MachineReport

KEPT_S = 600
_SPAN = 6
"""Samples between which a camera's CPU is measured: reports come once a second, not at the same moment as samples."""


@dataclass(frozen=True, slots=True)
class Sample:
    """at: unix seconds. cores: in use by each camera's process. heard: `time.monotonic()` of this sample."""

    at: float
    machine: MachineReport
    cameras: tuple[CameraReport, ...]
    cores: dict[str, float]
    heard: float


class Sampler:
    """Call `tick` once a second, from one thread; all else from any."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._past: dict[str, deque[tuple[float, int, float]]] = {}  # monotonic time, epoch, CPU seconds
        self._lines: deque[tuple[float, float, float, dict[str, float]]] = deque(maxlen=KEPT_S)
        self.latest: Sample | None = None

    def tick(self) -> Sample:
        """Asks the board and remembers what it said."""
        machine, cameras = self._board.machine(), tuple(self._board.cameras())
        now, at = time.monotonic(), time.time()
        cores = self._cores(cameras, now)
        self._lines.append((at, machine.cpu, machine.cnn, cores))
        self.latest = Sample(at, machine, cameras, cores, now)
        return self.latest

    def cores(self) -> dict[str, float]:
        """Cores in use by each camera's process."""
        return {} if self.latest is None else self.latest.cores

    def history(self) -> dict[str, Any]:
        """{"at": [s], "cpu": [cores], "cnn": [cores], "cameras": {name: [cores, null where it was not there]}}"""
        lines = list(self._lines)
        names = [] if self.latest is None else [camera.name for camera in self.latest.cameras]
        return {
            "at": [round(line[0], 1) for line in lines],
            "cpu": [round(line[1], 3) for line in lines],
            "cnn": [round(line[2], 3) for line in lines],
            "cameras": {name: [_rounded(line[3].get(name)) for line in lines] for name in names},
        }

    def _cores(self, cameras: Sequence[CameraReport], now: float) -> dict[str, float]:
        found = {}
        for camera in cameras:
            past = self._past.setdefault(camera.name, deque(maxlen=_SPAN))
            if past and (past[-1][1] != camera.epoch or past[-1][2] > camera.cpu_s):
                past.clear()  # another process
            past.append((now, camera.epoch, camera.cpu_s))
            seconds = now - past[0][0]
            if seconds > 0:
                found[camera.name] = (camera.cpu_s - past[0][2]) / seconds
        for name in set(self._past) - {camera.name for camera in cameras}:
            del self._past[name]
        return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
