"""CPU time by step: of all threads of the process, never wall time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Step:
    """What an open step is charged to."""

    name: str


class Meter:
    """Charges process CPU time to named steps, in ms; `take` gives what came together since the last `take`.

    A step inside another is charged to the inner one alone.
    """

    def __init__(self) -> None:
        self._open: dict[str, float] = {}
        self.total: dict[str, float] = {}
        self._start = time.process_time()
        self._inner = 0.0  # seconds charged to steps inside the open one

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """The step may be renamed while it is open, where only its end shows what it was."""
        step = Step(name)
        outer, self._inner = self._inner, 0.0
        start = time.process_time()
        try:
            yield step
        finally:
            spent = time.process_time() - start
            self.add(step.name, (spent - self._inner) * 1e3)
            self._inner = outer + spent

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
