"""The table of what rungs cost: rows in one JSON file in the user's cache folder.

A row is known by all that moves its cost: the machine, the picture size, and for the CNN the model, the runtime with
its version, precision and threads.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from everyframe.pipeline.costs.machine import cache_dir

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """One measured rung. ms: CPU ms for one frame.

    machine: `machine_id`. rung: detect, prepare (resize and normalise for the CNN), propagate, hold. size: what
    the rung works on, "640x480": the CNN's input for detect, else the picture. model, runtime, version, precision:
    empty and threads 1 where the rung has no CNN; of prepare, the longer side that it scales to, and its threads.
    """

    machine: str
    rung: str
    size: str
    model: str
    runtime: str
    version: str
    precision: str
    threads: int
    ms: float

    @property
    def key(self) -> tuple[str | int, ...]:
        """All but the figure."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name != "ms")


class CostTable:
    """Costs in one JSON file.

    A damaged file counts as empty, damaged rows as absent; where the file cannot be written the table lives in
    memory. Files are replaced whole, so that readers never see half of one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._costs = _read(path)

    def get(self, like: Cost) -> float | None:
        """CPU ms of the row that is like this one but for its figure, None if it was never measured."""
        row = self._costs.get(like.key)
        return None if row is None else row.ms

    def put(self, costs: list[Cost]) -> None:
        """Keeps rows, beside those that other processes have written since; nothing is written if all are known."""
        if all(self._costs.get(c.key) == c for c in costs):
            return
        self._costs = {**_read(self.path), **self._costs, **{c.key: c for c in costs}}
        _write(self.path, self.rows())

    def rows(self, machine: str | None = None) -> list[Cost]:
        """All rows, or those of one machine, in a fixed order."""
        return [c for _, c in sorted(self._costs.items()) if machine in (None, c.machine)]


def _read(path: Path) -> dict[tuple[str | int, ...], Cost]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    rows = document.get("costs") if isinstance(document, dict) and document.get("format") == FORMAT else None
    costs = [_cost(row) for row in rows] if isinstance(rows, list) else []
    return {c.key: c for c in costs if c is not None}


def _cost(row: Any) -> Cost | None:
    if not isinstance(row, dict) or row.keys() != {f.name for f in fields(Cost)}:
        return None
    ms, threads = row["ms"], row["threads"]
    texts = (v for k, v in row.items() if k not in ("ms", "threads"))
    if type(threads) is not int or type(ms) not in (int, float) or not all(isinstance(t, str) for t in texts):
        return None
    return Cost(**row) if math.isfinite(ms) and ms >= 0 else None


def _write(path: Path, rows: list[Cost]) -> None:
    text = json.dumps({"format": FORMAT, "costs": [asdict(row) for row in rows]}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
            try:
                file.write(text)
                file.flush()
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
    except OSError:
        return  # a cache that cannot be kept costs a measurement, nothing else


@lru_cache(maxsize=8)
def _table(path: Path) -> CostTable:
    return CostTable(path)


def default_table() -> CostTable:
    """The user's table, `costs.json` in `cache_dir()`: one for each process, so that it also serves unwritten."""
    return _table(cache_dir() / "costs.json")
