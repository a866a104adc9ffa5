"""`everyframe batch`: an archive in, labels of every frame of it out, exactly once, however often it is stopped."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import SettingsError, UsageError
from everyframe.pipeline.settings import SHARD_FRAMES

if TYPE_CHECKING:
    from everyframe.pipeline.archive.engine import Crew
    from everyframe.pipeline.archive.session import BatchOptions
    from everyframe.pipeline.settings import RunSettings

FORMATS = ("parquet", "jsonl", "mot", "coco", "csv")


def batch(
    *sources: Annotated[str, Parameter(help="Video files, folders, globs, s3:// or http(s):// URLs.")],
    out: Annotated[str | None, Parameter(help="Folder of the archive's labels; the same one continues it.", group=o.OUTPUT)] = None,
    manifest: Annotated[
        str | None, Parameter(help="CSV or Parquet table with the columns path, camera, start_time.", group=o.OUTPUT)
    ] = None,
    format: Annotated[
        list[str] | None,
        Parameter(help="Files beside Parquet, which is always written: jsonl, mot, coco, csv.", group=o.OUTPUT, negative=()),
    ] = None,
    policy: o.PolicyOption = None,
    mode: o.ModeOptions = o.MODE,
    classes: o.ClassesOption = None,
    conf: o.ConfOption = None,
    limit: o.LimitOption = None,
    seed: o.SeedOption = None,
    goals: o.GoalOptions = o.GOALS,
    cnn: o.CnnOptions = o.CNN,
    publish: o.RedisOptions = o.REDIS,
    workers: Annotated[int | None, Parameter(help="Ray actors; 1: this process alone. Default: one for each CPU.", group=o.ENGINE)] = None,
    address: Annotated[str | None, Parameter(help="Ray cluster to work on: ray://HOST:10001, HOST:6379 or auto.", group=o.ENGINE)] = None,
    memory_mb: Annotated[int, Parameter(help="Memory that each actor asks of the cluster, MiB; 0: none.", group=o.ENGINE)] = 0,
    gpus: Annotated[float, Parameter(help="GPUs, or a share of one, for each actor.", group=o.ENGINE)] = 0.0,
    shard_frames: Annotated[
        int, Parameter(help=f"Least frames of a shard; labels depend on it. [default: {SHARD_FRAMES}]", group=o.ENGINE)
    ] = SHARD_FRAMES,
    retries: Annotated[int, Parameter(help="How often a shard that failed is tried again.", group=o.ENGINE)] = 2,
    redo: Annotated[bool, o.flag("Label sources that changed again; all of them where settings changed.", o.OUTPUT)] = False,
    dry_run: Annotated[bool, o.flag("Say what it would take, from a sample; write no labels.", o.ENGINE)] = False,
    budget_cpu_hours: Annotated[
        float | None, Parameter(help="CPU hours for the whole archive, spent where they save most errors.", group=o.LABELS)
    ] = None,
    config: o.ConfigOption = None,
    quiet: Annotated[bool, o.flag("No progress and no summary; errors still show.", o.OUTPUT)] = False,
    json: o.JsonFlag = False,
) -> int:
    """Label an archive: stopped, killed and continued at any time, every frame exactly once."""
    from everyframe.pipeline.archive.session import BatchOptions
    from everyframe.pipeline.config import load_config, make_settings, split

    if out is None:
        raise UsageError("no --out DIR given: name the folder for the labels, as in everyframe batch recordings/ --out labels")
    formats = tuple(split(format or []))
    for name in formats:
        if name not in FORMATS:
            raise SettingsError(f"--format: no format {name!r}; choose from {', '.join(FORMATS)}")
    if budget_cpu_hours is not None and not budget_cpu_hours > 0:
        raise SettingsError("--budget-cpu-hours: give a number above 0")
    if shard_frames < 1:
        raise SettingsError("--shard-frames: give 1 or more")
    if retries < 0 or memory_mb < 0 or gpus < 0:
        raise SettingsError("--retries, --memory-mb and --gpus: give numbers that are not below 0")
    if budget_cpu_hours is not None and policy is None:
        policy = "learned"
    given = o.given(
        cnn, goals, publish, mode, policy=policy, classes=classes, conf=conf, limit=limit, seed=seed,
        workers=workers, address=address, out=out,
    )  # fmt: skip
    settings = make_settings(given, load_config(config) if config else None, config or "")
    options = BatchOptions(
        Path(out), tuple(sorted(set(formats) - {"parquet"})), retries, redo, budget_cpu_hours, shard_frames
    )
    request = _Request(settings, memory_mb, gpus, shard_frames)
    return _carry_out(list(sources), manifest, options, request, dry=dry_run, quiet=quiet, as_json=json)


class _Request:
    """What workers are to be like."""

    def __init__(self, settings: RunSettings, memory_mb: int, gpus: float, shard_frames: int) -> None:
        self.settings, self.memory_mb, self.gpus = settings, memory_mb, gpus
        self.shard_frames = shard_frames

    def crew(self) -> Crew:
        """This process where one worker is asked for or there is one CPU, else Ray."""
        from everyframe.pipeline.archive.engine import LocalCrew
        from everyframe.pipeline.archive.labeller import ShardLabeller

        s = self.settings
        workers = s.workers or len(os.sched_getaffinity(0))
        if workers == 1 and s.address is None:
            return LocalCrew(ShardLabeller(self.shard_frames))
        from everyframe.pipeline.engines.ray_batch import RayCrew

        return RayCrew(workers, s.address, s.threads, self.memory_mb << 20, self.gpus, self.shard_frames)


def _carry_out(
    sources: list[str], manifest: str | None, options: BatchOptions, request: _Request, *, dry: bool, quiet: bool, as_json: bool
) -> int:
    import orjson

    from everyframe.pipeline.archive.plan import find_sources
    from everyframe.pipeline.archive.progress import View
    from everyframe.pipeline.archive.reporting import summary
    from everyframe.pipeline.archive.session import label_archive, try_archive

    specs = find_sources(sources, manifest)
    view = View(sys.stderr, quiet)
    if dry:
        found = try_archive(specs, request.settings, options, request.crew, view)
        print(orjson.dumps(found).decode() if as_json else _in_words(found))
        return 1 if found.failed else 0
    result = label_archive(specs, request.settings, options, request.crew, view)
    if result.report.interrupted:
        print("everyframe: interrupted: what is done is kept; the same command goes on", file=sys.stderr)
    if as_json:
        print(orjson.dumps(result.report).decode(), flush=True)
    elif not quiet:
        print("\n".join(summary(result.report)), flush=True)
    return result.exit_code


def _in_words(found: object) -> str:
    from everyframe.pipeline.archive.budget import DryRun

    assert isinstance(found, DryRun)
    broken = f", {found.failed} that cannot be read" if found.failed else ""
    name, unit = ("CPU hours", 3600.0) if found.cpu_s >= 360 else ("CPU seconds", 1.0)
    cpu, low, high = (value / unit for value in (found.cpu_s, found.low, found.high))
    return (
        f"{found.sources} sources{broken}, {found.media_s / 3600:.2f} hours of media: {cpu:.2f} {name} "
        f"({low:.2f} to {high:.2f}, from {found.samples} samples)"
    )
