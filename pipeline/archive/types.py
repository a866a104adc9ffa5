"""What crosses between the parts of `everyframe batch`: sources, written files, and all that the final report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.shards import Shard

if TYPE_CHECKING:
    from everyframe.pipeline.archive.joining import Join


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source as the user named it. path: of a file, or a URL. start: when its time 0 was, None where not known."""

    path: str
    camera: str
    start: datetime | None = None


@dataclass(frozen=True, slots=True, order=True)
class ShardKey:
    """source: its number in the journal. index: from 0; PLAN before a source's shards, JOIN after them."""

    source: int
    index: int


PLAN, JOIN = -1, -2


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What a worker is given. shard: None for a plan and for a join. cost: expected CPU seconds, by which tasks are ordered. join:
    the shards of a source, to be made its files."""

    key: ShardKey
    path: str
    settings: LabelSettings
    shard: Shard | None = None
    cost: float = 0.0
    join: Join | None = None


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is whole and has its final name. rows: of its table. sha256: of its bytes, in hex. size: bytes."""

    path: str
    rows: int
    sha256: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """All files of one source. files: (kind, file), paths below the archive's folder. data: bytes of each, where a worker made them;
    empty where they have their final names. seconds: of media. origins: frames by how their labels came to be."""

    frames: int
    seconds: float
    origins: dict[str, int]
    files: tuple[tuple[str, WrittenFile], ...] = ()
    data: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What a look at a source gives. settings: with the prices that all of its shards use. rate: frames a second."""

    shards: tuple[Shard, ...]
    settings: LabelSettings
    width: int
    height: int
    codec: str
    rate: float

    @property
    def frames(self) -> int:
        """That will be labelled."""
        total = sum(shard.frames_estimate for shard in self.shards)
        return total if self.settings.limit is None else min(total, self.settings.limit)


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """What a worker answers: whole, or not at all.

    state: done; broken: the file ends inside the shard, `data` has what came before; failed: nothing could be read; crashed:
    the worker is gone. data: `packed.pack` of the shard's records and of its last look, of a shard only; plan and made: of
    those. reason: a sentence, of all states but done.
    """

    key: ShardKey
    state: Literal["done", "broken", "failed", "crashed"]
    data: bytes = b""
    stats: RunStats = field(default_factory=RunStats)
    plan: SourcePlan | None = None
    made: Made | None = None
    reason: str = ""


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
