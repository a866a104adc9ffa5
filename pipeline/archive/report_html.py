"""The final report as one HTML page: nothing is fetched, no script runs, it reads on a phone and prints.

All text from outside (names, paths, reasons) goes through `html.escape`; a Content-Security-Policy forbids what might slip through.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from everyframe.pipeline.archive.types import ArchiveReport, SourceReport
from everyframe.pipeline.errors import mask_secrets
from everyframe.pipeline.sinks.files import write_whole

SHOWN = 50
"""Rows of a table of sources; report.json and sources.parquet have all."""

_STYLE = """
:root{--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--back:#fff;--bar:#2f6fb0;--bad:#a3261d}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b4;--line:#333c48;--back:#14191f;--bar:#6aa5de;--bad:#f08a80}}
*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:62rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--back)}h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}p,li{max-width:44rem}
.soft{color:var(--soft)}.bad{color:var(--bad)}dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem}
dl div{border:1px solid var(--line);border-radius:.4rem;padding:.5rem .75rem}dt{color:var(--soft);font-size:.85rem}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}dd small{display:block;font-size:.8rem;
color:var(--soft)}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;min-width:34rem;font-size:.9rem}
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere;
min-width:4rem}th{color:var(--soft);font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
svg{width:100%;height:auto;max-width:34rem;display:block}svg text{fill:var(--ink);font:12px system-ui,sans-serif}
svg rect{fill:var(--bar)}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--back:#fff;--bar:#555;--bad:#000}body{max-width:none;padding:0;font-size:10pt}
h2{break-after:avoid}tr,dl div,svg{break-inside:avoid}.wide{overflow:visible}table{min-width:0}}
"""


def render(report: ArchiveReport) -> str:
    """The page. Every text of the report is escaped, secrets in addresses are masked."""
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        f'<p class="soft">{_when(report.begun)} to {_when(report.ended)}</p>',
        '<p class="bad">This run was interrupted: the same command continues it.</p>' if report.interrupted else "",
        _figures(report),
        _accuracy(report),
        _time(report),
        _troubles(report.sources),
        _slowest(report.sources),
        _allocation(report),
        _section("Notes", "<ul>" + "".join(f"<li>{_text(note)}</li>" for note in report.notes) + "</ul>") if report.notes else "",
        _settings(report.settings),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_text(report.title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def write_report(path: Path, report: ArchiveReport) -> None:
    """Writes the page; it has its name once it is whole. Raises SinkError."""
    write_whole(path, render(report).encode("utf-8", "replace"))


def _figures(report: ArchiveReport) -> str:
    done = sum(s.row.status == "done" for s in report.sources)
    broken = sum(s.row.status == "broken" for s in report.sources)
    failed = sum(s.row.status == "failed" for s in report.sources)
    per_frame = report.cpu_s * 1e3 / report.frames if report.frames else math.nan
    speed = report.media_s / report.cpu_s if report.cpu_s else math.nan
    budget = "" if report.budget_cpu_h is None else f"of {report.budget_cpu_h:g} h given"
    cells = [
        ("Sources done", f"{done} of {len(report.sources)}", f"{broken} broken, {failed} failed" if broken or failed else ""),
        ("Frames labelled", f"{report.frames:,}", _hours(report.media_s) + " of video"),
        ("CPU", _hours(report.cpu_s), budget or f"{_number(per_frame, '.2f')} ms a frame"),
        ("Video an hour of CPU", f"{_number(speed, '.1f')} h", ""),
        ("Time of this run", _hours(report.wall_s), ""),
        ("F1 against the dense detector", _f1(report.f1), _interval(report.f1, report.audits)),
    ]
    body = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}" + (f"<small>{_text(more)}</small>" if more else "") + "</dd></div>"
        for name, value, more in cells
    )
    return f"<dl>{body}</dl>"


def _accuracy(report: ArchiveReport) -> str:
    if report.f1 is None:
        told = "No frame was audited, so nothing is known of the accuracy: --audit draws frames at random to measure it."
    else:
        told = (
            f"On {report.audits:,} frames drawn at random the whole detector was run only to compare. By them the labels have F1 "
            f"{_f1(report.f1)} at IoU 0.5 against the detector run on every frame ({_interval(report.f1, report.audits)})."
        )
    total = sum(report.origins.values())
    rows = [(name, count, f"{count:,} ({count / total:.1%})") for name, count in _largest(report.origins)]
    chart = "<h3>How the labels of frames came to be</h3>" + _bars(rows) if total else ""
    return _section("Accuracy", f"<p>{_text(told)}</p>{chart}")


def _time(report: ArchiveReport) -> str:
    total = sum(report.steps.values())
    if not total:
        return ""
    rows = [(name, s, f"{_hours(s)} ({s / total:.1%})") for name, s in _largest(report.steps) if s > 0]
    return _section("Where the CPU time went", _bars(rows))


def _troubles(sources: Sequence[SourceReport]) -> str:
    bad = [s for s in sources if s.row.status != "done"]
    if not bad:
        return _section("Broken and failed sources", "<p>None.</p>")
    rows = [[_name(s), s.row.status, str(s.retries), s.row.reason] for s in bad[:SHOWN]]
    return _section("Broken and failed sources", _table(["Source", "State", "Retries", "Why"], rows, {2}) + _rest(len(bad)))


def _slowest(sources: Sequence[SourceReport]) -> str:
    ranked = sorted((s for s in sources if s.row.frames), key=lambda s: -s.cpu_s / s.row.frames)
    heads = ["Source", "Size", "Frames", "CPU", "ms a frame", "Saw the CNN", "F1 by audits"]
    rows = [
        [
            _name(s), f"{s.row.width}x{s.row.height}", f"{s.row.frames:,}", _hours(s.cpu_s),
            f"{s.cpu_s * 1e3 / s.row.frames:.2f}", f"{s.cnn:.1%}", _f1(s.f1),
        ]
        for s in ranked[:SHOWN]
    ]  # fmt: skip
    return _section("Slowest sources", _table(heads, rows, {1, 2, 3, 4, 5, 6}) + _rest(len(ranked))) if rows else ""


def _allocation(report: ArchiveReport) -> str:
    if not report.allocation:
        return ""
    rows = [
        [a.name, _hours(a.media_s), _hours(a.cpu_s), _number(math.nan if a.f1 is None else a.f1, ".3f"), a.why]
        for a in sorted(report.allocation, key=lambda a: -a.cpu_s)[:SHOWN]
    ]
    given = "" if report.budget_cpu_h is None else f"<p>{report.budget_cpu_h:g} CPU hours were given for the whole archive.</p>"
    table = _table(["What", "Video", "CPU", "F1 expected", "Why"], rows, {1, 2, 3})
    return _section("How the budget was shared out", given + table + _rest(len(report.allocation)))


def _settings(settings: Mapping[str, str]) -> str:
    return _section("Settings", _table(["Setting", "Value"], [[k, v] for k, v in sorted(settings.items())], set())) if settings else ""


def _section(head: str, body: str) -> str:
    return f"<section><h2>{_text(head)}</h2>{body}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: set[int]) -> str:
    """numbers: columns that are aligned to the right."""
    kind = [' class="n"' if i in numbers else "" for i in range(len(heads))]
    head = "".join(f"<th{kind[i]}>{_text(h)}</th>" for i, h in enumerate(heads))
    body = "".join("<tr>" + "".join(f"<td{kind[i]}>{_text(c)}</td>" for i, c in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """A bar chart as SVG: (name, length, what is written behind it)."""
    most = max(length for _, length, _ in rows)
    lines = []
    for i, (name, length, told) in enumerate(rows):
        y, width = i * 24, max(1.0, 150 * length / most)
        lines.append(
            f'<text x="92" y="{y + 16}" text-anchor="end">{_text(name)}</text><rect x="98" y="{y + 4}" width="{width:.1f}" '
            f'height="16" rx="2"/><text x="{104 + width:.1f}" y="{y + 16}">{_text(told)}</text>'
        )
    label = "; ".join(f"{name}: {told}" for name, _, told in rows)
    return f'<svg viewBox="0 0 400 {len(rows) * 24}" role="img" aria-label="{_text(label)}">{"".join(lines)}</svg>'


def _largest(values: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(values.items(), key=lambda item: (-item[1], item[0]))


def _rest(count: int) -> str:
    return f'<p class="soft">and {count - SHOWN} more: see sources.parquet</p>' if count > SHOWN else ""


def _name(source: SourceReport) -> str:
    camera, name = source.row.camera, source.row.source
    return name if camera == name else f"{camera} / {name}"


def _text(text: str) -> str:
    """Safe in HTML, also in an attribute; control characters, which no page may hold, become spaces."""
    plain = "".join(c if c.isprintable() else " " for c in mask_secrets(text))
    return escape(plain, quote=True)


def _when(moment: datetime) -> str:
    return escape(moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip())


def _hours(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _f1(f1: tuple[float, float, float] | None) -> str:
    return "-" if f1 is None else _number(f1[0], ".3f")


def _interval(f1: tuple[float, float, float] | None, audits: int) -> str:
    if f1 is None:
        return "not audited"
    return f"95 %: {_number(f1[1], '.3f')} to {_number(f1[2], '.3f')}, {audits:,} audits"
