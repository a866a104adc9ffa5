"""A budget that turns out to be too small: the driver stops spending, with the real driver and journal and shards of known cost."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from everyframe.pipeline.archive.batch import Driver, at_price
from everyframe.pipeline.archive.finish import Finisher
from everyframe.pipeline.archive.joining import Form
from everyframe.pipeline.archive.journal import Journal
from everyframe.pipeline.archive.plan import fingerprint
from everyframe.pipeline.archive.progress import View
from everyframe.pipeline.archive.purse import Purse, Rates, met
from everyframe.pipeline.archive.simulate import StubCrew
from everyframe.pipeline.archive.types import ShardOutcome, ShardTask, SourceSpec
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.runs.interrupts import Interrupts
from everyframe.pipeline.settings import LabelSettings

SOURCES, SHARDS, FRAMES = 4, 10, 5
MEDIA_S = FRAMES / 25
LEAST_S, CHOSEN_S = 1.0, 6.0
WORKERS = 3


class Costly(StubCrew):
    """A shard takes `LEAST_S` CPU at the lowest price and `cost_s` at any other. prices: of the shards, as they were begun."""

    def __init__(self, labels: list, cost_s: float) -> None:
        super().__init__(WORKERS, labels, SHARDS)
        self.cost_s, self.spent_s = cost_s, 0.0
        self.prices: list[str] = []

    def _outcome(self, task: ShardTask) -> ShardOutcome:
        outcome = super()._outcome(task)
        if task.shard is None:
            return outcome
        self.prices.append(task.settings.policy)
        cost = LEAST_S if task.settings.policy == "learned:1" else self.cost_s
        self.spent_s += cost
        return replace(outcome, stats=RunStats(FRAMES, total_cpu_ms=cost * 1e3))


def archive(out: Path) -> Journal:
    """Planned, and allocated a price whose shards are expected to take `CHOSEN_S`."""
    journal = Journal(out)
    paths = [out / f"{i}.mp4" for i in range(SOURCES)]
    for path in paths:
        path.write_bytes(b"stub")
    journal.add((SourceSpec(str(p), "camera"), p.stem, fingerprint(str(p))) for p in paths)
    return journal


def driven(journal: Journal, crew: Costly, budget_s: float, most: int | None = None) -> None:
    """Runs to the end, or until `most` shards are done and then a kill."""
    view = View(io.StringIO(), quiet=True)
    driver = Driver(journal, Finisher(journal.folder.parent, journal, Form(("person",))), crew, view, LabelSettings())
    with Interrupts() as interrupts:
        if not journal.meta("purse"):
            driver.plan_only(interrupts)
            settings = at_price(LabelSettings(), 16)
            journal.set_settings((entry.id, settings) for entry in journal.entries())
            Purse.keep(journal, 0.0, {"camera": Rates(LEAST_S / MEDIA_S, CHOSEN_S / MEDIA_S)})
        driver.purse = Purse.opened(journal, budget_s)
        if most is not None:
            take = driver.take

            def killed(outcomes: list[ShardOutcome]) -> None:
                take(outcomes)
                if len(crew.prices) >= most:
                    raise ConnectionAbortedError

            driver.take = killed  # type: ignore[method-assign, assignment]
        driver.run(interrupts)


@pytest.fixture
def labels(make_labels) -> list:
    return make_labels(FRAMES)


@pytest.mark.parametrize("times", [1.0, 2.0, 5.0])
def test_shards_that_cost_more_than_the_pilots_said(tmp_path: Path, labels: list, times: float) -> None:
    budget = SOURCES * SHARDS * CHOSEN_S
    crew = Costly(labels, CHOSEN_S * times)
    with archive(tmp_path) as journal:
        driven(journal, crew, budget)
        assert len(journal.entries("done")) == SOURCES
        assert bool(met(journal)) == (times > 1)
    # What shards in progress take beyond what was expected of them is all that can go beyond.
    assert crew.spent_s <= budget + WORKERS * CHOSEN_S * (times - 1)
    assert crew.spent_s >= budget - WORKERS * CHOSEN_S * times
    cheap = [price == "learned:1" for price in crew.prices]
    assert any(cheap) == (times > 1)
    assert cheap == sorted(cheap) or sum(a and not b for a, b in pairwise(cheap)) <= WORKERS


def test_a_budget_below_the_least_cost_is_exceeded_by_that_alone(tmp_path: Path, labels: list) -> None:
    crew = Costly(labels, CHOSEN_S)
    with archive(tmp_path) as journal:
        driven(journal, crew, budget_s=5.0)
    assert set(crew.prices) == {"learned:1"}
    assert crew.spent_s == SOURCES * SHARDS * LEAST_S


def test_a_run_that_goes_on_knows_what_was_spent(tmp_path: Path, labels: list) -> None:
    budget = SOURCES * SHARDS * CHOSEN_S / 2
    first, second = Costly(labels, CHOSEN_S), Costly(labels, CHOSEN_S)
    with archive(tmp_path) as journal, pytest.raises(ConnectionAbortedError):
        driven(journal, first, budget, most=25)
    with Journal(tmp_path) as journal:
        kept_s = sum(journal.shard_stats(entry.id).total_cpu_ms / 1e3 for entry in journal.entries())
        driven(journal, second, budget)
        assert len(journal.entries("done")) == SOURCES
        assert "learned:1" in journal.settings(journal.entries()[-1].id).policy
        assert met(journal).startswith("The budget was met after")
    assert kept_s > 0
    assert kept_s + second.spent_s <= budget + WORKERS * CHOSEN_S
