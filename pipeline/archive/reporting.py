"""The report of an archive, from its journal: what was labelled, at what accuracy, where the time went, what failed and why."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson

from everyframe.pipeline.archive.finish import write_json
from everyframe.pipeline.archive.journal import Entry, Journal
from everyframe.pipeline.archive.purse import met
from everyframe.pipeline.archive.report_html import write_report
from everyframe.pipeline.archive.tables import write_sources
from everyframe.pipeline.archive.types import AllocationRow, ArchiveReport, SourceReport, SourceRow
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import mask_secrets
from everyframe.pipeline.labelling.audits import AuditSums, estimate


def report_of(
    journal: Journal, begun: datetime, wall_s: float, interrupted: bool = False, budget_cpu_h: float | None = None
) -> ArchiveReport:
    """Of all sources that the journal knows, those of earlier runs too. begun, wall_s: of this run."""
    stats = journal.finished_stats()
    total, origins, sources = RunStats(), dict[str, int](), []
    media = 0.0
    for entry in journal.entries():
        own, by_origin = stats.get(entry.id, (RunStats(), {}))
        if entry.id not in stats:
            own = journal.shard_stats(entry.id)
        total.add(own)
        media += entry.seconds if entry.id in stats else 0.0
        for name, count in by_origin.items():
            origins[name] = origins.get(name, 0) + count
        sources.append(_source(journal, entry, own, entry.id in stats))
    settings = {key: mask_secrets(value) for key, value in orjson.loads(journal.meta("told") or "{}").items()}
    settings |= {key: value for key in ("runtime", "precision") if (value := journal.meta(key))}
    allocation = [AllocationRow(**row) for row in orjson.loads(journal.meta("allocation") or "[]")]
    return ArchiveReport(
        title=f"Archive of {len(sources)} sources", begun=begun, ended=datetime.now(UTC), sources=tuple(sources),
        frames=sum(origins.values()), media_s=media, cpu_s=total.total_cpu_ms / 1e3, wall_s=wall_s, f1=_f1(total.audits),
        audits=total.audits.looked, steps={name: ms / 1e3 for name, ms in sorted(total.cpu_ms.items())}, origins=origins,
        settings=settings, allocation=tuple(allocation), budget_cpu_h=budget_cpu_h, interrupted=interrupted,
        notes=tuple(mask_secrets(note) for note in (*total.notes, met(journal)) if note),
    )  # fmt: skip


def _source(journal: Journal, entry: Entry, stats: RunStats, is_finished: bool) -> SourceReport:
    policy, price = "", float("nan")
    if is_finished or entry.status == "planned":
        policy = journal.settings(entry.id).policy
        _, _, text = policy.partition(":")
        price = float(text) if policy.startswith("learned:") else price
    reason = entry.reason if entry.status in ("done", "broken", "failed") else "not labelled to its end yet"
    row = SourceRow(
        entry.camera, entry.name, mask_secrets(entry.path), entry.start, entry.frames if is_finished else 0,
        entry.seconds if is_finished else 0.0, entry.width, entry.height, entry.codec,
        "done" if entry.status == "done" else "broken" if entry.status == "broken" else "failed", reason,
    )  # fmt: skip
    share = stats.cnn_frames / stats.frames if stats.frames else 0.0
    return SourceReport(row, stats.total_cpu_ms / 1e3, entry.retries, policy, price, share, _f1(stats.audits))


def _f1(sums: AuditSums) -> tuple[float, float, float] | None:
    found = estimate(sums)
    return None if found is None else (found.f1, found.low, found.high)


def write(out: Path, report: ArchiveReport) -> None:
    """sources.parquet, report.json and report.html in the archive's folder. Raises SinkError."""
    write_sources(out, [source.row for source in report.sources])
    write_json(out / "report.json", report)
    write_report(out / "report.html", report)


def _long(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds:.1f} s"


def summary(report: ArchiveReport) -> list[str]:
    """The report in a few lines."""
    done = sum(source.row.status == "done" for source in report.sources)
    lines = [f"{done} of {len(report.sources)} sources, {report.frames} frames, {_long(report.media_s)} of media, {_long(report.cpu_s)} CPU"]
    if report.f1 is not None:
        lines.append("F1 by {} audits: {:.3f} ({:.3f} to {:.3f})".format(report.audits, *report.f1))
    bad = [source.row for source in report.sources if source.row.status != "done"]
    lines += [f"{row.status}: {row.source}: {row.reason}" for row in bad[:20]]
    if len(bad) > 20:
        lines.append(f"and {len(bad) - 20} more: see report.json")
    return lines
