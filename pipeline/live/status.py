"""The state of all cameras as JSON (`everyframe status --json`, /api/status) and as text for a terminal."""

from __future__ import annotations

import io
import logging
import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from everyframe.pipeline.errors import mask_secrets
from everyframe.pipeline.labelling.audits import estimate
from everyframe.pipeline.live.types import (
    DROPPED,
    PUBLISHED,
    RECEIVED,
    Board,
    CameraReport,
    Histogram,
    MachineReport,
)

Status = dict[str, Any]
_LOG = logging.getLogger("everyframe.status")
_COLOURS = {"live": "green", "connecting": "yellow", "waiting": "yellow", "failed": "red", "stopped": "dim"}


def status_of(board: Board) -> Status:
    """What the board says now, as plain JSON values."""
    return status_json(board.machine(), board.cameras())


def status_json(machine: MachineReport | None, cameras: Sequence[CameraReport]) -> Status:
    """{"machine": {...}, "cameras": [{...}]}: the fields of the reports under their names, NaN as null, audits as `f1`."""
    return {
        "machine": None if machine is None else machine_json(machine),
        "cameras": [camera_json(report) for report in cameras],
    }


def machine_json(machine: MachineReport) -> Status:
    values = asdict(machine)
    values.pop("heard")
    values["redis"] = mask_secrets(machine.redis)
    return values


def camera_json(report: CameraReport) -> Status:
    """One camera. f1: {"f1", "low", "high", "frames"} or null. publish, queue, cnn: with quantiles `p50_ms` and `p99_ms`.
    rungs: a digit for each of the last frames, the number of its `Origin`."""
    values = {name: getattr(report, name) for name in CameraReport.__slots__ if name != "audits"}
    values["message"] = mask_secrets(report.message)
    values["price"] = finite(report.price)
    values["counts"] = dict(report.counts)
    values["rungs"] = rungs_text(report.rungs)
    values["f1"] = f1_json(report)
    for name in ("publish", "queue", "cnn"):
        values[name] = _histogram_json(getattr(report, name))
    return values


def finite(value: float) -> float | None:
    """A number for JSON, which has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def rungs_text(rungs: bytes, last: int | None = None) -> str:
    return "".join(map(str, rungs[-last:] if last else rungs))


def f1_json(report: CameraReport) -> dict[str, float] | None:
    """What audits say of a camera; None before the first."""
    found = estimate(report.audits)
    return None if found is None else asdict(found)


def dropped(counts: Mapping[str, int]) -> int:
    """Frames that got no record, whatever the reason."""
    return sum(n for name, n in counts.items() if name.startswith(DROPPED))


def quantile(histogram: Histogram, share: float) -> float | None:
    """The value in ms below which a share of the durations lies, straight lines inside a bucket; None without any.
    Above the last bound it is that bound."""
    total = sum(histogram.counts)
    if not total:
        return None
    wanted, below = share * total, 0
    for i, n in enumerate(histogram.counts):
        if n and below + n >= wanted:
            if i == len(histogram.bounds_ms):
                break
            low = histogram.bounds_ms[i - 1] if i else 0.0
            return low + (histogram.bounds_ms[i] - low) * (wanted - below) / n
        below += n
    return histogram.bounds_ms[-1] if histogram.bounds_ms else None


def _histogram_json(histogram: Histogram | None) -> Status | None:
    if histogram is None:
        return None
    return {
        "bounds_ms": list(histogram.bounds_ms),
        "counts": list(histogram.counts),
        "total_ms": histogram.total_ms,
        "p50_ms": quantile(histogram, 0.5),
        "p99_ms": quantile(histogram, 0.99),
    }


def status_line(status: Status) -> str:
    """All cameras in one line."""
    cameras, machine = status["cameras"], status["machine"]
    live = sum(c["state"] == "live" for c in cameras)
    counts = [c["counts"] for c in cameras]
    parts = [f"{live} of {len(cameras)} cameras live", f"{sum(c['fps'] for c in cameras):.0f} frames/s"]
    if machine is not None:
        parts.append(f"{machine['cpu']:.2f} of {machine['cpus']:g} cores (CNN {machine['cnn']:.2f})")
    parts += [
        f"{sum(c.get(PUBLISHED, 0) for c in counts)} published",
        f"{sum(c['waiting'] for c in cameras)} in the spool",
        f"{sum(map(dropped, counts))} dropped",
    ]
    if machine is not None and machine["redis"]:
        parts.append(machine["redis"])
    return ", ".join(parts)


def status_table(status: Status) -> Table:
    """A row for each camera, for rich consoles."""
    table = Table(title=status_line(status), title_justify="left", title_style="", box=None, pad_edge=False)
    for head in ("camera", "state", "frames/s", "objects", "F1", "level", "lag", "publish p99", "spool", "dropped", "received"):
        table.add_column(head, justify="left" if head in ("camera", "state") else "right", no_wrap=head != "state")
    for camera in status["cameras"]:
        table.add_row(*_row(camera))
    return table


def _row(camera: Status) -> list[Text]:
    state = Text(camera["state"], _COLOURS.get(camera["state"], ""))
    if camera["message"]:
        state.append(f"  {camera['message']}", "dim")
    publish = camera["publish"] and camera["publish"]["p99_ms"]
    cells = (
        f"{camera['fps']:.1f}",
        str(camera["tracks"]),
        f1_text(camera["f1"]),
        camera["level_name"] or str(camera["level"]),
        f"{camera['lag_s']:.1f} s",
        "-" if publish is None else f"{publish:.0f} ms",
        str(camera["waiting"]),
        str(dropped(camera["counts"])),
        str(camera["counts"].get(RECEIVED, 0)),
    )
    return [Text(camera["name"]), state, *map(Text, cells)]


def f1_text(f1: Mapping[str, float] | None) -> str:
    return "-" if f1 is None else f"{f1['f1']:.2f} ({f1['low']:.2f}-{f1['high']:.2f})"


def status_text(status: Status, width: int = 160) -> str:
    """The table as plain text, lines of at most `width` characters."""
    page = io.StringIO()
    Console(file=page, width=width, color_system=None).print(status_table(status))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


class StatusTable:
    """A live table on a terminal; elsewhere, or with as_lines, one log line every `every_s` seconds. Use it as a context."""

    def __init__(
        self, board: Board, every_s: float = 60.0, stream: TextIO | None = None, as_lines: bool = False
    ) -> None:
        self._board = board
        self._every_s = every_s
        self._stream = stream or sys.stderr
        self._is_table = self._stream.isatty() and not as_lines
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everyframe-status", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        if self._is_table:
            self._draw()
        else:
            self._tell()

    def _draw(self) -> None:
        console = Console(file=self._stream)
        with Live(console=console, auto_refresh=False, redirect_stdout=False) as live:
            while True:
                live.update(status_table(status_of(self._board)), refresh=True)
                if self._stop.wait(1.0):
                    return

    def _tell(self) -> None:
        due = time.monotonic() + self._every_s
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = time.monotonic() + self._every_s
            status = status_of(self._board)
            _LOG.info(status_line(status), extra={"event": "status", "fields": {"machine": status["machine"]}})
