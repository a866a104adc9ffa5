"""The `ray` engine: shards of sources on actors, one CPU each.

An actor gets a path and a shard, reads and decodes the file itself, and answers with the shard's records in one piece:
an answer is there whole or not at all, so a shard that ran on an actor which was killed is run again on a fresh one
without a record lost or doubled. Records leave in the order of sources and shards.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everyframe.operators.types import Objects
from everyframe.pipeline.costs.measure import choose_runtime
from everyframe.pipeline.costs.prices import priced
from everyframe.pipeline.engines.base import Chunk, Event, Finished, RunStats, Started
from everyframe.pipeline.engines.cluster import Cluster, first_line, ray_module
from everyframe.pipeline.errors import EngineError, EveryframeError
from everyframe.pipeline.labelling.stitch import Stitcher
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import FRAMES_PER_SHARD, Shard, plan_shards

RETRIES = 3
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
                detector = self._detectors.get(settings, source.info)
                others = self._detectors.capacities(settings, source.info, detector)
                worker = StreamWorker(source, detector, settings, others)
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
        self._cluster = Cluster(self._workers, address)
        self._frames_per_shard = frames_per_shard
        self._actors: list[Any] = []

    def run(self, paths: Sequence[str], settings: LabelSettings) -> Iterator[Event]:
        jobs = [_open(number, path, settings) for number, path in enumerate(paths)]
        if any(job.error is None for job in jobs):
            self._cluster.start(settings.model.threads)
        try:
            yield from self._deliver(jobs)
        except ray_module().exceptions.RayTaskError as e:
            raise EngineError(f"a Ray worker failed: {e.cause!r}; try --engine local.") from e
        except ray_module().exceptions.RayError as e:
            raise EngineError(f"Ray failed: {first_line(e)}; try --engine local.") from e

    def close(self) -> None:
        """Ends the actors, and the cluster and its files if this engine started it."""
        self._cluster.close(self._actors)

    def process_ids(self) -> list[int]:
        """Of the actors' processes, for tests that kill one."""
        ids: list[int] = ray_module().get([actor.process_id.remote() for actor in self._actors])
        return ids

    def _actor(self) -> Any:
        make = ray_module().remote(num_cpus=1, max_restarts=RETRIES, max_task_retries=RETRIES)(ShardActor)
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
                for answer in ray_module().wait(list(running), num_returns=1)[0]:
                    idle.append(running.pop(answer))
                continue
            part = waiting.popleft()
            if delivery is None or delivery.job is not part.job:
                delivery = _Delivery(part.job)
            if part.answer is not None:
                yield from delivery.take(ray_module().get(part.answer))
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
