"""What crosses between the parts of `everyframe batch`: sources, written files, and all that the final report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is whole and has its final name. rows: of its table. sha256: of its bytes, in hex. size: bytes."""

    path: str
    rows: int
    sha256: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of `sources.parquet`. path: as the user named it, secrets masked. start: when its time 0 was. frames: labelled.
    seconds: of media. status: done, broken (labelled up to a break) or failed. reason: one sentence, of the latter two."""

    camera: str
    source: str
    path: str
    start: datetime | None = None
    frames: int = 0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    status: Literal["done", "broken", "failed"] = "done"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What one source took. price: of error, as allocated; NaN where the policy has none. cnn: share of frames that saw the CNN.
    f1: by audits, with its interval; None where there were none."""

    row: SourceRow
    cpu_s: float = 0.0
    retries: int = 0
    policy: str = ""
    price: float = float("nan")
    cnn: float = 0.0
    f1: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class AllocationRow:
    """What a group of shards was given of the budget, and what is expected of it. why: in a few words."""

    name: str
    media_s: float
    cpu_s: float
    f1: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """All that the final report shows.

    f1: by audits against the dense detector with the ends of its 95 % interval; audits: frames compared. steps: CPU seconds by
    step. origins: frames by how their labels came to be. settings: plain text, secrets masked. allocation: empty without a
    budget; budget_cpu_h, None without one. notes: sentences that a reader should know of.
    """

    title: str
    begun: datetime
    ended: datetime
    sources: tuple[SourceReport, ...]
    frames: int = 0
    media_s: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    f1: tuple[float, float, float] | None = None
    audits: int = 0
    steps: dict[str, float] = field(default_factory=dict)
    origins: dict[str, int] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    allocation: tuple[AllocationRow, ...] = ()
    budget_cpu_h: float | None = None
    interrupted: bool = False
    notes: tuple[str, ...] = ()
