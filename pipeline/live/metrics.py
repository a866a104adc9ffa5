"""/metrics: the board in Prometheus's text formats, read when it is scraped.

Counters go on where a camera's process was restarted and began at nought: what it had counted before is kept and added.
Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from everyframe import __version__
from everyframe.pipeline.labelling.audits import estimate
from everyframe.pipeline.live.types import (
    DECODED,
    DROPPED,
    PUBLISHED,
    RECEIVED,
    RECONNECTS,
    RUNG,
    SPOOLED,
    Board,
    CameraReport,
    Histogram,
    MachineReport,
)

STATES = ("connecting", "live", "waiting", "failed", "stopped")
_NAMED = {
    RECEIVED: ("frames_received", "Frames that arrived."),
    DECODED: ("frames_decoded", "Frames that were decoded."),
    PUBLISHED: ("labels_published", "Records that Redis has taken."),
    SPOOLED: ("labels_spooled", "Records that ever went to the spool on disk."),
    RECONNECTS: ("reconnects", "Connections to the camera after the first."),
}
_HISTOGRAMS = {
    "publish": ("publish_latency_seconds", "From a packet's arrival to the answer of Redis."),
    "queue": ("detector_queue_seconds", "How long a picture waited for the CNN."),
    "cnn": ("cnn_seconds", "CPU time of the CNN for one look."),
}
_MACHINE_GAUGES: tuple[tuple[str, str, Callable[[MachineReport], float]], ...] = (
    ("cpu_cores", "Cores in use by all processes of everyframe.", lambda m: m.cpu),
    ("cnn_cores", "Cores in use by the CNN.", lambda m: m.cnn),
    ("cpu_budget_cores", "Cores that may be used.", lambda m: m.cpus),
    ("memory_bytes", "Resident memory of all processes.", lambda m: m.rss_bytes),
    ("detector_waiting", "Pictures that wait for the CNN.", lambda m: m.pool_waiting),
    ("redis_up", "1 while Redis answers.", lambda m: not m.redis),
    ("ready", "1 once the detector is loaded.", lambda m: m.is_ready),
    ("start_time_seconds", "Unix time at which the supervisor began.", lambda m: m.epoch / 1000),
)
_MACHINE_COUNTERS: tuple[tuple[str, str, Callable[[MachineReport], float]], ...] = (
    ("looks", "Pictures that the CNN looked at.", lambda m: m.looks),
    ("looks_dropped", "Requests dropped before the CNN looked.", lambda m: m.looks_dropped),
    ("process_restarts", "Processes that had died and were started again.", lambda m: m.restarts),
)
_CAMERA_GAUGES: tuple[tuple[str, str, Callable[[CameraReport], float]], ...] = (
    ("camera_up", "1 while pictures arrive.", lambda c: c.state == "live"),
    ("price_of_error", "Price of an error that the policy works with.", lambda c: c.price),
    ("overload_level", "How much cheaper the camera has been made, 0 for not at all.", lambda c: c.level),
    ("lag_seconds", "Age of the oldest packet that waits.", lambda c: c.lag_s),
    ("spool_records", "Records that wait on disk.", lambda c: c.waiting),
    ("spool_bytes", "Size of the records that wait on disk.", lambda c: c.spool_bytes),
    ("frames_per_second", "Frames that arrive in a second.", lambda c: c.fps),
    ("camera_memory_bytes", "Resident memory of the camera's process.", lambda c: c.rss_bytes),
    ("tracks", "Objects followed now.", lambda c: c.tracks),
)


class Monotone:
    """Numbers that never go back, made of numbers that begin again from nought with a process."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, ...]] = {}
        self._base: dict[str, tuple[float, ...]] = {}

    def go_on(self, key: str, values: Sequence[float]) -> tuple[float, ...]:
        """values: what the process has counted. Any of them below what it was: it has begun again, all of them have."""
        now = tuple(values)
        last = self._last.get(key, ())
        zero = (0.0,) * len(now)
        base = self._base.get(key, zero)
        if len(last) != len(now):
            base = zero
        elif any(a < b for a, b in zip(now, last, strict=True)):
            base = tuple(a + b for a, b in zip(base, last, strict=True))
        self._last[key], self._base[key] = now, base
        return tuple(a + b for a, b in zip(base, now, strict=True))

    def keep(self, keys: Iterable[str]) -> None:
        """Forgets all other keys."""
        for key in set(self._last) - set(keys):
            del self._last[key], self._base[key]


