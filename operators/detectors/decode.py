"""From the net's output maps to objects: distances from bins, per-class suppression of doubles."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.detectors.nanodet import BINS, CLASSES, OUTPUTS, STRIDES
from everyframe.operators.types import F32, I32, Objects

IOU = 0.6
MOST = 1000
"""Candidates that go into suppression at most: bounds the time on a noisy picture."""

_STEPS = np.arange(BINS, dtype=np.float32)


def decode(
    maps: Sequence[F32], box: Letterbox, min_score: float, corner: tuple[int, int] = (0, 0)
) -> Objects:
    """Objects scored `min_score` or more in pixels of the source, sorted by falling score.

    maps: for stride 8, 16, 32 an array (rows, cols, 124): 80 class logits, then 11 bins for each of left, top,
    right, bottom. A cell may give objects of several classes. corner: (x, y) of the maps in the input, where they are
    those of a part of it.
    """
    score, class_id, xyxy = candidates(maps, min_score)
    xyxy = box.to_source(xyxy + np.array(corner * 2, np.float32))
    whole = np.flatnonzero((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))
    order = whole[np.argsort(-score[whole], kind="stable")][:MOST]
    xyxy, score, class_id = xyxy[order], score[order], class_id[order]
    keep = suppress(xyxy, score, class_id, IOU)
    return Objects.of(xyxy[keep], score[keep], class_id[keep])


def candidates(maps: Sequence[F32], min_score: float) -> tuple[F32, I32, F32]:
    """Score (n,), class (n,) and box (n, 4) in pixels of the input of all (cell, class) pairs that score enough."""
    least = np.float32(np.log(min_score / (1.0 - min_score)))
    logits, classes, centres, bins, strides = [], [], [], [], []
    for stride, level in zip(STRIDES, maps, strict=True):
        cells = level.reshape(-1, OUTPUTS)
        cell, class_id = np.divmod(np.flatnonzero(cells[:, :CLASSES] >= least), CLASSES)
        logits.append(cells[cell, class_id])
        classes.append(class_id.astype(np.int32))
        y, x = np.divmod(cell, level.shape[1])
        centres.append(np.stack((x, y), 1) * stride + (stride - 1) / 2)
        bins.append(cells[cell, CLASSES:])
        strides.append(np.full(len(cell), stride, np.float32))
    score = 1 / (1 + np.exp(-np.concatenate(logits)))
    xyxy = _boxes(np.concatenate(centres).astype(np.float32), np.concatenate(bins), np.concatenate(strides))
    return score.astype(np.float32), np.concatenate(classes), xyxy


def _boxes(centre: F32, bins: F32, stride: F32) -> F32:
    """Boxes (n, 4) from cell centres (n, 2) and bins (n, 44): a side's distance is the mean of its softmax."""
    bins = bins.reshape(-1, 4, BINS)
    weight = np.exp(bins - bins.max(2, keepdims=True))
    distance = (weight @ _STEPS) / weight.sum(2) * stride[:, None]
    xyxy: F32 = np.concatenate((centre - distance[:, :2], centre + distance[:, 2:]), 1)
    return xyxy


def suppress(xyxy: F32, score: F32, class_id: I32, iou: float) -> NDArray[np.intp]:
    """Rows to keep, by falling score: greedy, a box goes if it overlaps a kept one of its class by more than `iou`.

    xyxy (n, 4), score (n,) sorted by falling score, class_id (n,).
    """
    if len(score) == 0:
        return np.zeros(0, np.intp)
    xywh = np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), 1)
    kept = cv2.dnn.NMSBoxesBatched(xywh.tolist(), score.tolist(), class_id.tolist(), 0.0, iou)
    return np.sort(np.asarray(kept, np.intp))
