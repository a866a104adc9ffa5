"""One run: sources through an engine into sinks, whatever fails on the way. Used by the command line and the demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from everyframe.operators.types import Origin
from everyframe.pipeline.engines.base import Chunk, Event, Finished, RunStats, Started
from everyframe.pipeline.errors import EveryframeError, SourceBroken
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.runs.engine_choice import Choice, choose_engine, expected_frames, make_engine, probe
from everyframe.pipeline.runs.inputs import names_for
from everyframe.pipeline.runs.interrupts import Interrupts
from everyframe.pipeline.runs.outputs import Outputs
from everyframe.pipeline.runs.progress import Progress
from everyframe.pipeline.settings import RunSettings
from everyframe.pipeline.sinks.base import Sink

SinkMaker = Callable[[SourceInfo, str], Sequence[Sink]]
"""Makes the sinks of one source from what is known of it and its name in this run."""


@dataclass(slots=True)
class SourceResult:
    """What became of one source. errors: sentences' exceptions, empty where all went well."""

    path: str
    name: str
    stats: RunStats = field(default_factory=RunStats)
    outputs: list[str] = field(default_factory=list)
    digest: str | None = None
    errors: list[EveryframeError] = field(default_factory=list)
    is_done: bool = False


@dataclass(slots=True)
class RunResult:
    """What a run did. stats: of all sources together."""

    settings: RunSettings
    choice: Choice
    sources: list[SourceResult]
    runtime: str = ""
    precision: str = ""
    wall_s: float = 0.0
    is_interrupted: bool = False

    @property
    def stats(self) -> RunStats:
        total = RunStats()
        for source in self.sources:
            total.add(source.stats)
        return total

    @property
    def digest(self) -> str | None:
        """Of one source its own digest; of several one over theirs, in the order given; None while any is missing."""
        digests = [source.digest for source in self.sources]
        if None in digests:
            return None
        if len(digests) == 1:
            return digests[0]
        return blake2b("\n".join(d or "" for d in digests).encode(), digest_size=16).hexdigest()

    @property
    def outputs(self) -> list[str]:
        return list(dict.fromkeys(where for source in self.sources for where in source.outputs))

    @property
    def errors(self) -> list[tuple[str, EveryframeError]]:
        return [(source.name, error) for source in self.sources for error in source.errors]


def label_sources(
    paths: Sequence[str], settings: RunSettings, sinks_for: SinkMaker, progress: Progress
) -> RunResult:
    """Labels the sources and writes what `sinks_for` makes.

    Failures of single sources and sinks are in the result; EngineError and the like, that concern all, are raised
    after every sink was closed. Ctrl-C closes them too and gives a result that says so.
    """
    infos = probe(paths)
    choice = choose_engine(settings, infos)
    sources = [SourceResult(path, name) for path, name in zip(paths, names_for(paths), strict=True)]
    result = RunResult(settings, choice, sources)
    progress.expect(expected_frames(infos, settings.limit))
    began = time.monotonic()
    engine = make_engine(choice, settings)
    run = _Run(result, sinks_for, progress)
    with Interrupts() as interrupts, progress:
        try:
            events = iter(engine.run(paths, settings.label_settings()))
            while not run.is_over:
                with interrupts.allowed():
                    event = next(events, None)
                if event is None:
                    break
                run.take(event)
        except KeyboardInterrupt as e:
            result.is_interrupted = True
            run.close_all(e)
        except BaseException as e:
            run.close_all(e)
            raise
        finally:
            engine.close()
    run.close_all(None)
    result.wall_s = time.monotonic() - began
    return result


class _Run:
    """Takes the engine's events: the state of a run in progress."""

    def __init__(self, result: RunResult, sinks_for: SinkMaker, progress: Progress) -> None:
        self._result = result
        self._sinks_for = sinks_for
        self._progress = progress
        self._outputs: dict[int, Outputs] = {}

    @property
    def is_over(self) -> bool:
        """Every source is done or has nothing left to write to."""
        return all(source.is_done for source in self._result.sources)

    def take(self, event: Event) -> None:
        match event:
            case Started():
                self._start(event)
            case Chunk():
                self._write(event)
            case Finished():
                self._finish(event)

    def close_all(self, error: BaseException | None) -> None:
        for index in list(self._outputs):
            self._close(index, error)

    def _start(self, event: Started) -> None:
        self._result.runtime, self._result.precision = event.runtime, event.precision
        source = self._result.sources[event.source]
        outputs = Outputs(self._sinks_for(event.info, source.name))
        self._outputs[event.source] = outputs
        self._give_up_if_dead(event.source)

    def _write(self, event: Chunk) -> None:
        outputs = self._outputs.get(event.source)
        if outputs is None:
            return
        source = self._result.sources[event.source]
        outputs.write(list(_renamed(event.labels, source.name)))
        _tally(source.stats, event.labels)
        self._progress.advance(len(event.labels))
        self._give_up_if_dead(event.source)

    def _finish(self, event: Finished) -> None:
        source = self._result.sources[event.source]
        source.stats, source.is_done = event.stats, True
        if event.error is not None:
            source.errors.append(event.error)
            self._progress.error(event.error)
        self._close(event.source, event.error)

    def _give_up_if_dead(self, index: int) -> None:
        if self._outputs[index].is_dead:
            self._result.sources[index].is_done = True
            self._close(index, None)

    def _close(self, index: int, error: BaseException | None) -> None:
        outputs = self._outputs.pop(index, None)
        if outputs is None:
            return
        source = self._result.sources[index]
        outputs.close(error)
        keeps = error is None or isinstance(error, SourceBroken | KeyboardInterrupt)
        source.outputs = [where for where in outputs.locations if _is_there(where)] if keeps else []
        source.digest = outputs.digest if keeps else None
        source.errors += outputs.troubles
        source.stats.notes += outputs.notes
        for trouble in outputs.troubles:
            self._progress.error(trouble)
        source.stats.cpu_ms["publish"] = source.stats.cpu_ms.get("publish", 0.0) + outputs.publish_ms
        source.stats.total_cpu_ms += outputs.publish_ms


def _is_there(where: str) -> bool:
    """A file that was finished, or a Redis Stream (its server's place and its key)."""
    return where.endswith(":labels") or Path(where).exists()


def _renamed(labels: list[FrameLabels], name: str) -> Iterator[FrameLabels]:
    """The records under the source's name in this run, which differs where two files have one stem."""
    for record in labels:
        yield record if record.source == name else replace(record, source=name)


def _tally(stats: RunStats, labels: list[FrameLabels]) -> None:
    """Counts from the records, for a source that never comes to its `Finished`: an interrupted run."""
    for record in labels:
        stats.frames += 1
        stats.cnn_frames += record.origin == Origin.DETECTED
        stats.partial_frames += record.origin in (Origin.REGION, Origin.RESIDUAL, Origin.FLOW)
        stats.decoded += record.origin not in (Origin.HELD, Origin.INTERPOLATED)
        for step, ms in record.cost_ms.items():
            stats.cpu_ms[step] = stats.cpu_ms.get(step, 0.0) + ms
            stats.total_cpu_ms += ms
