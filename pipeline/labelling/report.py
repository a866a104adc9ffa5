"""From tracks to the objects a user sees: score and class filter, identities counted from 1."""

from __future__ import annotations

import numpy as np

from everyframe.operators.boxes import without_doubles
from everyframe.operators.types import I32, Objects

MOST_OVERLAP = 0.6
"""As in the detector's own suppression: two tracks of one class that ran together are one object to it."""


class Reporter:
    """Keeps objects worth reporting and numbers their tracks in the order of their first report.

    conf: lowest score. class_ids: classes to report, empty for all.
    """

    def __init__(self, conf: float, class_ids: I32) -> None:
        self._conf = conf
        self._class_ids = class_ids
        self._public: dict[int, int] = {}
        self._last = 0

    def __call__(self, objects: Objects) -> Objects:
        if not len(objects):
            return objects
        shown = self.select(objects)
        ids = [self._id(track) for track in shown.track_id.tolist()]
        return Objects(shown.xyxy, shown.score, shown.class_id, np.array(ids, np.int32), shown.origin)

    def keep(self, tracks: I32) -> None:
        """Forgets the numbers of all other tracks, which must have ended: for streams without an end."""
        self._public = {track: self._public[track] for track in tracks.tolist() if track in self._public}

    def _id(self, track: int) -> int:
        if track not in self._public:
            self._last += 1
            self._public[track] = self._last
        return self._public[track]

    def select(self, objects: Objects) -> Objects:
        """What is reported of these objects, under the identities that they have."""
        if not len(objects):
            return objects
        kept = objects.score >= self._conf
        if len(self._class_ids):
            kept &= (objects.class_id[:, None] == self._class_ids).any(1)
        shown = objects[kept]
        return shown[without_doubles(shown.xyxy, shown.score, shown.class_id, MOST_OVERLAP)]
