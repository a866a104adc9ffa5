"""Histograms of durations that many threads may read while one adds."""

from __future__ import annotations

from bisect import bisect_left

from everyframe.pipeline.live.types import Histogram

BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 150.0, 300.0, 600.0, 1200.0, 2500.0, 5000.0, 10000.0)


class Durations:
    """bounds_ms: rising."""

    def __init__(self, bounds_ms: tuple[float, ...] = BOUNDS_MS) -> None:
        self._bounds = bounds_ms
        self._counts = [0] * (len(bounds_ms) + 1)
        self._total = 0.0

    def add(self, ms: float) -> None:
        self._counts[bisect_left(self._bounds, ms)] += 1
        self._total += ms

    def histogram(self) -> Histogram:
        return Histogram(self._bounds, tuple(self._counts), self._total)
