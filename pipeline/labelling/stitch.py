"""Joins the shards of one source: frames counted through, tracks named through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from everyframe.operators.boxes import iou, match
from everyframe.operators.types import Objects
from everyframe.pipeline.records import FrameLabels

SAME_BOX = 0.9
"""Both shards looked at the same picture: their boxes on it are equal but for rounding."""


class Stitcher:
    """Renumbers the records of a source's shards, which must come in order. source: a name for all, None leaves theirs."""

    def __init__(self, source: str | None = None) -> None:
        self._source = source
        self._frames = 0
        self._next_id = 1
        self._last: Objects | None = None
        self._ids: dict[int, int] = {}
        self._in_shard = 0

    def begin_shard(self) -> None:
        self._ids = {}
        self._in_shard = 0

    def end_shard(self, last: Objects | None) -> None:
        """last: the shard's objects on the first frame of the next one, with the shard's own ids."""
        self._frames += self._in_shard
        self._last = None if last is None else self._renamed(last)

    def stitch(self, labels: list[FrameLabels]) -> Iterator[FrameLabels]:
        for record in labels:
            if self._in_shard == 0 and self._last is not None:
                self._join(self._last, record.objects)
            self._in_shard += 1
            yield replace(
                record,
                source=record.source if self._source is None else self._source,
                frame_index=self._frames + record.frame_index,
                objects=self._renamed(record.objects),
            )

    def _join(self, last: Objects, first: Objects) -> None:
        overlap = np.where(last.class_id[:, None] == first.class_id[None, :], iou(last.xyxy, first.xyxy), 0)
        for row, column in zip(*match(overlap.astype(np.float32), SAME_BOX), strict=True):
            self._ids[int(first.track_id[column])] = int(last.track_id[row])

    def _renamed(self, objects: Objects) -> Objects:
        ids = np.array([self._name(track) for track in objects.track_id.tolist()], np.int32)
        return replace(objects, track_id=ids)

    def _name(self, track: int) -> int:
        if track not in self._ids:
            self._ids[track] = self._next_id
            self._next_id += 1
        return self._ids[track]
