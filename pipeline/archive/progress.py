"""How far an archive is: frames, media hours an hour, CPU so far, time left, F1 by audits. A live line on a terminal, else lines."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.labelling.audits import AuditSums, estimate
from everyframe.pipeline.runs.progress import error_line

EVERY_S = 10.0


@dataclass(slots=True)
class State:
    """What has been done in this run and what was done before. *_cost: of shards, in expected CPU seconds, which weigh what is left."""

    sources: int = 0
    sources_done: int = 0
    sources_failed: int = 0
    frames: int = 0
    media_s: float = 0.0
    cpu_s: float = 0.0
    done_cost: float = 0.0
    left_cost: float = 0.0
    audits: AuditSums = field(default_factory=AuditSums)

    def take(self, stats: RunStats, media_s: float, cost: float) -> None:
        """A shard has come in."""
        self.frames += stats.frames
        self.media_s += media_s
        self.cpu_s += stats.total_cpu_ms / 1e3
        self.audits.add(stats.audits)
        self.done_cost += cost
        self.left_cost = max(self.left_cost - cost, 0.0)

    def left_s(self, wall_s: float) -> float | None:
        """Seconds left at the rate so far; None before anything is done."""
        return wall_s * self.left_cost / self.done_cost if self.done_cost > 0 else None

    def line(self, wall_s: float) -> str:
        """All in one line."""
        parts = [f"{self.sources_done} of {self.sources} sources"]
        if self.sources_failed:
            parts.append(f"{self.sources_failed} failed")
        parts += [f"{self.frames} frames", f"{self.media_s / max(wall_s, 1e-9):.1f} media hours per hour"]
        parts.append(f"{self.cpu_s / 3600:.2f} CPU h" if self.cpu_s >= 3600 else f"{self.cpu_s:.1f} CPU s")
        found = estimate(self.audits)
        if found is not None:
            parts.append(f"F1 {found.f1:.3f} ({found.low:.3f} to {found.high:.3f})")
        left = self.left_s(wall_s)
        if left is not None:
            parts.append(f"{clock(left)} left")
        return ", ".join(parts)


def clock(seconds: float) -> str:
    """As 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class View:
    """Shows a `State`. quiet: failures only. Use it as a context."""

    def __init__(self, stream: TextIO, quiet: bool = False, every_s: float = EVERY_S) -> None:
        self._stream, self._quiet, self._every = stream, quiet, every_s
        self._began = self._last = time.monotonic()
        self._live: Any = None

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began

    def update(self, state: State) -> None:
        if self._quiet:
            return
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(state.line(self.wall_s)))
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._print(state.line(self.wall_s))

    def note(self, sentence: str) -> None:
        if not self._quiet:
            self._print(sentence)

    def error(self, sentence: str) -> None:
        self._print(error_line(sentence))

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        self._began = self._last = time.monotonic()
        if not self._quiet and self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live("", console=Console(file=self._stream), refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


