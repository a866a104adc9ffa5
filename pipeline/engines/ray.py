"""The `ray` engine: shards of sources on actors, one CPU each. The only file that imports ray.

An actor gets a path and a shard, reads and decodes the file itself, and answers with the shard's records in one piece:
an answer is there whole or not at all, so a shard that ran on an actor which was killed is run again on a fresh one
without a record lost or doubled. Records leave in the order of sources and shards.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from everyframe.operators.types import Objects
from everyframe.pipeline.costs import choose_runtime
from everyframe.pipeline.engines.base import Chunk, Event, Finished, RunStats, Started
from everyframe.pipeline.errors import EngineError, EveryframeError, mask_secrets
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.prices import priced
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import FRAMES_PER_SHARD, Shard, plan_shards
from everyframe.pipeline.stitch import Stitcher
from everyframe.pipeline.warm import warm_up
from everyframe.pipeline.worker import StreamWorker

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_enable_metrics_collection": "0",
}
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no cluster of machines: Ray's processes bind to 127.0.0.1, also on Linux
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
"""For a cluster on this machine alone: out of reach of the network, and of other users of the machine."""
OBJECT_STORE_BYTES = 256 << 20
RETRIES = 3
KNOCK_S = 5.0
CHUNK_FRAMES = 64


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What an actor answers. labels count frames and tracks from the shard's start; last as `StreamWorker.last`.

    error: why the shard ended early; the records before are whole. is_open: the file and the detector could be opened.
    """

    labels: list[FrameLabels]
    last: Objects | None
    stats: RunStats
    error: EveryframeError | None
    is_open: bool


class ShardActor:
    """Runs on a Ray worker: labels shards, keeping the detector between them."""

    def __init__(self) -> None:
        self._detectors = Detectors()

    def process_id(self) -> int:
        return os.getpid()

    def label(self, path: str, shard: Shard, settings: LabelSettings) -> ShardResult:
        import cv2

        cv2.setNumThreads(settings.model.threads)
        labels: list[FrameLabels] = []
        worker: StreamWorker | None = None
        error: EveryframeError | None = None
        warm_up(settings.policy, settings.mode)
        try:
            with FileSource(path, shard.start_pts, shard.end_pts) as source:
                worker = StreamWorker(source, self._detectors.get(settings, source.info), settings)
                for chunk in worker.chunks():
                    labels += chunk
        except EveryframeError as e:
            error = e
        if worker is None:
            return ShardResult(labels, None, RunStats(), error, False)
        return ShardResult(labels, worker.last, worker.stats, error, True)


@dataclass(slots=True)
class _Job:
    """A source in the driver. error: why no more of its shards are run."""

    number: int
    path: str
    settings: LabelSettings
    info: SourceInfo | None = None
    error: EveryframeError | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A shard that waits for its turn to be delivered. answer: Ray's promise of a ShardResult; None: nothing to run."""

    job: _Job
    answer: Any
    is_last: bool


