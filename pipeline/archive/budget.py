"""A budget of CPU hours for a whole archive: pilots at some prices tell what accuracy costs where; `allocate` spends."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, replace

import orjson

from everyframe.pipeline.archive.allocate import Choice, Point, allocate
from everyframe.pipeline.archive.batch import LOWEST_PRICE, Driver, at_price
from everyframe.pipeline.archive.engine import Crew
from everyframe.pipeline.archive.estimate import Sample, estimate_cost, spread_out
from everyframe.pipeline.archive.journal import Entry, Journal
from everyframe.pipeline.archive.labeller import first_frames
from everyframe.pipeline.archive.progress import View
from everyframe.pipeline.archive.purse import Purse, Rates
from everyframe.pipeline.archive.types import AllocationRow, ShardKey, ShardOutcome, ShardTask
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.labelling.audits import AuditSums, estimate
from everyframe.pipeline.runs.interrupts import Interrupts
from everyframe.pipeline.settings import STEERED

PRICES = (LOWEST_PRICE, 4.0, 16.0, 64.0)
"""Of error, in dense frames for F1 from 0 to 1: from where hardly anything is looked at to where nearly all is."""
PILOT_FRAMES, PILOT_AUDIT = 250, 0.08
PILOTS = 2
GROUPS = 12
DRY_SHARDS, DRY_FRAMES = 8, 250


def sample_tasks(journal: Journal, entries: list[Entry], shards: int, frames: int) -> list[tuple[ShardTask, float]]:
    """The first frames of shards all over these sources, with each one's length in seconds of media."""
    tasks = []
    for place in spread_out(len(entries), shards):
        entry = entries[place]
        rows = journal.shards(entry.id)
        if not rows or entry.rate <= 0:
            continue
        shard = rows[len(rows) * (place + 1) // (len(entries) + 1)].shard
        task = ShardTask(ShardKey(entry.id, shard.index), entry.path, journal.settings(entry.id), shard)
        tasks.append((first_frames(task, frames), min(frames, shard.frames_estimate) / entry.rate))
    return tasks


def carry_out(crew: Crew, tasks: list[ShardTask], interrupts: Interrupts, view: View) -> list[ShardOutcome]:
    """The outcomes of tasks that nothing is written of, in their order; those of one key must not run at a time."""
    outcomes = []
    for task in tasks:
        while crew.room < 1:
            with interrupts.allowed():
                crew.wait(1.0)
        crew.give(task)
        found: list[ShardOutcome] = []
        while not found:
            with interrupts.allowed():
                found = crew.wait(1.0)
        outcomes += found[:1]
    return outcomes


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would take. media_s: of what is left to do. low, high: of a 95 % interval of CPU seconds."""

    sources: int
    failed: int
    media_s: float
    cpu_s: float
    low: float
    high: float
    samples: int


def dry_run(journal: Journal, driver: Driver, crew: Crew, interrupts: Interrupts, view: View) -> DryRun:
    """Plans what is new, labels the first frames of some shards, and writes no label."""
    driver.plan_only(interrupts)
    entries = journal.entries("planned")
    pairs = sample_tasks(journal, entries, DRY_SHARDS, DRY_FRAMES)
    outcomes = carry_out(crew, [task for task, _ in pairs], interrupts, view)
    samples = [
        Sample(media, o.stats.total_cpu_ms / 1e3) for o, (_, media) in zip(outcomes, pairs, strict=True) if o.state == "done"
    ]
    media = sum(entry.seconds for entry in entries)
    found = estimate_cost(samples, media)
    failed = len(journal.entries("failed"))
    if found is None:
        return DryRun(len(entries), failed, media, 0.0, 0.0, 0.0, 0)
    return DryRun(len(entries), failed, media, found.cpu_s, found.low, found.high, found.samples)


def spend(
    journal: Journal, driver: Driver, crew: Crew, interrupts: Interrupts, view: View, budget_h: float
) -> None:
    """Gives every planned source its price of error, once: a continued run keeps what was decided. The pilots' own CPU counts. The
    driver then watches what is really spent. Raises UsageError where the policy has no price."""
    if not journal.meta("allocation"):
        _decide(journal, driver, crew, interrupts, view, budget_h)
    driver.purse = Purse.opened(journal, budget_h * 3600)


def _decide(
    journal: Journal, driver: Driver, crew: Crew, interrupts: Interrupts, view: View, budget_h: float
) -> None:
    driver.plan_only(interrupts)
    entries = journal.entries("planned")
    if any(journal.settings(entry.id).policy != STEERED for entry in entries):
        raise UsageError(f"--budget-cpu-hours is for --policy {STEERED}: give that policy, without a price of your own")
    groups = grouped(entries)
    spent, points = 0.0, []
    for name, members in groups.items():
        view.note(f"budget: trying {len(PRICES)} prices of error on {name}")
        curve, cpu_s = _pilot(journal, members, crew, interrupts, view)
        points.append(curve)
        spent += cpu_s
    if not entries:
        return
    choices = allocate(points, budget_h * 3600 - spent)
    changed, rates = [], {}
    for members, curve, choice in zip(groups.values(), points, choices, strict=True):
        media = max(sum(entry.seconds for entry in members), 1e-9)
        for entry in members:
            changed.append((entry.id, at_price(journal.settings(entry.id), choice.point.price)))
            rates[entry.camera] = Rates(min(point.cpu_s for point in curve) / media, choice.point.cpu_s / media)
    journal.set_settings(changed)
    Purse.keep(journal, spent, rates)
    rows = [_row(name, members, c) for (name, members), c in zip(groups.items(), choices, strict=True)]
    rows.append(AllocationRow("pilots", 0.0, spent, None, "to learn what accuracy costs in each group"))
    journal.set_meta(allocation=orjson.dumps([asdict(row) for row in rows]).decode())


def grouped(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Sources by camera; where there are many cameras, the shortest ones together."""
    cameras: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        cameras[entry.camera].append(entry)
    order = sorted(cameras, key=lambda name: (-sum(e.seconds for e in cameras[name]), name))
    groups = {name: cameras[name] for name in order[: GROUPS - 1]}
    rest = [entry for name in order[GROUPS - 1 :] for entry in cameras[name]]
    if rest:
        groups["others"] = rest
    return groups


def _pilot(
    journal: Journal, members: list[Entry], crew: Crew, interrupts: Interrupts, view: View
) -> tuple[list[Point], float]:
    """Points of a group, and the CPU seconds that they took. A price at which nothing could be learnt is left out; where all are,
    the dearest stands for the group at no known cost."""
    tasks = [task for task, _ in sample_tasks(journal, members, PILOTS, PILOT_FRAMES)]
    media = sum(entry.seconds for entry in members)
    points, spent = [], 0.0
    for price in PRICES:
        tried = [
            replace(t, settings=replace(at_price(t.settings, price), audit=PILOT_AUDIT)) for t in tasks
        ]
        sums, cpu_s, seconds = AuditSums(), 0.0, 0.0
        for task, outcome in zip(tried, carry_out(crew, tried, interrupts, view), strict=True):
            spent += outcome.stats.total_cpu_ms / 1e3
            if outcome.state == "done":
                rate = next(e.rate for e in members if e.id == task.key.source)
                sums.add(outcome.stats.audits)
                # What audits cost here is not what labels will cost.
                cpu_s += (outcome.stats.total_cpu_ms - outcome.stats.cpu_ms.get("audit", 0.0)) / 1e3
                seconds += outcome.stats.frames / rate
        found = estimate(sums)
        if seconds > 0:
            f1 = found.f1 if found is not None else 1.0
            points.append(Point(price, cpu_s / seconds * media, (1 - f1) * media))
    return points or [Point(PRICES[-1], 0.0, 0.0)], spent


def _row(name: str, members: list[Entry], choice: Choice) -> AllocationRow:
    media = sum(entry.seconds for entry in members)
    f1 = 1 - choice.point.errors / media if media > 0 else None
    if choice.step == 0:
        why = f"price {choice.point.price:g}: the cheapest way; more would save fewer errors here than elsewhere"
    else:
        why = f"price {choice.point.price:g}: step {choice.step} of {choice.steps - 1}, the last one saved {choice.worth * 3600:.3g} "
        why += "seconds of wrong labels for each CPU hour"
    return AllocationRow(name, media, choice.point.cpu_s, f1, why)
