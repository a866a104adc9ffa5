"""CPU time by step: of all threads of the process, never wall time."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self


class Step:
    """An open step, charged to `name`. A class of its own, as a generator takes longer and steps are opened ten times a frame."""

    __slots__ = ("_meter", "_outer", "_start", "name")

    def __init__(self, meter: Meter, name: str) -> None:
        self._meter = meter
        self.name = name

    def __enter__(self) -> Self:
        self._outer, self._meter.inner = self._meter.inner, 0.0
        self._start = time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        spent = time.process_time() - self._start
        self._meter.add(self.name, (spent - self._meter.inner) * 1e3)
        self._meter.inner = self._outer + spent


class Meter:
    """Charges process CPU time to named steps, in ms; `take` gives what came together since the last `take`.

    A step inside another is charged to the inner one alone. inner: seconds charged to steps inside the open one.
    """

    def __init__(self) -> None:
        self._open: dict[str, float] = {}
        self.total: dict[str, float] = {}
        self._start = time.process_time()
        self.inner = 0.0

    def step(self, name: str) -> Step:
        """The step may be renamed while it is open, where only its end shows what it was."""
        return Step(self, name)

    def add(self, name: str, ms: float) -> None:
        self._open[name] = self._open.get(name, 0.0) + ms
        self.total[name] = self.total.get(name, 0.0) + ms

    def take(self) -> dict[str, float]:
        taken, self._open = self._open, {}
        return taken

    @property
    def whole_ms(self) -> float:
        """CPU ms of the process since the meter was made."""
        return (time.process_time() - self._start) * 1e3
