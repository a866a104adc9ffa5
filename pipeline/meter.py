"""CPU time by step: of all threads of the process, never wall time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Meter:
    """Charges process CPU time to named steps, in ms; `take` gives what came together since the last `take`."""

    def __init__(self) -> None:
        self._open: dict[str, float] = {}
        self.total: dict[str, float] = {}
        self._start = time.process_time()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.process_time()
        try:
            yield
        finally:
            self.add(name, (time.process_time() - start) * 1e3)

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
