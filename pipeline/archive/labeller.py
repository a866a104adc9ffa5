"""What a worker does for an archive, under every engine: looks at a source, labels a shard of it."""

from __future__ import annotations

import os
from dataclasses import replace

from everyframe.pipeline.archive.joining import Join, join_elsewhere
from everyframe.pipeline.archive.packed import pack
from everyframe.pipeline.archive.types import ShardKey, ShardOutcome, ShardTask, SourcePlan
from everyframe.pipeline.costs.prices import priced
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import EveryframeError, SourceBroken, mask_secrets
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import SHARD_FRAMES
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import Shard, plan_shards


class ShardLabeller:
    """Keeps detectors between shards. A shard begins with a look of the CNN, and looks at the next one's first frame: its
    tracks are joined by that picture, which both have seen."""

    def __init__(self, frames_per_shard: int = SHARD_FRAMES) -> None:
        self._detectors = Detectors()
        self._frames_per_shard = frames_per_shard

    def process_id(self) -> int:
        return os.getpid()

    def do(self, task: ShardTask) -> ShardOutcome:
        """Never raises for what is wrong with a source; DetectorError and the like, which concern all, it does raise."""
        if task.join is not None:
            return self._join(task.key, task.join)
        return self._plan(task) if task.shard is None else self._label(task, task.shard)

    def _join(self, key: ShardKey, join: Join) -> ShardOutcome:
        try:
            return ShardOutcome(key, "done", made=join_elsewhere(join))
        except (EveryframeError, OSError) as e:
            return failed(key, e)

    def _plan(self, task: ShardTask) -> ShardOutcome:
        try:
            with FileSource(task.path) as source:
                info = source.info
            shards = within(plan_shards(task.path, self._frames_per_shard), task.settings.limit)
            settings = priced(task.settings, info.width, info.height, path=task.path)
        except EveryframeError as e:
            return failed(task.key, e)
        plan = SourcePlan(tuple(shards), settings, info.width, info.height, info.codec, float(info.rate))
        return ShardOutcome(task.key, "done", plan=plan)

    def _label(self, task: ShardTask, shard: Shard) -> ShardOutcome:
        import cv2

        settings = task.settings
        cv2.setNumThreads(settings.model.threads)
        warm_up(settings.policy, settings.mode)
        labels: list[FrameLabels] = []
        try:
            with FileSource(task.path, shard.start_pts, shard.end_pts) as source:
                detector = self._detectors.get(settings, source.info)
                others = self._detectors.capacities(settings, source.info, detector)
                worker = StreamWorker(source, detector, settings, others)
                try:
                    for chunk in worker.chunks():
                        labels += chunk
                except SourceBroken as e:
                    return ShardOutcome(task.key, "broken", pack(labels, None), worker.stats, reason=mask_secrets(str(e)))
        except EveryframeError as e:
            return failed(task.key, e)
        return ShardOutcome(task.key, "done", pack(labels, worker.last), worker.stats)


def failed(key: ShardKey, error: Exception) -> ShardOutcome:
    """A source or a shard of which nothing can be read."""
    return ShardOutcome(key, "failed", stats=RunStats(), reason=mask_secrets(" ".join(str(error).split())))


def within(shards: list[Shard], limit: int | None) -> list[Shard]:
    """The shards that the first `limit` frames lie in."""
    kept: list[Shard] = []
    frames = 0
    for shard in shards:
        if limit is not None and frames >= limit:
            break
        kept.append(shard)
        frames += shard.frames_estimate
    return kept


def first_frames(task: ShardTask, frames: int) -> ShardTask:
    """A task for the first frames of a shard only, to learn what it costs."""
    return replace(task, settings=replace(task.settings, limit=frames))
