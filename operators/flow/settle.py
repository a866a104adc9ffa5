"""What a look at a rectangle of the picture says about the tracks, and which of its detections are taken."""

from __future__ import annotations

import numpy as np

from everyframe.operators.boxes import iou
from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.flow.memory import GRID, Rect
from everyframe.operators.flow.windows import MARGIN, inside
from everyframe.operators.types import F32, I32, Bool, Objects

SAME = 0.5  # overlap from which a detection and a track that the rectangle cuts are one
MINE = 0.3  # overlap from which a detection belongs to a track that was looked at
PART = 0.7  # share of a detection that lies in a cut track: it is the visible part of it


def settle(tracks: Objects, found: Objects, rect: Rect, box: Letterbox, groups: I32) -> tuple[Bool, Objects]:
    """Tracks that were looked at, (n,) bool, and the detections that are taken.

    found: detections of the rectangle. A track counts as looked at where the rectangle shows it whole: of one that the
    border cuts, old features around it may keep alive what is no longer there. Detections that the border may have cut are
    taken only with such a track to confirm them. No object is given twice: a detection that is a part of a track beyond the
    border is left out. groups: of each class id.
    """
    grid = box.outer[1] // GRID, box.outer[0] // GRID
    looked = inside(box.to_input(tracks.xyxy), rect, grid)
    whole = inside(box.to_input(found.xyxy), rect, grid, MARGIN / 2)
    same = groups[tracks.class_id][:, None] == groups[found.class_id][None, :]
    overlap = np.where(same, iou(tracks.xyxy, found.xyxy), 0).astype(np.float32)
    # what reaches far beyond the rectangle comes from old features there
    mine = inside(box.to_input(found.xyxy), rect, grid, -MARGIN) & (overlap[looked].max(0, initial=0) >= MINE)
    parts = (np.where(same, _share_within(found.xyxy, tracks.xyxy), 0)[~looked].max(0, initial=0) >= PART) | (
        overlap[~looked].max(0, initial=0) >= SAME
    )
    return looked, found[mine | (whole & ~parts)]


def _share_within(inner: F32, outer: F32) -> F32:
    """(m, 4), (n, 4) -> (n, m): which share of each of the first boxes lies in each of the second."""
    low = np.maximum(outer[:, None, :2], inner[None, :, :2])
    high = np.minimum(outer[:, None, 2:], inner[None, :, 2:])
    side = np.clip(high - low, 0, None)
    area = np.maximum((inner[:, 2] - inner[:, 0]) * (inner[:, 3] - inner[:, 1]), 1e-6)
    out: F32 = side[..., 0] * side[..., 1] / area[None, :]
    return out
