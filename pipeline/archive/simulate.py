"""A crew that does nothing, in simulated time: what the driver itself costs, with as many shards and workers as wanted."""

from __future__ import annotations

import heapq
from dataclasses import replace
from pathlib import Path

from everyframe.pipeline.archive.joining import Join, join_elsewhere
from everyframe.pipeline.archive.packed import pack
from everyframe.pipeline.archive.types import Made, ShardOutcome, ShardTask, SourcePlan
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.sources.shards import Shard


class StubCrew:
    """Satisfies `archive.engine.Crew`. A shard takes as many simulated seconds as it has frames at `fps`; a plan takes none, and
    nor does a join: its files are made once, for real, and then given for every source.

    labels: what every shard answers. shards: of each source, of as many frames as `labels` has. clock: simulated seconds.
    """

    group_s = 0.5

    def __init__(self, workers: int, labels: list[FrameLabels], shards: int, fps: float = 300.0) -> None:
        self._room = workers
        self._data = pack(labels, None)
        self._frames = len(labels)
        self._shards = shards
        self._fps = fps
        self._running: list[tuple[float, int, ShardTask]] = []
        self._given = 0
        self._made: Made | None = None
        self.clock = 0.0
        self.done = 0

    @property
    def room(self) -> int:
        return self._room

    @property
    def busy(self) -> int:
        return len(self._running)

    def give(self, task: ShardTask) -> None:
        self._room -= 1
        self._given += 1
        # Shards of equal length don't end at the same moment: up to a tenth apart, the same in every run.
        takes = 0.0 if task.shard is None else self._frames / self._fps * (1 + 0.1 * (self._given * 7919 % 1000) / 1000)
        heapq.heappush(self._running, (self.clock + takes, self._given, task))

    def wait(self, timeout_s: float) -> list[ShardOutcome]:
        """Moves the clock to the next end. All that ends within a hundredth of a second comes together."""
        outcomes = []
        if self._running:
            self.clock = max(self.clock, self._running[0][0])
        while self._running and self._running[0][0] <= self.clock + 0.01:
            outcomes.append(self._outcome(heapq.heappop(self._running)[2]))
        self._room += len(outcomes)
        return outcomes

    def close(self) -> None:
        self._running.clear()

    def _outcome(self, task: ShardTask) -> ShardOutcome:
        if task.join is not None:
            return ShardOutcome(task.key, "done", made=self._files(task.join))
        if task.shard is None:
            cuts = [i * self._frames for i in range(self._shards + 1)]
            shards = [Shard(i, cuts[i] if i else None, cuts[i + 1], self._frames) for i in range(self._shards)]
            return ShardOutcome(task.key, "done", plan=SourcePlan(tuple(shards), task.settings, 640, 360, "h264", 25.0))
        self.done += 1
        stats = RunStats(self._frames, self._frames, self._frames // 10, total_cpu_ms=self._frames / self._fps * 1e3)
        return ShardOutcome(task.key, "done", self._data, stats)

    def _files(self, join: Join) -> Made:
        if self._made is None:
            self._made = join_elsewhere(join)
        files = tuple(
            (kind, replace(file, path=str(Path(file.path).with_name(f"{join.entry.name}.parquet"))))
            for kind, file in self._made.files
        )
        return replace(self._made, files=files)


def scaling(
    cores: int, shard_cpu_s: float, shard_bytes: float, driver_ms: float, network_mb_s: float, shards: int
) -> tuple[float, str]:
    """Speedup over one core, and what holds it back: a model. shard_bytes: of video that a shard reads. driver_ms: of the driver for
    each shard. network_mb_s: of the place that the video comes from."""
    limits = {
        "cores": cores / shard_cpu_s,
        "driver": 1e3 / max(driver_ms, 1e-9),
        "source bandwidth": network_mb_s * 1e6 / max(shard_bytes, 1.0),
        "number of shards": shards / shard_cpu_s,
    }
    first = min(limits, key=lambda name: (limits[name], name != "cores"))
    return limits[first] * shard_cpu_s, first
