"""The `ray` engine: shards of sources on actors, one CPU each. The only file that imports ray.

An actor gets a path and a shard, reads and decodes the file itself, and answers with the shard's records in one piece:
an answer is there whole or not at all, so a shard that ran on an actor which was killed is run again on a fresh one
without a record lost or doubled. Records leave in the order of sources and shards.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from everyframe.operators.base import Detector
from everyframe.operators.types import Objects
from everyframe.pipeline.costs import choose_runtime, open_detector
from everyframe.pipeline.engines.base import Chunk, Event, Finished, RunStats, Started
from everyframe.pipeline.errors import EngineError, EveryframeError
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import FRAMES_PER_SHARD, Shard, plan_shards
from everyframe.pipeline.stitch import Stitcher
from everyframe.pipeline.warm import warm_detector, warm_up
from everyframe.pipeline.worker import StreamWorker

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_enable_metrics_collection": "0",
}
OBJECT_STORE_BYTES = 256 << 20
RETRIES = 3
CHUNK_FRAMES = 64


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What an actor answers. labels count frames and tracks from the shard's start; last as `StreamWorker.last`.

    error: why the shard ended early; the records before are whole.
    """

    labels: list[FrameLabels]
    last: Objects | None
    stats: RunStats
    error: EveryframeError | None


class ShardActor:
    """Runs on a Ray worker: labels shards, keeping the detector between them."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[ModelSettings, int, int], Detector] = {}
        warm_up()

    def process_id(self) -> int:
        return os.getpid()

    def label(self, path: str, shard: Shard, settings: LabelSettings) -> ShardResult:
        import cv2

        cv2.setNumThreads(settings.model.threads)
        labels: list[FrameLabels] = []
        worker: StreamWorker | None = None
        error: EveryframeError | None = None
        try:
            with FileSource(path, shard.start_pts, shard.end_pts) as source:
                worker = StreamWorker(source, self._detector(settings.model, source.info), settings)
                for chunk in worker.chunks():
                    labels += chunk
        except EveryframeError as e:
            error = e
        if worker is None:
            return ShardResult(labels, None, RunStats(), error)
        return ShardResult(labels, worker.last, worker.stats, error)

    def _detector(self, settings: ModelSettings, info: SourceInfo) -> Detector:
        key = (settings, info.width, info.height)
        if key not in self._loaded:
            self._loaded[key] = open_detector(settings, info.width, info.height)
            warm_detector(self._loaded[key], info.width, info.height)
        return self._loaded[key]


@dataclass(slots=True)
class _Job:
    """A source's plan in the driver. broken: why it has no shards to run."""

    number: int
    path: str
    shards: list[Shard]
    settings: LabelSettings
    info: SourceInfo | None = None
    broken: EveryframeError | None = None


