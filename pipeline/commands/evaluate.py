"""`everyframe evaluate`: what policies keep of the dense detector's labels, and what they cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError

if TYPE_CHECKING:
    from everyframe.pipeline.evaluation import Row

_POLICIES = (
    "A policy to evaluate; give it several times. As for run, or a peer: peer:stride-hold:N, peer:bytetrack:N, "
    "peer:iframes-linear, peer:dis-flow:N."
)


def evaluate(
    video: Annotated[str, Parameter(help="A video file.")],
    /,
    *,
    policy: Annotated[
        list[str] | None, Parameter(help=f"{_POLICIES} [default: motion]", group=o.LABELS, negative=())
    ] = None,
    mode: o.ModeOptions = o.MODE,
    truth: o.TruthOption = None,
    labelled: o.LabelledOption = None,
    classes: o.ClassesOption = None,
    limit: o.LimitOption = None,
    seed: o.SeedOption = None,
    goals: o.GoalOptions = o.GOALS,
    cnn: o.CnnOptions = o.CNN,
    plot: o.PlotOption = None,
    json: o.JsonFlag = False,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
) -> int:
    """Compare policies with the CNN on every frame: accuracy and CPU time, on one clip, in one process."""
    from everyframe.pipeline.config import make_settings

    options = o.given(cnn, goals, mode, classes=classes, limit=limit, seed=seed)
    settings = make_settings(options).label_settings()
    between = labelled_frames(labelled)

    from everyframe.pipeline import evaluation

    rows = evaluation.evaluate(
        video,
        policy or ["motion"],
        settings,
        truth=truth,
        labelled=between,
        progress=None if quiet else Ticker(),
    )
    return show(rows, plot, json)


def show(rows: Sequence[Row], plot: str | None, json: bool) -> int:
    """Rows as a table or as JSON lines on stdout, and drawn into a file if one is named; the exit status."""
    import orjson
    from rich.console import Console

    from everyframe.pipeline import evaluation

    if plot is not None:
        evaluation.plot(rows, plot)
    if json:
        for row in rows:
            print(orjson.dumps(row.as_json()).decode())
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(evaluation.table(rows))
    return 0


def labelled_frames(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError(f"--labelled: write two frame numbers from 1 on, as in 470-1000, not {text[:40]!r}")
    return int(first), int(last)


class Ticker:
    """One line on stderr every few seconds, one when a policy is done."""

    def __init__(self, every: float = 3.0) -> None:
        self._every = every
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, expected: int | None) -> None:
        now = time.monotonic()
        if now - self._last >= self._every or done == expected:
            self._last = now
            print(
                f"{what}: {done}" + (f" of {expected}" if expected else "") + " frames",
                file=sys.stderr,
                flush=True,
            )
