"""One call of `everyframe batch`: sources registered, work done, the report written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from everyframe.pipeline.archive import plan, reporting
from everyframe.pipeline.archive.batch import Driver
from everyframe.pipeline.archive.budget import DryRun, dry_run, spend
from everyframe.pipeline.archive.engine import Crew
from everyframe.pipeline.archive.finish import Finisher, remove_remains
from everyframe.pipeline.archive.joining import Form
from everyframe.pipeline.archive.journal import VERSION, Journal
from everyframe.pipeline.archive.progress import State, View
from everyframe.pipeline.archive.types import ArchiveReport, SourceSpec
from everyframe.pipeline.costs.measure import choose_runtime, translated
from everyframe.pipeline.errors import SourceError, UsageError, mask_secrets
from everyframe.pipeline.models import class_names, model_digest
from everyframe.pipeline.runs.interrupts import Interrupts
from everyframe.pipeline.runs.publishing import Publishing
from everyframe.pipeline.settings import SHARD_FRAMES, ModelSettings, RunSettings
from everyframe.pipeline.sinks.registry import RedisTarget
from everyframe.pipeline.sources.file import FileSource

_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What `everyframe batch` is told beside the settings of `run`. formats: beside Parquet. retries: of a shard that fails.
    shard_frames: as the crew's.
    redo: sources that have changed are labelled again, and all of them where settings have. budget_cpu_h: for all sources."""

    out: Path
    formats: tuple[str, ...] = ()
    retries: int = 2
    redo: bool = False
    budget_cpu_h: float | None = None
    shard_frames: int = SHARD_FRAMES


@dataclass(slots=True)
class BatchResult:
    """report: of the whole archive. state: of this run."""

    report: ArchiveReport
    state: State
    troubles: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if self.report.interrupted:
            return 130
        return 1 if self.troubles or any(s.row.status != "done" for s in self.report.sources) else 0


def label_archive(
    specs: Sequence[SourceSpec], settings: RunSettings, options: BatchOptions, make_crew: Callable[[], Crew], view: View
) -> BatchResult:
    """Labels what is not labelled yet, and writes sources.parquet, report.json and report.html.

    make_crew: called once there is work. Raises UsageError (settings changed, folder in use), SinkError, EngineError,
    DetectorError; what is done by then stays done.
    """
    begun, wall = datetime.now(UTC), time.monotonic()
    with Journal(options.out) as journal:
        remove_remains(options.out, journal)
        troubles = register(journal, specs, settings, options)
        for trouble in troubles:
            view.error(trouble)
        model = _settled(journal, settings.label_settings().model, specs)
        labels = replace(settings.label_settings(), model=model)
        names = class_names(settings.model)
        state, interrupted = State(), False
        with _publishing(settings, options) as publishing:
            target = None
            if publishing.url is not None:
                target = RedisTarget(publishing.url, settings.redis_maxlen, settings.redis_wait)
            finisher = Finisher(options.out, journal, Form(names, options.formats, settings.limit), target)
            if journal.entries("new", "planned"):
                with closing(make_crew()) as crew, Interrupts() as interrupts, view:
                    driver = Driver(journal, finisher, crew, view, labels, options.retries)
                    state = driver.state
                    try:
                        if options.budget_cpu_h is not None:
                            spend(journal, driver, crew, interrupts, view, options.budget_cpu_h)
                        driver.run(interrupts)
                    except KeyboardInterrupt:
                        interrupted = True
        report = reporting.report_of(journal, begun, time.monotonic() - wall, interrupted, options.budget_cpu_h)
        reporting.write(options.out, report)
    return BatchResult(report, state, troubles)


