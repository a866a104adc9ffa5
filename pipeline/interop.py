"""Labels in other people's types."""

from __future__ import annotations

from typing import Any

import numpy as np

from everyframe.operators.detectors.coco import NAMES
from everyframe.operators.types import NO_TRACK
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.schema import ORIGINS


def to_supervision(labels: FrameLabels, names: tuple[str, ...] | None = None) -> Any:
    """A `supervision.Detections`: xyxy, confidence, class_id, tracker_id (None where no object has one).

    names: class names by class id; default those of the shipped detector. data holds `class_name` and `origin`.
    supervision is imported here and nowhere else. Raises UsageError where it is not installed.
    """
    try:
        import supervision
    except ImportError as e:
        raise UsageError(
            "to_supervision needs the package supervision: install it with pip install 'everyframe[peers]'"
        ) from e
    names = NAMES if names is None else names
    objects = labels.objects
    ids = objects.class_id.tolist()
    has_tracks = bool(len(objects)) and bool((objects.track_id != NO_TRACK).any())
    return supervision.Detections(
        xyxy=objects.xyxy.copy(),
        confidence=objects.score.copy(),
        class_id=objects.class_id.astype(int),
        tracker_id=objects.track_id.astype(int) if has_tracks else None,
        data={
            "class_name": np.array([names[i] if i < len(names) else str(i) for i in ids], dtype=str),
            "origin": np.array([ORIGINS[i] for i in objects.origin.tolist()], dtype=str),
        },
    )
