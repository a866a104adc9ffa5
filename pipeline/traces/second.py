"""What a further capacity of the detector finds on a recorded clip, and what a look of it costs: a file beside the trace.

A trace is not touched by it: tables and trainings that were made of the trace stay what they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import Objects
from everyframe.pipeline.costs.measure import open_detector, settled, translated
from everyframe.pipeline.costs.prices import whole_look_ms
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.evaluation.dense import dense, video_digest
from everyframe.pipeline.models import told_error
from everyframe.pipeline.settings import Capacity, ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.traces import format as tf

FORMAT = 1
SUFFIX = ".capacity.npz"


@dataclass(frozen=True)
class Second:
    """meta: format, name (the model as the user gave it), digest (of the video file), model (as in a trace's meta), look_ms
    (CPU ms of a look with its preparation, on the machine that recorded), error (share of its labels that is expected to
    differ). count (frames,); xyxy, score, class_id: objects of all frames behind each other."""

    meta: Mapping[str, Any]
    count: NDArray[np.int32]
    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]

    @cached_property
    def objects(self) -> list[Objects]:
        """Of each frame, down to the lowest score."""
        bounds = np.cumsum(self.count)[:-1]
        parts = [np.split(values, bounds) for values in (self.xyxy, self.score, self.class_id)]
        return [Objects.of(*row) for row in zip(*parts, strict=True)]

    def capacity(self, full_ms: float, look_ms: float | None = None) -> Capacity:
        """As the policies are told of it. full_ms: CPU ms of a look of the trace's own model; look_ms: of this one, in place
        of what was measured."""
        m = self.meta["model"]
        model = ModelSettings(self.meta["name"], m["imgsz"], m["runtime"], m["precision"])
        cost = (self.meta["look_ms"] if look_ms is None else look_ms) / max(full_ms, 1e-9)
        return Capacity(self.meta["name"], model, cost, self.meta["error"])


def second_path(trace: str | os.PathLike[str], name: str) -> Path:
    """Where what a capacity found is kept. name: as the user gives it, "fast" or a file; of files of one name each has its own."""
    path, model = Path(trace), Path(name)
    short = name if model.name == name else f"{model.stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return path.with_name(f"{path.name.removesuffix(tf.SUFFIX)}.{short}{SUFFIX}")


def record_second(video: str, model: ModelSettings, limit: int | None = None, otherwise: float = 0.05) -> Second:
    """Has a capacity look at every frame of a clip; its detections come from the evaluation's cache where they are there.

    otherwise: its expected error where its file does not tell. Raises SourceError, DetectorError.
    """
    with FileSource(video) as source:
        info = source.info
    detector = open_detector(model, info.width, info.height)
    known = dense(video, detector, limit, measure=False).frames
    used = settled(model, detector)
    with translated():
        error = told_error(model.model, otherwise)
    meta = {
        "format": FORMAT,
        "name": model.model,
        "digest": video_digest(video).hexdigest(),
        "model": {
            "digest": detector.digest, "imgsz": detector.imgsz, "runtime": detector.runtime, "precision": detector.precision,
        },
        "names": list(detector.names),
        "look_ms": whole_look_ms(used, info.width, info.height),
        "error": error,
    }  # fmt: skip
    whole = Objects.concat(known)
    count = np.array([len(objects) for objects in known], np.int32)
    return Second(meta, count, whole.xyxy, whole.score, whole.class_id)


def save_second(second: Second, path: Path) -> int:
    """Writes the file, whole or not at all; returns its bytes. Raises SinkError."""
    arrays = {name: getattr(second, name) for name in ("count", "xyxy", "score", "class_id")}
    return tf.save_arrays({"meta": np.frombuffer(json.dumps(second.meta).encode(), np.uint8), **arrays}, path)


def load_second(path: str | os.PathLike[str], trace: tf.Trace) -> Second:
    """What a capacity found on the clip of a trace. Raises SourceError: no such file, damaged, another version, another clip."""
    try:
        with np.load(path, allow_pickle=False) as data:
            meta = json.loads(bytes(data["meta"]))
            second = Second(meta, *(data[name] for name in ("count", "xyxy", "score", "class_id")))
    except FileNotFoundError as e:
        raise SourceError(f"There is no {path}: make it with everyframe record --capacities.") from e
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as e:
        raise SourceError(f"{path} is damaged: record it again with everyframe record --capacities --again.") from e
    if meta.get("format") != FORMAT:
        raise SourceError(f"{path} is of another version: record it again with everyframe record --capacities --again.")
    check_fits(second, trace, str(path))
    return second


def check_fits(second: Second, trace: tf.Trace, path: str) -> None:
    """Raises SourceError where it is of another clip, or of a model with other classes."""
    meta = second.meta
    if meta["digest"] != trace.meta["digest"] or len(second.count) != len(trace):
        raise SourceError(f"{path} is of another video, or of another part of it, than the trace: record both again.")
    if meta["names"] != trace.meta["names"]:
        raise SourceError(f"{path} is of a model with other classes than the trace: record both with models of the same classes.")
