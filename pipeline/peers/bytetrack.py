"""peer:bytetrack:N: ByteTrack (package `trackers`) on every N-th frame, its Kalman prediction between.

At its best, as measured on a busy and a quiet clip: the filter steps on every frame rather than once a look (it learns
velocities N times as fast), tracks are shown from their first detection, only while the last look confirmed them, and
only good detections go in (with weak ones, F1 fell).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from everyframe.operators.boxes import iou
from everyframe.operators.types import I32, NO_TRACK, Objects, Origin
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.peers.base import Labelled, in_picture
from everyframe.pipeline.records import Slot
from everyframe.pipeline.settings import Mode
from everyframe.policies.base import PacketFacts


def load() -> tuple[Any, Any]:
    """The classes `supervision.Detections` and `trackers.ByteTrackTracker`; their import takes a second of CPU.

    Raises UsageError where they are not installed.
    """
    try:
        from supervision import Detections
        from trackers import ByteTrackTracker
    except ImportError as e:
        raise UsageError(
            'peer:bytetrack needs ByteTrack: run pip install "everyframe[peers]", then pip install --no-deps trackers.'
        ) from e
    return Detections, ByteTrackTracker


class ByteTrack:
    mode: Mode = "causal"

    def __init__(self, stride: int, conf: float, width: int, height: int) -> None:
        self._stride = stride
        self._size = (width, height)
        self._detections, tracker = load()
        self._tracker = tracker(
            track_activation_threshold=conf, high_conf_det_threshold=conf, minimum_consecutive_frames=1
        )
        self._shown: list[tuple[Any, int]] = []
        self._last = Objects.empty()

    def decodes(self, facts: PacketFacts) -> bool:
        return True

    def looks(self, index: int, slot: Slot) -> bool:
        return index % self._stride == 0

    def advance(self, slot: Slot, seen: Objects | None) -> list[Labelled]:
        return [self._predicted() if seen is None else self._updated(seen)]

    def finish(self) -> list[Labelled]:
        return []

    def _updated(self, seen: Objects) -> Labelled:
        self._tracker.update(
            self._detections(
                xyxy=seen.xyxy.astype(np.float64), confidence=seen.score.copy(), class_id=seen.class_id.copy()
            )
        )
        confirmed = [track for track in self._tracker.tracks if track.time_since_update == 0]
        ids: I32 = np.full(len(seen), NO_TRACK, np.int32)
        self._shown = []
        if confirmed and len(seen):
            # A track does not say which detection it took: its box is the nearest.
            rows = iou(_boxes(confirmed), seen.xyxy).argmax(1)
            ids[rows] = [track.tracker_id for track in confirmed]
            self._shown = list(zip(confirmed, rows.tolist(), strict=True))
        self._last = Objects(seen.xyxy, seen.score, seen.class_id, ids, seen.origin)
        return Labelled(self._last, Origin.DETECTED)

    def _predicted(self) -> Labelled:
        for track in self._tracker.tracks:
            track.predict()
        rows = np.array([row for _, row in self._shown], np.intp)
        last = self._last[rows].with_origin(Origin.PROPAGATED)
        boxes = _boxes([track for track, _ in self._shown])
        moved = Objects(boxes, last.score, last.class_id, last.track_id, last.origin)
        return Labelled(in_picture(moved, *self._size), Origin.PROPAGATED)


def _boxes(tracks: list[Any]) -> Any:
    """(n, 4) float32: where the tracks are now."""
    return np.array([track.get_state_bbox() for track in tracks], np.float32).reshape(-1, 4)