def try_archive(
    specs: Sequence[SourceSpec], settings: RunSettings, options: BatchOptions, make_crew: Callable[[], Crew], view: View
) -> DryRun:
    """What `label_archive` would take, from the first frames of some shards. Plans are kept, so that the run need not make them
    again; no label is written. Raises as `label_archive`."""
    with Journal(options.out) as journal:
        for trouble in register(journal, specs, settings, options):
            view.error(trouble)
        model = _settled(journal, settings.label_settings().model, specs)
        labels = replace(settings.label_settings(), model=model)
        finisher = Finisher(options.out, journal, Form(class_names(settings.model)))
        with closing(make_crew()) as crew, Interrupts() as interrupts, view:
            driver = Driver(journal, finisher, crew, view, labels, options.retries)
            return dry_run(journal, driver, crew, interrupts, view)


def _publishing(settings: RunSettings, options: BatchOptions) -> Publishing:
    """Redis, if it was asked for; an embedded server keeps its data in the archive's folder."""
    return Publishing.open(replace(settings, out=str(options.out)))


def register(journal: Journal, specs: Sequence[SourceSpec], settings: RunSettings, options: BatchOptions) -> list[str]:
    """Enters settings and sources. Returns what is wrong with single sources, in sentences. Raises UsageError where settings are
    not those of the labels that are there."""
    with translated():
        weights = model_digest(settings.model)
    now = plan.told(settings, weights, options.formats, options.budget_cpu_h, options.shard_frames)
    before = journal.meta("told")
    different = plan.differences(orjson.loads(before), now) if before else ""
    finisher = Finisher(options.out, journal, Form(()))
    if different and not options.redo:
        raise UsageError(
            f"{options.out} holds labels that were made with other settings ({different}): name another folder with --out, or "
            "give --redo to label all again"
        )
    if different:
        for entry in journal.entries():
            finisher.remove(entry.id)
            journal.renew(entry.id)
    if different or not before:
        journal.set_meta(version=VERSION, told=orjson.dumps(now).decode(), runtime="", precision="", allocation="")
    return _register_sources(journal, finisher, specs, options.redo)


def _register_sources(journal: Journal, finisher: Finisher, specs: Sequence[SourceSpec], redo: bool) -> list[str]:
    known = journal.known()
    troubles = []
    for spec in specs:
        entry = known.get(spec.path)
        if entry is None:
            continue
        if (spec.camera, spec.start) != (entry.camera, entry.start) and entry.status != "new":
            troubles.append(
                f"{mask_secrets(spec.path)} is here as of camera {entry.camera} from {entry.start}: its old labels stay; name "
                "another folder with --out for other ones."
            )
        same = plan.is_same(spec.path, entry.fingerprint)
        if entry.status == "failed" and same:
            journal.retry(entry.id, entry.fingerprint)
        elif not same and (redo or entry.status in ("failed", "new")):
            finisher.remove(entry.id)
            journal.renew(entry.id, plan.fingerprint(spec.path))
        elif not same:
            troubles.append(
                f"{mask_secrets(spec.path)} has changed since it was labelled: give --redo to label it again, or name another "
                "folder with --out."
            )
    new = [spec for spec in specs if spec.path not in known]
    names = plan.names_of([spec.path for spec in new], [entry.name for entry in known.values()])
    journal.add((spec, name, plan.fingerprint(spec.path)) for spec, name in zip(new, names, strict=True))
    return troubles


def _settled(journal: Journal, model: ModelSettings, specs: Sequence[SourceSpec]) -> ModelSettings:
    """The model with a runtime and precision that hold for the whole archive, wherever its shards run and however often it is
    continued: chosen once, by the first source that opens."""
    runtime, precision = journal.meta("runtime"), journal.meta("precision")
    if runtime:
        return replace(model, runtime=runtime, precision=precision)  # type: ignore[arg-type]
    if "auto" not in (model.runtime, model.precision):
        return model
    for spec in specs[:_LOOKED_AT]:
        try:
            with FileSource(spec.path) as source:
                size = source.info.width, source.info.height
        except SourceError:
            continue
        chosen = choose_runtime(model, *size)
        journal.set_meta(runtime=chosen[0], precision=chosen[1])
        return replace(model, runtime=chosen[0], precision=chosen[1])
    return model
