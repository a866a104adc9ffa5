"""`everyframe run`: files in, labels for every frame out."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from everyframe.pipeline.runs.session import RunResult
    from everyframe.pipeline.settings import RunSettings


def run(
    *sources: Annotated[
        str, Parameter(help="Video files or globs: mp4, mkv, ts, mov, avi, raw .264/.h264/.jsv.")
    ],
    policy: o.PolicyOption = None,
    mode: o.ModeOptions = o.MODE,
    classes: o.ClassesOption = None,
    conf: o.ConfOption = None,
    limit: o.LimitOption = None,
    seed: o.SeedOption = None,
    goals: o.GoalOptions = o.GOALS,
    cnn: o.CnnOptions = o.CNN,
    out: o.OutOption = None,
    format: o.FormatOption = None,
    publish: o.RedisOptions = o.REDIS,
    engine: o.EngineOption = None,
    workers: o.WorkersOption = None,
    address: o.AddressOption = None,
    config: o.ConfigOption = None,
    print_config: Annotated[bool, o.flag("Print the settings in force as YAML and stop.", o.ENGINE)] = False,
    quiet: Annotated[bool, o.flag("No progress and no summary; errors still show.", o.OUTPUT)] = False,
    json: o.JsonFlag = False,
) -> int:
    """Label every frame of files, the CNN on few of them."""
    from everyframe.pipeline.config import load_config, make_settings, to_yaml

    options = o.given(
        cnn, goals, publish, mode, policy=policy, classes=classes, conf=conf, limit=limit, seed=seed, out=out,
        format=format, engine=engine, workers=workers, address=address,
    )  # fmt: skip
    settings = make_settings(options, load_config(config) if config else None, config or "")
    if print_config:
        print(to_yaml(settings), end="")
        return 0
    if not sources:
        raise UsageError("no SOURCE given: name a video file, as in everyframe run clip.mp4")
    return label(list(sources), settings, quiet=quiet, as_json_line=json)


def label(sources: list[str], settings: RunSettings, *, quiet: bool, as_json_line: bool) -> int:
    """Runs and reports; returns the exit status: 0, 1 where something failed, 130 after Ctrl-C."""
    from everyframe.pipeline.runs.inputs import expand
    from everyframe.pipeline.runs.progress import make_progress
    from everyframe.pipeline.runs.publishing import Publishing
    from everyframe.pipeline.runs.session import label_sources

    with Publishing.open(settings) as publishing:
        result = label_sources(expand(sources), settings, publishing.sinks_for, make_progress(quiet))
        report(result, publishing.read_from, quiet=quiet, as_json_line=as_json_line)
    if result.is_interrupted:
        return 130
    return 1 if result.errors else 0


def report(result: RunResult, redis: str | None, *, quiet: bool, as_json_line: bool) -> None:
    """The summary on stdout: a table, or one JSON line; after Ctrl-C a line on stderr says what was done."""
    import orjson

    from everyframe.pipeline.runs.summary import as_json, print_summary, read_back_command

    if result.is_interrupted:
        print(f"everyframe: interrupted: {result.stats.frames} frames are labelled and kept", file=sys.stderr)
    if as_json_line:
        print(orjson.dumps(as_json(result)).decode(), flush=True)
    elif not quiet and (result.stats.frames or not result.errors):  # a table of zeros says less than the errors
        advice = None if redis else "add --redis redis://HOST:6379/0, or --redis embedded"
        print_summary(result, results_console(), read_back_command(result, redis), advice)


def results_console() -> Console:
    """Tables on stdout: as wide as the terminal, wide enough for paths where there is none."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or 120)
    return Console(width=width, highlight=False, markup=False)
