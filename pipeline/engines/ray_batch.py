"""Ray for archives: actors that come and go. A task that was on an actor, or a node, that is gone has the outcome `crashed`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from everyframe.pipeline.archive.labeller import ShardLabeller
from everyframe.pipeline.archive.types import ShardOutcome, ShardTask
from everyframe.pipeline.engines.cluster import Cluster, first_line, ray_module
from everyframe.pipeline.errors import EngineError
from everyframe.pipeline.settings import SHARD_FRAMES

START_S = 300.0
"""How long a cluster may have no actor at all before that is an error."""
FAST_DEATHS = 6
"""Actors in a row that end before they have answered once. A cluster may put new ones onto a node that is gone for half a minute."""
MOST_PAUSE_S = 16.0


@dataclass(frozen=True, slots=True)
class _Running:
    """An answer that is waited for. task: None where an actor is only asked whether it is there."""

    actor: Any
    task: ShardTask | None


class RayCrew:
    """Satisfies `archive.engine.Crew`. workers: actors at most. cpus, memory_bytes: that each asks of the cluster; gpus as well.

    A task goes only to an actor that has answered: one that waits for a node to come holds up nothing. An actor that is
    gone is replaced; Ray puts the new one on any node with room.
    """

    group_s = 0.5

    def __init__(
        self, workers: int, address: str | None = None, threads: int = 1, memory_bytes: int = 0, gpus: float = 0.0,
        frames_per_shard: int = SHARD_FRAMES,
    ) -> None:  # fmt: skip
        self._workers, self._frames_per_shard = workers, frames_per_shard
        self._request: dict[str, float] = {"num_cpus": threads, "max_restarts": 0, "max_task_retries": 0}
        self._request |= {"memory": memory_bytes} if memory_bytes else {}
        self._request |= {"num_gpus": gpus} if gpus else {}
        self._cluster = Cluster(workers * threads, address)
        self._cluster.start(threads)
        self._class = ray_module().remote(**self._request)(ShardLabeller)
        self._actors: list[Any] = []
        self._idle: list[Any] = []
        self._running: dict[Any, _Running] = {}
        self._due: list[float] = []
        self._deaths = 0
        self._alive_at = time.monotonic()
        for _ in range(workers):
            self._hire()

    @property
    def room(self) -> int:
        return len(self._idle)

    @property
    def busy(self) -> int:
        return sum(running.task is not None for running in self._running.values())

    def give(self, task: ShardTask) -> None:
        actor = self._idle.pop()
        self._running[actor.do.remote(task)] = _Running(actor, task)

    def wait(self, timeout_s: float) -> list[ShardOutcome]:
        ray = ray_module()
        now = time.monotonic()
        for _ in [moment for moment in self._due if moment <= now]:
            self._hire()
        self._due = [moment for moment in self._due if moment > now]
        if not self._running:
            time.sleep(min(timeout_s, max(min(self._due, default=now) - now, 0.0)))
            return []
        try:
            waiting = list(self._running)
            ready, _ = ray.wait(waiting, num_returns=1, timeout=timeout_s, fetch_local=False)
            if ready:  # all that are there by now, for one transaction of the journal
                ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)
            outcomes = [outcome for answer in ready if (outcome := self._take(answer)) is not None]
        except ray.exceptions.RayError as e:
            raise EngineError(f"Ray failed: {first_line(e)}; run again, what is done stays done.") from e
        if self._idle or self.busy:
            self._alive_at = time.monotonic()
        elif time.monotonic() - self._alive_at > START_S:
            raise EngineError(f"the Ray cluster has had no room for a worker ({self._request}) for {START_S:.0f} s: add nodes.")
        return outcomes

    def process_ids(self) -> list[int]:
        """Of the actors that are idle, for tests that kill one."""
        ids: list[int] = ray_module().get([actor.process_id.remote() for actor in self._idle])
        return ids

    def close(self) -> None:
        """Ends the actors, and the cluster if it was started here."""
        self._running.clear()
        self._idle.clear()
        self._cluster.close(self._actors)

    def _hire(self) -> None:
        actor = self._class.remote(self._frames_per_shard)
        self._actors.append(actor)
        self._running[actor.process_id.remote()] = _Running(actor, None)

    def _take(self, answer: Any) -> ShardOutcome | None:
        ray = ray_module()
        running = self._running.pop(answer)
        try:
            outcome = ray.get(answer)
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.NodeDiedError) as e:
            return self._gone(running, e)
        except ray.exceptions.RayTaskError as e:
            raise EngineError(f"a Ray worker failed: {e.cause!r}; run again, what is done stays done.") from e
        self._idle.append(running.actor)
        self._deaths = 0
        return outcome if running.task is not None else None

    def _gone(self, running: _Running, error: Exception) -> ShardOutcome | None:
        self._actors.remove(running.actor)
        if running.task is None:
            self._deaths += 1
            if self._deaths > FAST_DEATHS and not (self._idle or self.busy):
                raise EngineError(f"Ray workers end as soon as they begin ({first_line(error)}): look into Ray's logs.") from error
            self._due.append(time.monotonic() + min(2.0 ** (self._deaths - 1), MOST_PAUSE_S))
            return None
        self._hire()
        return ShardOutcome(running.task.key, "crashed", reason=f"its worker was lost ({first_line(error)[:120]})")
