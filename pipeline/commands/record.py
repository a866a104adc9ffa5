"""`everyframe record`: traces of videos, to train on and to replay without decoding."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import EveryframeError, UsageError

if TYPE_CHECKING:
    from everyframe.pipeline.runs.progress import Progress
    from everyframe.pipeline.settings import LabelSettings


def record(
    *video: Annotated[str, Parameter(help="Video files; patterns such as 'cameras/*.mp4' are expanded.")],
    out: Annotated[str, Parameter(help="Folder for the traces. [default: traces]", group=o.OUTPUT)] = "traces",
    again: Annotated[bool, o.flag("Record also what is there already with equal settings.", o.OUTPUT)] = False,
    detections: Annotated[
        Literal["cnn", "synthetic"],
        Parameter(help="synthetic: what stands in for the CNN on clips of everyframe simulate. [default: cnn]", group=o.MODEL),
    ] = "cnn",
    limit: o.LimitOption = None,
    cnn: o.CnnOptions = o.CNN,
    json: o.JsonFlag = False,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
) -> int:
    """Keep packets, motion, detections and costs of videos as traces: one file each, whole or not at all."""
    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.runs.inputs import expand, names_for
    from everyframe.pipeline.runs.progress import make_progress
    from everyframe.pipeline.traces.recording import trace_path

    if not video:
        raise UsageError("Nothing to record: name at least one video, as in everyframe record clip.mp4.")
    options = o.given(cnn, limit=limit)
    settings = make_settings(options).label_settings()
    paths = expand(video)
    failed = 0
    with make_progress(quiet) as progress:
        for path, name in zip(paths, names_for(paths), strict=True):
            try:
                row = _one(path, str(trace_path(name, out)), settings, detections, again, progress)
                rows = _capacities(path, row["trace"], settings, again)
            except EveryframeError as e:
                if len(paths) == 1:
                    raise
                progress.error(e)
                failed += 1
            else:
                _show(row, json)
                for second in rows:
                    _show(second, json)
    return 1 if failed else 0


def _one(
    path: str, target: str, settings: LabelSettings, detections: Literal["cnn", "synthetic"], again: bool,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    from pathlib import Path

    from everyframe.pipeline.costs.measure import open_detector
    from everyframe.pipeline.sources.file import FileSource
    from everyframe.pipeline.traces import format as tf
    from everyframe.pipeline.traces.recording import is_recorded, recipe, record

    file = Path(target)
    with FileSource(path) as source:
        detector = open_detector(settings.model, source.info.width, source.info.height)
    if not again and is_recorded(file, recipe(path, detector, settings.limit, detections)):
        return {"video": path, "trace": target, "recorded": False, "bytes": file.stat().st_size}
    told = _Told(progress, Path(path).name)
    trace = record(path, settings.model, settings.limit, told, detector, detections)
    return {
        "video": path, "trace": target, "recorded": True, "bytes": tf.save(trace, file), "frames": len(trace),
    }  # fmt: skip


def _capacities(path: str, trace: str, settings: LabelSettings, again: bool) -> list[dict[str, Any]]:
    """What further capacities find, each in a file beside the trace."""
    from everyframe.pipeline.errors import SourceError
    from everyframe.pipeline.traces.format import load
    from everyframe.pipeline.traces.second import (
        check_fits,
        load_second,
        record_second,
        save_second,
        second_path,
    )

    recorded = load(trace) if settings.capacities else None
    rows: list[dict[str, Any]] = []
    for capacity in settings.capacities:
        assert recorded is not None
        target = second_path(trace, capacity.name)
        row: dict[str, Any] = {"video": path, "trace": str(target), "recorded": again}
        try:
            if not again:
                load_second(target, recorded)
        except SourceError:
            row["recorded"] = True  # it is not there, or of no use
        if row["recorded"]:
            second = record_second(path, capacity.model, settings.limit, capacity.error)
            check_fits(second, recorded, str(target))
            row |= {"frames": len(second.count), "bytes": save_second(second, target)}
        rows.append({"bytes": target.stat().st_size, **row})
    return rows


class _Told:
    """A line every few seconds."""

    def __init__(self, progress: Progress, name: str, every: float = 5.0) -> None:
        self._progress = progress
        self._name = name
        self._every = every
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, expected: int | None) -> None:
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self._progress.note(f"{self._name}, {what}: {done}" + (f" of {expected}" if expected else "") + " frames")


def _show(row: dict[str, Any], json: bool) -> None:
    import orjson

    if json:
        print(orjson.dumps(row).decode())
    elif row["recorded"]:
        print(f"{row['trace']}: {row['frames']} frames, {row['bytes'] / 1e6:.2f} MB")
    else:
        print(f"{row['trace']}: recorded before")
