"""What a run did, for a person and for a program."""

from __future__ import annotations

import math
import shlex
from typing import Any

from rich.console import Console
from rich.table import Table

from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import mask_secrets
from everyframe.pipeline.labelling.audits import estimate
from everyframe.pipeline.records import STEPS
from everyframe.pipeline.runs.session import RunResult
from everyframe.policies.base import LOOK

DENSE_IS = "the CNN on every frame, estimated from this run's own steps"


def dense_ms(stats: RunStats) -> float | None:
    """CPU ms per frame of decoding every frame, running the CNN on it and publishing it, from this run's own steps.

    The decoding here exports motion vectors, which costs a tenth more than dense needs; `evaluate` measures dense
    itself. None where no frame saw the CNN.
    """
    if not stats.frames or not stats.cnn_frames or not stats.decoded:
        return None
    cpu = stats.cpu_ms
    look = cpu.get("convert", 0.0) / (stats.cnn_frames + stats.partial_frames) + cpu.get("cnn", 0.0) / (stats.look_cost or stats.cnn_frames)
    every = (cpu.get("demux", 0.0) + cpu.get("publish", 0.0)) / stats.frames
    return every + cpu.get("decode", 0.0) / stats.decoded + look


def as_json(result: RunResult) -> dict[str, Any]:
    """The run as one flat object. cpu_ms: CPU ms of the whole run by step; the rest is named by unit."""
    stats = result.stats
    per_frame, dense = _ratio(stats.total_cpu_ms, stats.frames), dense_ms(stats)
    return {
        "policy": result.settings.policy,
        "mode": result.settings.mode,
        "engine": result.choice.engine,
        "runtime": result.runtime,
        "precision": result.precision,
        "frames": stats.frames,
        "decoded": stats.decoded,
        "cnn_frames": stats.cnn_frames,
        "partial_frames": stats.partial_frames,
        "looks": stats.looks,
        "decode_fraction": _ratio(stats.decoded, stats.frames),
        "cnn_fraction": _ratio(stats.cnn_frames, stats.frames),
        "audit": _audit_json(stats),
        "cpu_ms_per_frame": per_frame,
        "cpu_ms": {step: round(ms, 3) for step, ms in _by_step(stats)},
        "total_cpu_ms": round(stats.total_cpu_ms, 3),
        "dense_cpu_ms_per_frame_estimate": dense,
        "speedup_estimate": None if dense is None or not per_frame else dense / per_frame,
        "wall_s": round(result.wall_s, 3),
        "digest": result.digest,
        "outputs": [mask_secrets(where) for where in result.outputs],
        "interrupted": result.is_interrupted,
        "notes": stats.notes,
        "errors": [mask_secrets(f"{name}: {error}") for name, error in result.errors],
        "sources": [
            {
                "source": source.name,
                "path": mask_secrets(source.path),
                "frames": source.stats.frames,
                "decoded": source.stats.decoded,
                "cnn_frames": source.stats.cnn_frames,
                "partial_frames": source.stats.partial_frames,
                "digest": source.digest,
                "outputs": [mask_secrets(where) for where in source.outputs],
                "errors": [mask_secrets(str(error)) for error in source.errors],
            }
            for source in result.sources
        ],
    }


def _audit_json(stats: RunStats) -> dict[str, float | int] | None:
    found = estimate(stats.audits)
    if found is None:
        return None
    return {
        "frames": found.frames, "f1": round(found.f1, 4), "f1_low": round(found.low, 4), "f1_high": round(found.high, 4),
    }  # fmt: skip


def print_summary(
    result: RunResult, console: Console, read_back: str | None, advice: str | None = None
) -> None:
    """A table, where the labels are, and the command that reads them back."""
    stats = result.stats
    per_frame, dense = _ratio(stats.total_cpu_ms, stats.frames), dense_ms(stats)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    done = sum(source.is_done and not source.errors for source in result.sources)
    if len(result.sources) > 1:
        table.add_row("sources", f"{done} of {len(result.sources)} without errors")
    table.add_row(
        "frames", f"{stats.frames} labelled" + (" before the interruption" if result.is_interrupted else "")
    )
    table.add_row("decoded", _share(stats.decoded, stats.frames))
    table.add_row("saw the CNN", _share(stats.cnn_frames, stats.frames))
    for rung, count in sorted(stats.looks.items()):
        if rung != LOOK:
            table.add_row(f"  {rung}", _share(count, stats.frames))
    if stats.partial_frames:
        table.add_row("  in part", _share(stats.partial_frames, stats.frames))
    found = estimate(stats.audits)
    if found is not None:
        table.add_row(
            "agrees with CNN",
            f"F1 {found.f1:.3f}, with 95 % certainty {found.low:.3f} to {found.high:.3f} ({found.frames} frames audited)",
        )
    table.add_row("CPU per frame", f"{per_frame:.2f} ms" if per_frame is not None else "-")
    steps = [(step, ms / stats.frames) for step, ms in _by_step(stats)] if stats.frames else []
    table.add_row("  of which", "  ".join(f"{step} {ms:.2f}" for step, ms in steps) or "-")
    if dense is not None and per_frame:
        table.add_row("against dense", f"{dense:.2f} ms, {dense / per_frame:.1f} times as much: {DENSE_IS}")
    table.add_row(
        "how", f"{result.settings.policy}, {result.settings.mode}; {_engine(result)}; {result.wall_s:.1f} s"
    )
    for note in stats.notes:
        table.add_row("note", note)
    for index, where in enumerate(result.outputs):
        table.add_row("labels in" if index == 0 else "", mask_secrets(where))
    if result.digest is not None:
        table.add_row("digest", result.digest)
    if read_back is not None:
        table.add_row("read them with", read_back)
    if advice is not None:
        table.add_row("to publish", advice)
    console.print(table, highlight=False, markup=False, soft_wrap=False)


def read_back_command(result: RunResult, redis: str | None) -> str | None:
    """The command that prints the labels of this run again."""
    if redis is not None:
        return f"everyframe labels {shlex.quote(mask_secrets(redis))}"
    lines = [where for where in result.outputs if where.endswith(".labels.jsonl")]
    if not lines:
        return None
    where = lines[0] if len(lines) == 1 else result.settings.out
    return f"everyframe labels {shlex.quote(where)}"


def _engine(result: RunResult) -> str:
    runtime = f", {result.runtime} {result.precision}" if result.runtime else ""
    return f"{result.choice.engine} engine ({result.choice.reason}){runtime}"


def _by_step(stats: RunStats) -> list[tuple[str, float]]:
    """Steps in the order in which a frame passes them, then what no step was charged for."""
    known = [(step, stats.cpu_ms[step]) for step in STEPS if step in stats.cpu_ms]
    known += [(step, ms) for step, ms in stats.cpu_ms.items() if step not in STEPS]
    rest = stats.total_cpu_ms - sum(ms for _, ms in known)
    return [*known, ("other", max(rest, 0.0))] if known else known


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else str(part)


def _ratio(part: float, whole: float) -> float | None:
    value = part / whole if whole else math.nan
    return None if math.isnan(value) else round(value, 6)
