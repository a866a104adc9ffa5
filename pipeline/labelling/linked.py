"""Lookahead labels of streams of which only key frames are decoded: detections linked into paths, no motion vectors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from everyframe.operators import appearance
from everyframe.operators.paths import PathLinker
from everyframe.operators.spans import Interval, interpolate
from everyframe.operators.types import F32, I32, NO_TRACK, U8, Objects, Origin
from everyframe.pipeline.labelling.interval import Labelled
from everyframe.pipeline.records import FrameLabels, SourceInfo

_UNLINKED = 1 << 30  # ids of objects that no path holds count on from here


Looks = Callable[[U8, F32], F32]
"""From a picture and boxes (n, 4) to how what is in them looks, as `appearance.look` gives it."""


class LinkedFrames:
    """Owns the frames that wait until the linker is sure of the key frames around them: two looks more. looks: in place of
    those of the picture, where they are known."""

    def __init__(
        self, info: SourceInfo, groups: I32, class_ids: I32, conf: float, looks: Looks = appearance.look
    ) -> None:
        self._linker = PathLinker(info.width, info.height, float(info.rate), groups)
        self._class_ids = class_ids
        self._conf = conf
        self._look_at = looks
        self._records: deque[FrameLabels] = deque()
        self._looks: dict[int, Objects] = {}
        self._unlinked = _UNLINKED
        self._frames = 0

    def add(self, record: FrameLabels) -> None:
        """A frame that the detector does not see."""
        self._records.append(record)
        self._frames = record.frame_index + 1

    def look(self, record: FrameLabels, detections: Objects, picture: U8) -> list[Labelled]:
        """A key frame with what the detector found; returns the frames that are settled by it."""
        if len(self._class_ids):
            detections = detections[np.isin(detections.class_id, self._class_ids)]
        self._records.append(record)
        self._frames = record.frame_index + 1
        self._looks[record.frame_index] = detections
        looks = self._look_at(picture, detections.xyxy)
        return self._settle(self._linker.push(record.frame_index, detections, looks))

    @property
    def waiting(self) -> int:
        """How many frames wait."""
        return len(self._records)

    def finish(self) -> list[Labelled]:
        """Labels all frames that wait from what is known: the stream has ended, or too many wait.

        More frames may follow; the tracks go on.
        """
        labelled = self._settle(self._linker.so_far(self._frames))
        unseen, self._records = self._records, deque()
        return labelled + [(replace(record, origin=Origin.HELD), Objects.empty()) for record in unseen]

    def _settle(self, intervals: list[Interval]) -> list[Labelled]:
        labelled: list[Labelled] = []
        for interval in intervals:
            if interval.first in self._looks:
                found = self._looks.pop(interval.first)
                labelled.append((self._records.popleft(), self._named(found, interval.tracks)))
            is_closed = interval.first >= 0 and interval.last in self._looks
            origin = Origin.INTERPOLATED if is_closed else Origin.HELD
            for index, objects in enumerate(interpolate(interval, self._conf), interval.first + 1):
                if self._records and self._records[0].frame_index == index:  # else it has left before
                    labelled.append((replace(self._records.popleft(), origin=origin), objects))
        return labelled

    def _named(self, found: Objects, tracks: I32) -> Objects:
        ids = tracks.astype(np.int32)
        alone = np.flatnonzero(ids == NO_TRACK)
        ids[alone] = np.arange(self._unlinked, self._unlinked + len(alone))
        self._unlinked += len(alone)
        return replace(found, track_id=ids)
