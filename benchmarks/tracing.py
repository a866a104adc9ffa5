"""Traces and tables of the clips for benchmarks: recorded where they are not there."""

from __future__ import annotations

from pathlib import Path

import common
from common import CLIPS, TRAFFIC

from everyframe.pipeline.costs import open_detector
from everyframe.pipeline.machine import cache_dir
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.recording import is_recorded, recipe, record, trace_path
from everyframe.pipeline.traces.store import table_of
from everyframe.policies.simulation.table import ClipTable

VALIDATION = ("fall_ip", "freeway720", "plaza", "room", "valley_webcam", "one_by_one_person", "dashcam_dusk")
"""Cameras that nothing was fitted to."""


def folder_of(given: str | None) -> Path:
    return Path(given) if given else cache_dir() / "traces"


def trace_of(name: str, model: ModelSettings, folder: Path, limit: int | None = None) -> Path:
    """The file of a clip's trace, recorded now if it is not there."""
    video = str(CLIPS[name].path)
    path = trace_path(name if limit is None else f"{name}.{limit}", str(folder))
    with FileSource(video) as source:
        detector = open_detector(model, source.info.width, source.info.height)
    if not is_recorded(path, recipe(video, detector, limit)):
        common.tell(f"recording {name}")
        tf.save(record(video, model, limit, detector=detector), path)
    return path


def clip_table(path: Path) -> ClipTable:
    common.tell(f"table of {path.name}")
    return table_of(path, TRAFFIC)
