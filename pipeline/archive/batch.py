"""The driver of an archive: plans, then shards, the dearest first, onto a crew; results into the journal; sources finished."""

from __future__ import annotations

import heapq
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from everyframe.pipeline.archive.engine import Crew
from everyframe.pipeline.archive.finish import Finisher, ShardLost, why_short
from everyframe.pipeline.archive.joining import Join
from everyframe.pipeline.archive.journal import Entry, Journal, ShardRow
from everyframe.pipeline.archive.progress import State, View
from everyframe.pipeline.archive.purse import Purse
from everyframe.pipeline.archive.types import JOIN, PLAN, ShardKey, ShardOutcome, ShardTask
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.runs.interrupts import Interrupts
from everyframe.pipeline.settings import STEERED, Goal, LabelSettings
from everyframe.pipeline.sources.remote import is_remote
from everyframe.pipeline.sources.shards import Shard

WAIT_S = 1.0
GROUP, GROUP_BYTES = 128, 16 << 20
"""Results that are written together, at most: one wait for the disk for all of them."""
CRASHES = 5
"""A shard that has taken so many workers with it is given up, even if fewer retries are asked for: nodes may vanish."""
CPU_S_PER_MEGAPIXEL = 0.01
"""A first guess, of use to order shards and to weigh what is left: rates are measured."""


LOWEST_PRICE = 1.0
"""Of error, in dense frames for F1 from 0 to 1: hardly anything is looked at."""


def at_price(settings: LabelSettings, price: float) -> LabelSettings:
    """The same settings with the policy that is steered by a price of error."""
    return replace(settings, policy=f"{STEERED}:{price:g}", goal=Goal())


def expected_cost(frames: int, width: int, height: int) -> float:
    """CPU seconds, roughly: by pixels decoded."""
    return frames * max(width * height, 1) / 1e6 * CPU_S_PER_MEGAPIXEL


@dataclass(slots=True)
class _Source:
    """A source in progress. todo: indices of shards that are not done. is_over: given up. is_joining: its files are being made."""

    entry: Entry
    settings: LabelSettings
    todo: set[int]
    is_over: bool = False
    is_joining: bool = False


