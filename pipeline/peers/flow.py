"""peer:dis-flow:N: the CNN on every N-th frame; between, each box moves by the median optical flow inside it.

DIS flow (Kroeger et al., ECCV 2016) of OpenCV from each frame to the next. At its best, as measured on three clips: preset
ultrafast (its smooth flow beats preset fast here), luma of at most 480 pixels' width, the median over the centre part
of the box; no flow while there is no box.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from everyframe.operators.types import F32, U8, Objects, Origin
from everyframe.pipeline.peers.base import Labelled, in_picture
from everyframe.pipeline.records import Frame, Slot
from everyframe.pipeline.settings import Mode
from everyframe.policies.base import PacketFacts

MOST_WIDTH = 480
LEAST_SIDE = 16
"""DIS refuses pictures smaller than its patches need."""
CENTRE = 0.5
"""Share of the box's width and height whose flow counts."""


class DisFlow:
    mode: Mode = "causal"

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._objects = Objects.empty()
        self._before: U8 | None = None

    def decodes(self, facts: PacketFacts) -> bool:
        return True

    def looks(self, index: int, slot: Slot) -> bool:
        return index % self._stride == 0

    def advance(self, slot: Slot, seen: Objects | None) -> list[Labelled]:
        if seen is not None:
            self._objects = seen
        frame = slot.frame
        if not len(self._objects) or frame is None:
            self._before = None
        else:
            self._move(frame, moves=seen is None)
        if seen is not None:
            return [Labelled(seen, Origin.DETECTED)]
        shown = self._objects if frame is None else in_picture(self._objects, frame.width, frame.height)
        return [Labelled(shown.with_origin(Origin.PROPAGATED), Origin.PROPAGATED)]

    def finish(self) -> list[Labelled]:
        return []

    def _move(self, frame: Frame, moves: bool) -> None:
        now = _small(frame.luma())
        before, self._before = self._before, now
        if not moves or before is None or before.shape != now.shape:
            return
        flow = self._dis.calc(before, now, None)
        scale = np.array([now.shape[1] / frame.width, now.shape[0] / frame.height], np.float32)
        shift = _medians(flow, self._objects.xyxy * np.tile(scale, 2)) / scale
        old = self._objects
        self._objects = Objects(
            old.xyxy + np.tile(shift, 2), old.score, old.class_id, old.track_id, old.origin
        )


def _small(luma: U8) -> U8:
    height, width = luma.shape
    scale = min(1.0, MOST_WIDTH / width)
    size = max(LEAST_SIDE, round(width * scale)), max(LEAST_SIDE, round(height * scale))
    small: Any = luma if size == (width, height) else cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, np.uint8)


def _medians(flow: Any, boxes: F32) -> F32:
    """(n, 2): median of flow (height, width, 2) over the centre part of each box, 0 outside of the picture."""
    height, width = flow.shape[:2]
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * CENTRE
    low = np.floor(centre - half).astype(int).clip(0, (width - 1, height - 1))
    high = np.maximum(np.ceil(centre + half).astype(int), low + 1)
    parts = [flow[y0:y1, x0:x1].reshape(-1, 2) for (x0, y0), (x1, y1) in zip(low, high, strict=True)]
    return np.array([np.median(part, axis=0) for part in parts], np.float32).reshape(-1, 2)