class RayEngine:
    """Satisfies `engines.base.Engine`. workers: actors at most, by default one for each CPU. address: of a Ray cluster
    that runs already; None starts one on this machine, for this run only."""

    def __init__(
        self, workers: int | None = None, address: str | None = None, frames_per_shard: int = FRAMES_PER_SHARD
    ) -> None:
        self._workers = workers or os.cpu_count() or 1
        self._address = address
        self._frames_per_shard = frames_per_shard
        self._actors: list[Any] = []
        self._is_started = False
        self._folder: str | None = None

    def run(self, paths: Sequence[str], settings: LabelSettings) -> Iterator[Event]:
        jobs = [_open(number, path, settings) for number, path in enumerate(paths)]
        if any(job.error is None for job in jobs):
            self._start(settings.model.threads)
        try:
            yield from self._deliver(jobs)
        except _ray().exceptions.RayTaskError as e:
            raise EngineError(f"a Ray worker failed: {e.cause!r}; try --engine local.") from e
        except _ray().exceptions.RayError as e:
            raise EngineError(f"Ray failed: {_first_line(e)}; try --engine local.") from e

    def close(self) -> None:
        """Ends the actors, and the cluster and its files if this engine started it."""
        if self._is_started:
            ray = _ray()
            with _own_signals():
                if ray.is_initialized():
                    for actor in self._actors:
                        ray.kill(actor)
                ray.shutdown()
            self._actors.clear()
            self._is_started = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def process_ids(self) -> list[int]:
        """Of the actors' processes, for tests that kill one."""
        ids: list[int] = _ray().get([actor.process_id.remote() for actor in self._actors])
        return ids

    def _start(self, threads: int) -> None:
        runtime: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": str(threads)}}
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.FATAL,
            "runtime_env": runtime,
        }
        if self._address is None:
            # short: Ray's sockets lie far below it, and their paths may have 107 bytes
            self._folder = tempfile.mkdtemp(prefix="ef-ray-", dir="/tmp")
            options |= {
                "address": "local",
                "num_cpus": self._workers,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": os.path.join(
                    self._folder, "r"
                ),  # Ray opens its folder to all, so ours is around it
            }
        else:
            import everyframe

            options["address"] = self._address
            runtime["py_modules"] = [everyframe]
        try:
            _knock(self._address)
            with _environment(_QUIET if self._address else _QUIET | _ALONE), _own_signals():
                self._is_started = not _ray().is_initialized()
                _ray().init(**options)
        except (ConnectionError, OSError, RuntimeError, ValueError) as e:
            where = "a local Ray cluster" if self._address is None else f"the Ray cluster at {self._address}"
            raise EngineError(
                mask_secrets(f"cannot reach {where}: {_first_line(e)}; try --engine local.")
            ) from e

    def _actor(self) -> Any:
        make = _ray().remote(num_cpus=1, max_restarts=RETRIES, max_task_retries=RETRIES)(ShardActor)
        self._actors.append(make.remote())
        return self._actors[-1]

    def _deliver(self, jobs: list[_Job]) -> Iterator[Event]:
        """Keeps every actor busy, and hands results on in order; a few shards wait at most."""
        idle: deque[Any] = deque()
        waiting: deque[_Part] = deque()
        running: dict[Any, Any] = {}
        todo = self._todo(jobs)
        delivery: _Delivery | None = None
        while True:
            while (idle or len(self._actors) < self._workers) and len(waiting) < 3 * self._workers:
                step = next(todo, None)
                if step is None:
                    break
                job, shard, is_last = step
                answer = None
                if shard is not None and job.error is None:
                    actor = idle.popleft() if idle else self._actor()
                    answer = actor.label.remote(os.path.abspath(job.path), shard, job.settings)
                    running[answer] = actor
                waiting.append(_Part(job, answer, is_last))
            if not waiting:
                return
            if waiting[0].answer in running:
                for answer in _ray().wait(list(running), num_returns=1)[0]:
                    idle.append(running.pop(answer))
                continue
            part = waiting.popleft()
            if delivery is None or delivery.job is not part.job:
                delivery = _Delivery(part.job)
            if part.answer is not None:
                yield from delivery.take(_ray().get(part.answer))
            if part.is_last:
                yield delivery.end()

    def _todo(self, jobs: list[_Job]) -> Iterator[tuple[_Job, Shard | None, bool]]:
        """Every shard of every job in order, and whether it is the job's last; a job that fails has a last one of None."""
        for job in jobs:
            try:
                shards = plan_shards(job.path, self._frames_per_shard) if job.error is None else []
            except EveryframeError as e:
                shards, job.error = [], e
            shards = _within(shards, job.settings.limit)
            for shard in shards[:-1]:
                if job.error is None:
                    yield job, shard, False
            yield job, shards[-1] if shards else None, True


class _Delivery:
    """Hands on one source's records; what follows a shard with an error is left out."""

    def __init__(self, job: _Job) -> None:
        self.job = job
        self._stitcher = Stitcher()
        self._stats = RunStats()
        self._is_started = False

    def take(self, result: ShardResult) -> Iterator[Event]:
        job, limit = self.job, self.job.settings.limit
        if job.error is not None:
            return
        if not self._is_started and result.is_open and job.info is not None:
            self._is_started = True
            yield Started(job.number, job.info, job.settings.model.runtime, job.settings.model.precision)
        self._stats.add(result.stats)
        self._stitcher.begin_shard()
        for start in range(0, len(result.labels), CHUNK_FRAMES):
            part = self._stitcher.stitch(result.labels[start : start + CHUNK_FRAMES])
            labels = [record for record in part if limit is None or record.frame_index < limit]
            if labels:
                yield Chunk(job.number, labels)
        self._stitcher.end_shard(result.last)
        if limit is not None:
            self._stats.frames = min(self._stats.frames, limit)
        job.error = result.error

    def end(self) -> Finished:
        return Finished(self.job.number, self._stats, self.job.error)


def _open(number: int, path: str, settings: LabelSettings) -> _Job:
    """Looks at a source in the driver, and decides which runtime and prices every worker is to use for it."""
    job = _Job(number, path, settings)
    try:
        with FileSource(path) as source:
            job.info = source.info
        size = job.info.width, job.info.height
        runtime, precision = choose_runtime(settings.model, *size)
        settled = replace(settings, model=replace(settings.model, runtime=runtime, precision=precision))
        job.settings = priced(settled, *size, path=path)
    except EveryframeError as e:
        job.error = e
    return job


def _within(shards: list[Shard], limit: int | None) -> list[Shard]:
    """The shards that the first `limit` frames lie in."""
    if limit is None:
        return shards
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


def _knock(address: str | None) -> None:
    """Raises OSError where nothing answers at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


@contextmanager
def _environment(extra: dict[str, str]) -> Iterator[None]:
    """Sets variables that Ray and the processes it starts read; what the user has set wins."""
    added = {name: value for name, value in extra.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


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
