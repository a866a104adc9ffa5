"""One line of an evaluation's result, and the ways to show many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.pictures.plots import axes_for
from everyframe.pipeline.settings import Mode


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one clip. Field names are the keys of `--json`.

    frames: compared with the dense detector. f1_dense: pooled F1 against the dense detector; f1_truth,
    dense_f1_truth: pooled F1 of the policy and of the dense detector against the ground truth, on its labelled frames
    and its classes; None without one. f1_frames, class_accuracy, count_error: against the dense detector, see
    `pipeline.metrics`. delay_frames: mean wait of the dense detector's objects for their first report, over those
    that were reported; missed_objects of `objects` never were.
    cpu_ms_per_frame: of an ordinary run, None in a replay; dense_cpu_ms_per_frame: plain decoding and the CNN on every
    frame; speedup: the second by the first. decode_fraction, cnn_fraction: shares of the frames;
    partial_fraction: of those for which a part of the net was run (region, residual, flow).
    looks: passes of the CNN over whole pictures for each frame, by rung; audits are not among them.
    cpu_ms_by_step: CPU ms per frame by `records.STEPS`.
    """

    video: str
    policy: str
    mode: Mode
    classes: tuple[str, ...]
    frames: int
    f1_dense: float
    f1_truth: float | None
    dense_f1_truth: float | None
    f1_frames: float
    class_accuracy: float | None
    count_error: float
    delay_frames: float | None
    objects: int
    missed_objects: int
    cpu_ms_per_frame: float | None
    dense_cpu_ms_per_frame: float | None
    speedup: float | None
    decode_fraction: float
    cnn_fraction: float
    partial_fraction: float
    runtime: str
    precision: str
    score_threshold: float
    cpu_ms_by_step: dict[str, float] = field(default_factory=dict)
    looks: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values, floats rounded to 5 digits."""
        plain = asdict(self)
        plain["looks"] = {rung: round(share, 5) for rung, share in self.looks.items()}
        plain["cpu_ms_by_step"] = {step: round(ms, 5) for step, ms in self.cpu_ms_by_step.items()}
        return {key: round(value, 5) if isinstance(value, float) else value for key, value in plain.items()}


_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("policy", "policy", ""),
    ("mode", "mode", ""),
    ("F1 dense", "f1_dense", ".3f"),
    ("F1 truth", "f1_truth", ".3f"),
    ("dense truth", "dense_f1_truth", ".3f"),
    ("class acc", "class_accuracy", ".3f"),
    ("count err", "count_error", ".2f"),
    ("delay", "delay_frames", ".1f"),
    ("CPU ms", "cpu_ms_per_frame", ".2f"),
    ("dense ms", "dense_cpu_ms_per_frame", ".2f"),
    ("speedup", "speedup", ".1f"),
    ("decoded", "decode_fraction", ".1%"),
    ("CNN", "cnn_fraction", ".1%"),
    ("in part", "partial_fraction", ".1%"),
)


def table(rows: Sequence[Row]) -> Table:
    """The rows for people: a rich table, columns without any value left out."""
    title = " · ".join(
        dict.fromkeys(f"{r.video}: {r.frames} frames, {r.runtime} {r.precision}" for r in rows)
    )
    made = Table(title=title, caption=f"score ≥ {rows[0].score_threshold}, IoU ≥ 0.5" if rows else None)
    shown = [c for c in _COLUMNS if any(getattr(row, c[1]) is not None for row in rows)]
    for heading, _, form in shown:
        made.add_column(heading, justify="right" if form else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(_cell(getattr(row, name), form) for _, name, form in shown))
    return made


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


def plot(rows: Sequence[Row], path: str) -> None:
    """Draws cost (CPU ms per frame) against F1 into a picture file.

    Raises UsageError where matplotlib is missing, no row has a cost or the file's ending is unknown, SinkError where
    it cannot be written.
    """
    points = [(row, row.cpu_ms_per_frame) for row in rows if row.cpu_ms_per_frame is not None]
    if not points:
        raise UsageError(f"Nothing to draw in {path}: no policy's cost was measured.")
    first = points[0][0]
    dense = first.dense_cpu_ms_per_frame
    with axes_for(path) as axes:
        for row, cost in points:
            marker = "s" if row.policy.startswith("peer:") else "o"
            axes.plot(cost, row.f1_dense, marker, label=f"{row.policy} ({row.mode})")
        if dense is not None:
            axes.axvline(dense, color="grey", linestyle=":", label="CNN on every frame")
        axes.set(xscale="log", xlabel="CPU ms per frame", ylabel="F1 against the dense detector", title=first.video)
        axes.legend(fontsize="small")
