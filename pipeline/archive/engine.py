"""What carries out the tasks of an archive: this process, or actors of a Ray cluster (`engines.ray_batch`)."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from everyframe.pipeline.archive.labeller import ShardLabeller
from everyframe.pipeline.archive.types import ShardOutcome, ShardTask


class Crew(Protocol):
    """Takes tasks while it has `room`, and gives their outcomes in any order. Every task has an outcome in the end.

    group_s: how long an outcome may wait for others to be written with; 0 where `wait` itself may take long."""

    group_s: float

    @property
    def room(self) -> int:
        """How many tasks would be begun at once."""

    @property
    def busy(self) -> int:
        """How many tasks have no outcome yet."""

    def give(self, task: ShardTask) -> None: ...

    def wait(self, timeout_s: float) -> list[ShardOutcome]:
        """Outcomes that came, of none where none came in time. Raises EngineError where no work can be done at all."""

    def close(self) -> None: ...


class LocalCrew:
    """One task at a time, in this process."""

    group_s = 0.0

    def __init__(self, labeller: ShardLabeller | None = None) -> None:
        self._labeller = labeller or ShardLabeller()
        self._tasks: deque[ShardTask] = deque()

    @property
    def room(self) -> int:
        return 1 - len(self._tasks)

    @property
    def busy(self) -> int:
        return len(self._tasks)

    def give(self, task: ShardTask) -> None:
        self._tasks.append(task)

    def wait(self, timeout_s: float) -> list[ShardOutcome]:
        return [self._labeller.do(self._tasks.popleft())] if self._tasks else []

    def close(self) -> None:
        self._tasks.clear()