class Driver:
    """Brings all sources of a journal that are not done to an end. settings: for planning, before prices."""

    def __init__(
        self, journal: Journal, finisher: Finisher, crew: Crew, view: View, settings: LabelSettings, retries: int = 2
    ) -> None:
        self._journal, self._finisher, self._crew, self._view = journal, finisher, crew, view
        self._settings, self._retries = settings, retries
        self._queue: list[tuple[float, int, int, Shard | None]] = []
        self._sources: dict[int, _Source] = {}
        self._tries: defaultdict[ShardKey, int] = defaultdict(int)
        self._waiting: list[ShardOutcome] = []
        self._waiting_since = 0.0
        self.purse: Purse | None = None
        self.state = State()

    def run(self, interrupts: Interrupts) -> None:
        """Raises KeyboardInterrupt where `interrupts` lets one in, and EngineError, SinkError, DetectorError: what is done stays."""
        self._load()
        while self._queue or self._crew.busy or self._waiting:
            self._feed()
            self.take(self._wait(interrupts))
            if self._waiting and self._is_due():
                self._write()
            self._view.update(self.state)

    def _wait(self, interrupts: Interrupts) -> list[ShardOutcome]:
        try:
            with interrupts.allowed():
                return self._crew.wait(self._crew.group_s / 2 if self._waiting else WAIT_S)
        except BaseException:
            self._write()
            raise

    def _is_due(self) -> bool:
        """Whether what waits is to be written: it is much, or it has waited long, or nothing more is to come."""
        much = len(self._waiting) >= GROUP or sum(len(o.data) for o in self._waiting) >= GROUP_BYTES
        return much or not self._crew.busy or time.monotonic() - self._waiting_since >= self._crew.group_s

    def plan_only(self, interrupts: Interrupts) -> None:
        """Plans new sources, and labels nothing."""
        for entry in self._journal.entries("new"):
            self._queue_plan(entry)
        while self._queue or self._crew.busy:
            self._feed()
            with interrupts.allowed():
                outcomes = self._crew.wait(WAIT_S)
            self._take_plans([o for o in outcomes if o.plan is not None], go_on=False)
            for outcome in outcomes:
                if outcome.plan is None:
                    self._again(outcome)

    def _load(self) -> None:
        state = self.state
        state.sources_failed = 0  # those of plans made before count below
        for entry in self._journal.entries():
            state.sources += 1
            if entry.status in ("done", "broken"):
                state.sources_done += 1
            elif entry.status == "failed":
                state.sources_failed += 1
            elif entry.status == "new":
                self._queue_plan(entry)
            else:
                self._queue_shards(entry, self._journal.settings(entry.id))

    def _queue_plan(self, entry: Entry) -> None:
        self._sources[entry.id] = _Source(entry, self._settings, set())
        heapq.heappush(self._queue, (-math.inf, entry.id, PLAN, None))

    def _queue_shards(self, entry: Entry, settings: LabelSettings) -> None:
        rows = self._journal.shards(entry.id)
        end = _end(rows)
        todo = {row.shard.index for row in rows if row.status == "todo" and row.shard.index <= end}
        source = self._sources[entry.id] = _Source(entry, settings, todo)
        for row in rows:
            if row.shard.index in todo:
                self._push(source, row.shard)
        if not todo:
            self._push_join(source)

    def _push_join(self, source: _Source) -> None:
        source.is_joining = True
        heapq.heappush(self._queue, (-math.inf, source.entry.id, JOIN, None))

    def _push(self, source: _Source, shard: Shard, is_retry: bool = False) -> None:
        cost = self._cost(source, shard)
        if not is_retry:
            self.state.left_cost += cost
        heapq.heappush(self._queue, (0.0 if is_retry else -cost, source.entry.id, shard.index, shard))

    def _cost(self, source: _Source, shard: Shard) -> float:
        return expected_cost(shard.frames_estimate, source.entry.width, source.entry.height)

    def _feed(self) -> None:
        while self._crew.room > 0 and self._queue:
            cost, number, index, shard = heapq.heappop(self._queue)
            source = self._sources.get(number)
            if source is None or source.is_over or (shard is not None and index not in source.todo):
                continue
            if index == JOIN:
                self._join(source)
            else:
                key = ShardKey(number, index)
                if self.purse is not None and shard is not None:
                    self._pay(self.purse, key, source.entry, shard.frames_estimate)
                self._crew.give(ShardTask(key, source.entry.path, source.settings, shard, -cost))

    def _pay(self, purse: Purse, key: ShardKey, entry: Entry, frames: int) -> None:
        """Before a shard is begun: where the budget is met, this one and all after it take the lowest price."""
        if purse.is_due:
            changed = []
            for source in self._sources.values():
                source.settings = at_price(source.settings, LOWEST_PRICE)
                changed.append((source.entry.id, source.settings))
            self._journal.set_settings(changed)
            self._view.note(purse.close())
        purse.begin(key, frames / entry.rate if entry.rate > 0 else 0.0)

    def take(self, outcomes: Iterable[ShardOutcome]) -> None:
        """Plans go on at once; shards and files wait for others to be written with."""
        plans = []
        for outcome in outcomes:
            if outcome.plan is not None:
                plans.append(outcome)
            elif outcome.state == "done" or (outcome.state == "broken" and not self._may_retry(outcome)):
                self._hold(outcome)
            else:
                self._again(outcome)
        if plans:
            self._take_plans(plans)

    def _hold(self, outcome: ShardOutcome) -> None:
        source = self._sources.get(outcome.key.source)
        if source is None or (outcome.made is None and outcome.key.index not in source.todo):
            return  # it lies behind a break
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.append(outcome)

    def _write(self) -> None:
        """All that waits, onto the disk and then into the journal."""
        waiting, self._waiting = self._waiting, []
        shards = [outcome for outcome in waiting if outcome.made is None]
        if shards:
            self._finisher.keep(shards)
            for outcome in shards:
                self._done(outcome)
        made = []
        for outcome in waiting:
            source = self._sources.get(outcome.key.source)
            if outcome.made is not None and source is not None:
                rows = self._journal.shards(source.entry.id)
                made.append((source.entry, outcome.made, why_short(source.entry, outcome.made, rows)))
        if made:
            self._finisher.enter(made)
            for entry, _, reason in made:
                self._entered(entry, reason)

    def _take_plans(self, outcomes: list[ShardOutcome], go_on: bool = True) -> None:
        plans = [(outcome.key.source, outcome.plan) for outcome in outcomes if outcome.plan is not None]
        self._journal.plan(plans)
        for number, plan in plans:
            entry = self._sources[number].entry
            seconds = plan.frames / plan.rate if plan.rate > 0 else 0.0
            entry = replace(
                entry, status="planned", width=plan.width, height=plan.height, codec=plan.codec, rate=plan.rate,
                frames=plan.frames, seconds=seconds,
            )  # fmt: skip
            if go_on:
                self._queue_shards(entry, plan.settings)

    def _done(self, outcome: ShardOutcome) -> None:
        source, index = self._sources.get(outcome.key.source), outcome.key.index
        if source is None or index not in source.todo:
            return
        source.todo.discard(index)
        self._tries.pop(outcome.key, None)
        if outcome.state == "broken":
            source.todo = {i for i in source.todo if i < index}
        rate = source.entry.rate
        if self.purse is not None:
            self.purse.end(outcome.key, outcome.stats.total_cpu_ms / 1e3)
        cost = expected_cost(outcome.stats.frames, source.entry.width, source.entry.height)
        self.state.take(outcome.stats, outcome.stats.frames / rate if rate > 0 else 0.0, cost)
        if not source.todo and not source.is_over:
            self._push_join(source)

    def _join(self, source: _Source) -> None:
        """Gives a source whose shards are all there to a worker, or makes its files here."""
        entry = source.entry
        key = ShardKey(entry.id, JOIN)
        rows = self._journal.shards(entry.id)
        try:
            join = self._finisher.join(entry, [row for row in rows if row.shard.index <= _end(rows)])
        except ShardLost as e:
            self._journal.forget(e.key)
            source.todo.add(e.key.index)
            source.is_joining = False
            self._push(source, rows[e.key.index].shard)
        except SourceError as e:
            self._give_up(source, str(e))
        else:
            if isinstance(join, Join):
                self._crew.give(ShardTask(key, entry.path, source.settings, join=join))
            else:
                self._hold(ShardOutcome(key, "done", made=join))

    def _entered(self, entry: Entry, reason: str) -> None:
        if reason:
            self._view.error(reason)
        self.state.sources_done += 1
        self._sources.pop(entry.id)

    def _may_retry(self, outcome: ShardOutcome) -> bool:
        """A remote file may be whole at the next try; one on this machine breaks at the same place again."""
        source = self._sources.get(outcome.key.source)
        return source is not None and is_remote(source.entry.path) and self._tries[outcome.key] < self._retries

    def _again(self, outcome: ShardOutcome) -> None:
        """Tries once more, after all that is waiting; or gives the source up."""
        key = outcome.key
        source = self._sources.get(key.source)
        if source is None or source.is_over:
            return
        if self.purse is not None:
            self.purse.end(key, None)
        self._tries[key] += 1
        most = max(self._retries, CRASHES) if outcome.state == "crashed" else self._retries
        if self._tries[key] > most:
            self._give_up(source, outcome.reason)
            return
        self._journal.count_retry(key.source)
        if key.index in (PLAN, JOIN):
            heapq.heappush(self._queue, (0.0, key.source, key.index, None))
        else:
            self._push(source, self._journal.shards(key.source)[key.index].shard, is_retry=True)

    def _give_up(self, source: _Source, reason: str) -> None:
        source.is_over = True
        self._journal.fail(source.entry.id, reason)
        self._view.error(reason)
        self.state.sources_failed += 1


def _end(rows: list[ShardRow]) -> int:
    """The index of the last shard that counts: the first that is broken, or the last of all."""
    return next((row.shard.index for row in rows if row.status == "broken"), len(rows) - 1)