class RayEngine:
    """Satisfies `engines.base.Engine`. workers: actors, by default one for each CPU. address: of a Ray cluster that
    runs already; None starts one on this machine, for this run only."""

    def __init__(
        self, workers: int | None = None, address: str | None = None, frames_per_shard: int = FRAMES_PER_SHARD
    ) -> None:
        self._workers = workers
        self._address = address
        self._frames_per_shard = frames_per_shard
        self._actors: list[Any] = []
        self._is_started = False

    def run(self, paths: Sequence[str], settings: LabelSettings) -> Iterator[Event]:
        try:
            self._start(settings.model.threads)
            jobs = (self._plan(number, path, settings) for number, path in enumerate(paths))
            yield from self._deliver(jobs)
        except _ray().exceptions.RayError as e:
            raise EngineError(f"Ray failed: {_first_line(e)}; try --engine local.") from e

    def close(self) -> None:
        """Ends the actors, and the cluster if this engine started it."""
        if self._is_started:
            for actor in self._actors:
                _ray().kill(actor)
            self._actors.clear()
            with _own_signals():
                _ray().shutdown()
            self._is_started = False

    def process_ids(self) -> list[int]:
        """Of the actors' processes, for tests that kill one."""
        ids: list[int] = _ray().get([actor.process_id.remote() for actor in self._actors])
        return ids

    def _start(self, threads: int) -> None:
        ray = _ray()
        workers = self._workers or os.cpu_count() or 1
        os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
        runtime: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": str(threads)}}
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.FATAL, "runtime_env": runtime}
        if self._address is None:
            options |= {
                "address": "local",
                "num_cpus": workers,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
            }
        else:
            import everyframe

            options["address"] = self._address
            runtime["py_modules"] = [everyframe]
        try:
            with _own_signals():
                ray.init(**options)
        except (ConnectionError, OSError, RuntimeError, ValueError) as e:
            where = "a local Ray cluster" if self._address is None else f"the Ray cluster at {self._address}"
            raise EngineError(f"cannot reach {where}: {_first_line(e)}; try --engine local.") from e
        self._is_started = True
        make = ray.remote(num_cpus=1, max_restarts=RETRIES, max_task_retries=RETRIES)(ShardActor)
        self._actors = [make.remote() for _ in range(workers)]

    def _plan(self, number: int, path: str, settings: LabelSettings) -> _Job:
        """Opens a source in the driver: its shards, and which runtime every worker is to use for it."""
        job = _Job(number, path, [], settings)
        try:
            with FileSource(path) as source:
                job.info = source.info
            job.shards = plan_shards(path, self._frames_per_shard)
            runtime, precision = choose_runtime(settings.model, job.info.width, job.info.height)
        except EveryframeError as e:
            job.broken = e
            return job
        job.settings = replace(settings, model=replace(settings.model, runtime=runtime, precision=precision))
        if settings.limit is not None:
            job.shards = _within(job.shards, settings.limit)
        return job

    def _deliver(self, jobs: Iterator[_Job]) -> Iterator[Event]:
        """Keeps every actor busy, and hands results on in order; a few shards wait at most."""
        idle = deque(self._actors)
        waiting: deque[tuple[_Job, Shard | None, Any]] = deque()
        running: dict[Any, Any] = {}
        todo = _todo(jobs)
        open_job: _Delivery | None = None
        while True:
            while idle and len(waiting) < 3 * len(self._actors):
                step = next(todo, None)
                if step is None:
                    break
                job, shard = step
                answer = None
                if shard is not None and job.broken is None:
                    actor = idle.popleft()
                    answer = actor.label.remote(os.path.abspath(job.path), shard, job.settings)
                    running[answer] = actor
                waiting.append((job, shard, answer))
            if not waiting:
                return
            first_answer = waiting[0][2]
            if first_answer is not None and first_answer in running:
                ready, _ = _ray().wait(list(running), num_returns=1)
                for answer in ready:
                    idle.append(running.pop(answer))
                continue
            job, shard, answer = waiting.popleft()
            if open_job is None or open_job.job is not job:
                open_job = _Delivery(job)
                yield from open_job.begin()
            if answer is not None:
                yield from open_job.take(_ray().get(answer))
            if shard is None or shard is job.shards[-1] or job.broken is not None:
                yield open_job.end()


class _Delivery:
    """Hands on one source's records; what follows a shard with an error is left out."""

    def __init__(self, job: _Job) -> None:
        self.job = job
        self._stitcher = Stitcher()
        self._stats = RunStats()
        self._error = job.broken

    def begin(self) -> Iterator[Event]:
        if self._error is None and self.job.info is not None:
            model = self.job.settings.model
            yield Started(self.job.number, self.job.info, model.runtime, model.precision)

    def take(self, result: ShardResult) -> Iterator[Event]:
        if self._error is not None:
            return
        limit = self.job.settings.limit
        self._stats.add(result.stats)
        self._stitcher.begin_shard()
        for start in range(0, len(result.labels), CHUNK_FRAMES):
            part = self._stitcher.stitch(result.labels[start : start + CHUNK_FRAMES])
            labels = [record for record in part if limit is None or record.frame_index < limit]
            if labels:
                yield Chunk(self.job.number, labels)
        self._stitcher.end_shard(result.last)
        if limit is not None:
            self._stats.frames = min(self._stats.frames, limit)
        self._error = result.error

    def end(self) -> Finished:
        return Finished(self.job.number, self._stats, self._error)


def _todo(jobs: Iterator[_Job]) -> Iterator[tuple[_Job, Shard | None]]:
    """Every shard of every job in order; None once for a job without shards."""
    for job in jobs:
        if not job.shards:
            yield job, None
        for shard in job.shards:
            yield job, shard


def _within(shards: list[Shard], limit: int) -> list[Shard]:
    """The shards that the first `limit` frames lie in."""
    frames = 0
    kept = []
    for shard in shards:
        if frames >= limit:
            break
        kept.append(shard)
        frames += shard.frames_estimate
    return kept


def _ray() -> Any:
    """Ray, imported when it is first needed: its import takes a second."""
    import ray
    import ray.exceptions

    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts its own handler on SIGTERM: ours come back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