class BoardCollector(Collector):
    """Reads a board at each scrape. cores: of each camera's process, as measured over the last seconds."""

    def __init__(self, board: Board, cores: Callable[[], Mapping[str, float]] | None = None) -> None:
        self._board = board
        self._cores = cores or dict
        self._monotone = Monotone()
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            machine, cameras = self._board.machine(), self._board.cameras()
            self._seen = set()
            found = [
                *_machine(machine, self._counted),
                *_counters(cameras, self._counted),
                *_gauges(cameras, self._cores()),
                *_histograms(cameras, self._go_on),
            ]
            self._monotone.keep(self._seen)
        yield from found

    def _go_on(self, key: str, values: Sequence[float]) -> tuple[float, ...]:
        self._seen.add(key)
        return self._monotone.go_on(key, values)

    def _counted(self, key: str, value: float) -> float:
        return self._go_on(key, (value,))[0]


Counted = Callable[[str, float], float]
GoOn = Callable[[str, Sequence[float]], tuple[float, ...]]


def _machine(machine: MachineReport, counted: Counted) -> Iterator[Metric]:
    info = GaugeMetricFamily("everyframe_build_info", "The version that runs.", labels=["version"])
    info.add_metric([__version__], 1)
    yield info
    for name, text, value in _MACHINE_GAUGES:
        yield GaugeMetricFamily(f"everyframe_{name}", text, value(machine))
    for name, text, value in _MACHINE_COUNTERS:
        yield CounterMetricFamily(f"everyframe_{name}", text, counted(f"machine/{name}", value(machine)))


def _counters(cameras: Sequence[CameraReport], counted: Counted) -> Iterator[Metric]:
    named = {key: _counter(name, text) for key, (name, text) in _NAMED.items()}
    rungs = _counter("records", "Records by how they came to be.", "rung")
    drops = _counter("frames_dropped", "Frames that got no record, by reason.", "reason")
    others = _counter("occurrences", "Whatever else is counted.", "what")
    cpu = _counter("camera_cpu_seconds", "CPU time of the camera's process.")
    for camera in cameras:
        for key in _NAMED:
            named[key].add_metric([camera.name], counted(f"{camera.name}/{key}", camera.counts.get(key, 0)))
        for key, n in sorted(camera.counts.items()):
            if key in _NAMED:
                continue
            family, label = others, key
            for prefix, its in ((RUNG, rungs), (DROPPED, drops)):
                if key.startswith(prefix):
                    family, label = its, key.removeprefix(prefix)
            family.add_metric([camera.name, label], counted(f"{camera.name}/{key}", n))
        cpu.add_metric([camera.name], counted(f"{camera.name}/cpu", camera.cpu_s))
    yield from (*named.values(), rungs, drops, others, cpu)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"everyframe_{name}", text, labels=["camera", *labels])


def _gauges(cameras: Sequence[CameraReport], cores: Mapping[str, float]) -> Iterator[Metric]:
    for name, text, value in _CAMERA_GAUGES:
        family = _gauge(name, text)
        for camera in cameras:
            if not math.isnan(number := float(value(camera))):
                family.add_metric([camera.name], number)
        yield family
    state = _gauge("camera_state", "1 for the state that the camera is in.", "state")
    used = _gauge("camera_cpu_cores", "Cores in use by the camera's process, over the last seconds.")
    for camera in cameras:
        for name in STATES:
            state.add_metric([camera.name, name], camera.state == name)
        if camera.name in cores:
            used.add_metric([camera.name], cores[camera.name])
    yield state
    yield used
    yield from _audits(cameras)


def _audits(cameras: Sequence[CameraReport]) -> Iterator[Metric]:
    f1 = _gauge("audited_f1", "F1 against the CNN on every frame, by audits.")
    low = _gauge("audited_f1_low", "Lower end of its 95 % interval.")
    high = _gauge("audited_f1_high", "Upper end of its 95 % interval.")
    for camera in cameras:
        if (found := estimate(camera.audits)) is not None:
            for family, value in ((f1, found.f1), (low, found.low), (high, found.high)):
                family.add_metric([camera.name], value)
    yield from (f1, low, high)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"everyframe_{name}", text, labels=["camera", *labels])


def _histograms(cameras: Sequence[CameraReport], go_on: GoOn) -> Iterator[Metric]:
    for key, (name, text) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(f"everyframe_{name}", text, labels=["camera"])
        for camera in cameras:
            found: Histogram | None = getattr(camera, key)
            if found is not None:
                *counts, total = go_on(f"{camera.name}/{key}", (*found.counts, found.total_ms))
                family.add_metric([camera.name], _buckets(found.bounds_ms, counts), total / 1000)
        yield family


def _buckets(bounds_ms: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound in seconds, as Prometheus wants them."""
    names = [f"{bound / 1000:g}" for bound in bounds_ms] + ["+Inf"]
    sums, total = [], 0.0
    for n in counts:
        total += n
        sums.append(total)
    return list(zip(names, sums, strict=True))


def make_metrics(collector: BoardCollector) -> Callable[[str], tuple[bytes, str]]:
    """What answers a scrape: from the Accept header to (body, content type)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    def scrape(accept: str) -> tuple[bytes, str]:
        encode, kind = choose_encoder(accept)
        return encode(registry), kind

    return scrape
