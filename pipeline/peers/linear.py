"""peer:iframes-linear: key frames only are decoded and seen; boxes are interpolated linearly between two of them.

At its best, as measured on five clips: boxes are matched by whatever overlap they have, and a box without a match is kept
for the half of the interval next to it.
"""

from __future__ import annotations

import numpy as np

from everyframe.operators.boxes import iou, match
from everyframe.operators.types import F32, I32, Objects, Origin
from everyframe.pipeline.peers.base import Labelled
from everyframe.pipeline.records import Slot
from everyframe.pipeline.settings import Mode
from everyframe.policies.base import PacketFacts

ANY_OVERLAP = 1e-6


class IFramesLinear:
    mode: Mode = "lookahead"

    def __init__(self, groups: I32) -> None:
        self._groups = groups
        self._before = Objects.empty()
        self._waiting = 0

    def decodes(self, facts: PacketFacts) -> bool:
        return facts.is_key

    def looks(self, index: int, slot: Slot) -> bool:
        return index == 0 or slot.facts.is_key

    def advance(self, slot: Slot, seen: Objects | None) -> list[Labelled]:
        if seen is None:
            self._waiting += 1
            return []
        steps = self._waiting + 1
        between = _interpolate(self._before, seen, self._groups, steps)
        self._before, self._waiting = seen, 0
        return [*(Labelled(o, Origin.INTERPOLATED) for o in between), Labelled(seen, Origin.DETECTED)]

    def finish(self) -> list[Labelled]:
        held = self._before.with_origin(Origin.HELD)
        return [Labelled(held, Origin.HELD)] * self._waiting


def _interpolate(a: Objects, b: Objects, groups: I32, steps: int) -> list[Objects]:
    """Objects of the `steps` - 1 frames between two looks."""
    same = groups[a.class_id][:, None] == groups[b.class_id][None, :]
    overlap: F32 = np.where(same, iou(a.xyxy, b.xyxy), 0).astype(np.float32)
    rows, columns = match(overlap, ANY_OVERLAP)
    gone = a[np.setdiff1d(np.arange(len(a)), rows)]
    new = b[np.setdiff1d(np.arange(len(b)), columns)]
    pairs = a[rows]
    frames = []
    for i in range(1, steps):
        t = np.float32(i / steps)
        xyxy = (1 - t) * pairs.xyxy + t * b.xyxy[columns]
        moved = Objects(xyxy, pairs.score, pairs.class_id, pairs.track_id, pairs.origin)
        frames.append(
            Objects.concat([moved, gone if 2 * i < steps else new]).with_origin(Origin.INTERPOLATED)
        )
    return frames
