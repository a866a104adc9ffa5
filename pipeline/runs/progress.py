"""Progress on stderr: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.progress import Task as BarTask
from rich.text import Text

from everyframe.pipeline.errors import mask_secrets


class Progress(Protocol):
    """Counts frames done. Use it as a context; `note` prints a sentence between updates, `error` one about a failure
    (even where progress is silent)."""

    def expect(self, frames: int | None) -> None: ...

    def advance(self, frames: int) -> None: ...

    def note(self, sentence: str) -> None: ...

    def error(self, error: Exception) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def error_line(error: Exception | str) -> str:
    """How every failure is shown: one line, secrets masked."""
    return mask_secrets(f"everyframe: {' '.join(str(error).split())}")


def make_progress(quiet: bool, stream: TextIO | None = None) -> Progress:
    """The kind that fits the stream (stderr if not given)."""
    stream = stream or sys.stderr
    if quiet:
        return Silent()
    return Live(stream) if stream.isatty() else Lines(stream)


class Silent:
    """Shows nothing."""

    def expect(self, frames: int | None) -> None:
        pass

    def advance(self, frames: int) -> None:
        pass

    def note(self, sentence: str) -> None:
        pass

    def error(self, error: Exception) -> None:
        print(error_line(error), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Lines:
    """One plain line every `every` seconds; short runs print none."""

    def __init__(self, stream: TextIO, every: float = 5.0) -> None:
        self._stream = stream
        self._every = every
        self._total: int | None = None
        self._done = 0
        self._began = self._last = time.monotonic()

    def expect(self, frames: int | None) -> None:
        self._total = frames

    def advance(self, frames: int) -> None:
        self._done += frames
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self.note(self._line(now - self._began))

    def note(self, sentence: str) -> None:
        print(sentence, file=self._stream, flush=True)

    def error(self, error: Exception) -> None:
        self.note(error_line(error))

    def _line(self, seconds: float) -> str:
        rate = self._done / seconds
        if not self._total or self._done >= self._total:
            return f"{self._done} frames, {rate:.0f} per second"
        left = (self._total - self._done) / rate if rate else float("inf")
        return f"{self._done} of {self._total} frames, {rate:.0f} per second, {_clock(left)} left"

    def __enter__(self) -> Self:
        self._began = self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Rate(ProgressColumn):
    def render(self, task: BarTask) -> Text:
        return Text("" if not task.speed else f"{task.speed:.0f}/s")


class Live:
    """A bar."""

    def __init__(self, stream: TextIO) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._bar.add_task("frames", total=None)

    def expect(self, frames: int | None) -> None:
        self._bar.update(self._task, total=frames)

    def advance(self, frames: int) -> None:
        self._bar.advance(self._task, frames)

    def note(self, sentence: str) -> None:
        self._bar.console.print(sentence, markup=False, highlight=False)

    def error(self, error: Exception) -> None:
        self.note(error_line(error))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
