"""The `local` engine: sources one after the other in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2

from everyframe.operators.base import Detector
from everyframe.pipeline.costs.prices import priced_for
from everyframe.pipeline.engines.base import Chunk, Event, Finished, RunStats, Started
from everyframe.pipeline.errors import EveryframeError
from everyframe.pipeline.labelling.stitch import Stitcher
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import FRAMES_PER_SHARD, plan_shards


class LocalEngine:
    """Satisfies `engines.base.Engine`. detector: used for every source in place of the one the settings name."""

    def __init__(self, detector: Detector | None = None, frames_per_shard: int = FRAMES_PER_SHARD) -> None:
        self._frames_per_shard = frames_per_shard
        self._detectors = Detectors(detector)

    def run(self, paths: Sequence[str], settings: LabelSettings) -> Iterator[Event]:
        warm_up(settings.policy, settings.mode)
        for number, path in enumerate(paths):
            yield from self._label(number, path, settings)

    def close(self) -> None:
        self._detectors.clear()

    def _label(self, number: int, path: str, settings: LabelSettings) -> Iterator[Event]:
        stats = RunStats()
        error: EveryframeError | None = None
        cv2.setNumThreads(settings.model.threads)
        try:
            stitcher = Stitcher()
            for shard in plan_shards(path, self._frames_per_shard):
                if settings.limit is not None and stats.frames >= settings.limit:
                    break
                with FileSource(path, shard.start_pts, shard.end_pts) as source:
                    detector = self._detectors.get(settings, source.info)
                    if shard.index == 0:
                        settings = priced_for(settings, detector, source.info, path)
                        yield Started(number, source.info, detector.runtime, detector.precision)
                    others = self._detectors.capacities(settings, source.info, detector)
                    worker = StreamWorker(source, detector, settings, others)
                    yield from self._shard(number, worker, stitcher, stats, settings.limit)
        except EveryframeError as e:
            error = e
        yield Finished(number, stats, error)

    def _shard(
        self, number: int, worker: StreamWorker, stitcher: Stitcher, stats: RunStats, limit: int | None
    ) -> Iterator[Event]:
        stitcher.begin_shard()
        try:
            for chunk in worker.chunks():
                labels = [r for r in stitcher.stitch(chunk) if limit is None or r.frame_index < limit]
                if labels:
                    yield Chunk(number, labels)
        finally:
            stats.add(worker.stats)
            if limit is not None:
                stats.frames = min(stats.frames, limit)
        stitcher.end_shard(worker.last)
