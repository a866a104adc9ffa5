"""The engine protocol: paths in, a stream of events out. The same worker runs under every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from everyframe.pipeline.errors import EveryframeError
from everyframe.pipeline.labelling.audits import AuditSums
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.settings import LabelSettings


@dataclass(slots=True)
class RunStats:
    """Counts and CPU of one source, or of several added up. looks: passes of the CNN over whole pictures by rung, those
    that only compare capacities among them, audits not; look_cost: of them all, in looks of the run's model. audits: what they have shown of its F1. cpu_ms: CPU ms by step (`records.STEPS`);
    total_cpu_ms: CPU of the whole worker process over the run, steps included. notes: sentences for the summary."""

    frames: int = 0
    decoded: int = 0
    cnn_frames: int = 0
    looks: dict[str, int] = field(default_factory=dict)
    look_cost: float = 0.0
    partial_frames: int = 0
    audits: AuditSums = field(default_factory=AuditSums)
    cpu_ms: dict[str, float] = field(default_factory=dict)
    total_cpu_ms: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, other: RunStats) -> None:
        self.frames += other.frames
        self.decoded += other.decoded
        self.cnn_frames += other.cnn_frames
        self.partial_frames += other.partial_frames
        for rung, n in other.looks.items():
            self.looks[rung] = self.looks.get(rung, 0) + n
        self.look_cost += other.look_cost
        self.audits.add(other.audits)
        self.total_cpu_ms += other.total_cpu_ms
        for step, ms in other.cpu_ms.items():
            self.cpu_ms[step] = self.cpu_ms.get(step, 0.0) + ms
        self.notes += [note for note in other.notes if note not in self.notes]


@dataclass(frozen=True, slots=True)
class Started:
    """`paths[source]` is open."""

    source: int
    info: SourceInfo
    runtime: str
    precision: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next records of `paths[source]`, in display order."""

    source: int
    labels: list[FrameLabels]


@dataclass(frozen=True, slots=True)
class Finished:
    """`paths[source]` is done. error: why it ended early (`SourceBroken` keeps what came before), None if it did not."""

    source: int
    stats: RunStats
    error: EveryframeError | None = None


Event = Started | Chunk | Finished


class Engine(Protocol):
    """Labels sources. A source that fails ends in its own `Finished`; the others go on."""

    def run(self, paths: Sequence[str], settings: LabelSettings) -> Iterator[Event]: ...

    def close(self) -> None: ...
