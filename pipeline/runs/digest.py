"""A digest over labels: equal digests mean equal labels, whatever engine made them and whatever they cost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import orjson

from everyframe.pipeline.records import SCHEMA_VERSION, FrameLabels
from everyframe.pipeline.schema import plain_text, rounded_objects, rounded_time


class LabelDigest:
    """A running BLAKE2b over records in the order given, as they are written (rounded), costs left out."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def update(self, labels: Iterable[FrameLabels]) -> None:
        """Takes in the next records."""
        for record in labels:
            self._hash.update(orjson.dumps(_content(record)))

    def hexdigest(self) -> str:
        """32 hex digits over all records so far."""
        return self._hash.hexdigest()


def _content(labels: FrameLabels) -> tuple[object, ...]:
    """All of a record but its costs; class names follow from class ids."""
    objects = labels.objects
    boxes, scores = rounded_objects(labels) if len(objects) else ([], [])
    return (
        SCHEMA_VERSION,
        plain_text(labels.source),
        labels.frame_index,
        labels.pts,
        str(labels.time_base),
        rounded_time(labels),
        labels.width,
        labels.height,
        labels.picture,
        int(labels.origin),
        labels.key_age,
        labels.policy,
        labels.reason,
        objects.track_id.tolist(),
        objects.class_id.tolist(),
        scores,
        boxes,
        objects.origin.tolist(),
    )
