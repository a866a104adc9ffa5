"""Synthetic detections for a clip that lies beside its ground truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from everyframe.operators.types import Objects
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.synthetic.make import FORMAT, INDEX
from everyframe.pipeline.synthetic.stand_in import stand_in
from everyframe.pipeline.synthetic.truth import SceneTruth, read_truth


def synthetic_truth(video_path: str | os.PathLike[str]) -> SceneTruth | None:
    """The ground truth of a clip that `everyframe simulate` made; None for any other.

    Raises SourceError where `cameras.json` or the truth beside the clip is damaged.
    """
    entry = _entry(Path(video_path))
    return None if entry is None else _truth(Path(video_path), entry)


def synthetic_detections(video_path: str | os.PathLike[str]) -> list[Objects] | None:
    """What stands in for the CNN's detections on each frame of a synthetic clip, in display order; None for any other.

    A function of the clip's truth and of the seed in `cameras.json`. Raises SourceError as `synthetic_truth` does.
    """
    entry = _entry(Path(video_path))
    if entry is None:
        return None
    return stand_in(_truth(Path(video_path), entry), entry["seed"])


def _entry(video: Path) -> dict[str, Any] | None:
    index = video.parent / INDEX
    try:
        text = orjson.loads(index.read_bytes())
        if text["format"] != FORMAT:
            raise SourceError(
                f"{index} is of format {text['format']}, not {FORMAT}: run everyframe simulate again."
            )
        entry: dict[str, Any] | None = next((c for c in text["cameras"] if c["video"] == video.name), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SourceError(f"{index} is damaged: run everyframe simulate again.") from e
    return entry


def _truth(video: Path, entry: dict[str, Any]) -> SceneTruth:
    path = video.parent / entry["truth"]
    return read_truth(path, entry["frames"], entry["width"], entry["height"], float(entry["rate"]))
