"""What a budget of CPU still allows while an archive is labelled: kept by what shards have really taken, not by the pilots."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

from everyframe.pipeline.archive.journal import Journal
from everyframe.pipeline.archive.types import ShardKey

_KEY, _MET = "purse", "budget_met"


@dataclass(frozen=True, slots=True)
class Rates:
    """CPU seconds for a second of a camera's media, by the pilots. least: at the lowest price of error. chosen: as allocated."""

    least: float
    chosen: float


class Purse:
    """Says when what is left of a budget is just enough to label the rest at the lowest price.

    That moment is when CPU spent (pilots and earlier runs too), what shards in progress are expected to take, and the
    least that the rest can cost add up to the budget. So a run ends near its budget if the pilots were right about the
    least cost, and goes beyond it by the least cost alone where even that is more.
    """

    def __init__(self, journal: Journal, budget_s: float, pilots_s: float, rates: dict[str, Rates], names: dict[int, str]) -> None:
        self._journal, self._budget = journal, budget_s
        self._rates, self._names = rates, names
        self._spent = pilots_s
        self._left = 0.0
        self._running: dict[ShardKey, tuple[float, float]] = {}
        for entry in journal.entries():
            self._spent += journal.shard_stats(entry.id).total_cpu_ms / 1e3
            if entry.status == "planned" and entry.rate > 0:
                todo = sum(row.shard.frames_estimate for row in journal.shards(entry.id) if row.status == "todo")
                self._left += todo / entry.rate * self._of(entry.id).least
        self.is_met = bool(journal.meta(_MET))

    @classmethod
    def opened(cls, journal: Journal, budget_s: float) -> Purse | None:
        """That of an archive whose budget is allocated, None before that."""
        text = journal.meta(_KEY)
        if not text:
            return None
        kept = orjson.loads(text)
        rates = {name: Rates(**values) for name, values in kept["rates"].items()}
        return cls(journal, budget_s, kept["pilots_s"], rates, {entry.id: entry.camera for entry in journal.entries()})

    @staticmethod
    def keep(journal: Journal, pilots_s: float, rates: dict[str, Rates]) -> None:
        """Enters what `opened` reads. rates: by camera."""
        kept = {"pilots_s": pilots_s, "rates": {name: asdict(values) for name, values in rates.items()}}
        journal.set_meta(**{_KEY: orjson.dumps(kept).decode(), _MET: ""})

    def _of(self, source: int) -> Rates:
        return self._rates.get(self._names.get(source, ""), Rates(0.0, 0.0))

    def begin(self, key: ShardKey, media_s: float) -> None:
        """A shard is given to a worker."""
        rates = self._of(key.source)
        least = media_s * rates.least
        self._running[key] = least, least if self.is_met else media_s * rates.chosen
        self._left -= least

    def end(self, key: ShardKey, cpu_s: float | None) -> None:
        """A shard came in; cpu_s: None where it is to be done again."""
        least, _ = self._running.pop(key, (0.0, 0.0))
        if cpu_s is None:
            self._left += least
        else:
            self._spent += cpu_s

    @property
    def is_due(self) -> bool:
        """Whether all that is not begun must now be labelled at the lowest price."""
        running = sum(expected for _, expected in self._running.values())
        return not self.is_met and self._spent + running + max(self._left, 0.0) >= self._budget

    def close(self) -> str:
        """The budget is met, for this run and later ones. Returns a sentence for the report."""
        self.is_met = True
        sentence = (
            f"The budget was met after {self._spent / 3600:.3g} CPU hours: from there on all was labelled at the lowest price of error."
        )
        self._journal.set_meta(**{_MET: sentence})
        return sentence


def met(journal: Journal) -> str:
    """The sentence of an archive whose budget was met, else empty."""
    return journal.meta(_MET)
