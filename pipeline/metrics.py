"""How well two sets of labels agree: functions over lists with the objects of each frame.

Matching, everywhere the same: inside one frame and one class group (COCO supercategory), the largest possible number
of pairs with IoU of at least `IOU`; among equally many, the pairs of greatest total IoU. So counts don't depend on the
order of objects, nor on which side is called the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from everyframe.operators.boxes import iou
from everyframe.operators.types import F32, I32, Objects

SCORE = 0.45
"""Objects scored lower count on neither side."""
IOU = 0.5
LINK_IOU = 0.3
"""A reference object goes on in the box of a later frame that overlaps its last one by this much."""
LINK_GAP = 5
"""Frames for which a reference object may be unseen and still be the same."""
LEAST_SEEN = 3
"""Reference objects seen on fewer frames are flicker and have no delay."""

Ints = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of each frame, (frames,) int64 each.

    tp: matched pairs. fp: found, not in the reference. fn: in the reference, not found. same_class: pairs of equal
    class_id.
    """

    tp: Ints
    fp: Ints
    fn: Ints
    same_class: Ints

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), counts added up over all frames; 1 where there is nothing on either side."""
        return float(_f1(self.tp.sum(), self.fp.sum(), self.fn.sum()))

    @property
    def f1_frames(self) -> float:
        """Mean of each frame's own F1, a frame that is empty on both sides counting 1; 1 without frames.

        Flatters quiet video, where most frames are empty: read it beside `f1`.
        """
        return float(_f1(self.tp, self.fp, self.fn).mean()) if len(self.tp) else 1.0

    @property
    def class_accuracy(self) -> float | None:
        """Share of the matched pairs with equal class (car / truck flicker shows here); None without pairs."""
        pairs = int(self.tp.sum())
        return float(self.same_class.sum() / pairs) if pairs else None


def _f1(tp: Ints, fp: Ints, fn: Ints) -> NDArray[np.float64]:
    weight = np.asarray(2 * tp + fp + fn, np.float64)
    f1: NDArray[np.float64] = np.divide(2.0 * tp, weight, out=np.ones_like(weight), where=weight > 0)
    return f1


def group_table(supercategory: Sequence[str]) -> I32:
    """(classes,) int32: a number for each class's supercategory."""
    order = sorted(set(supercategory))
    return np.array([order.index(name) for name in supercategory], np.int32)


def select(objects: Objects, classes: I32 | None = None, score: float = SCORE) -> Objects:
    """Objects scored `score` or more, of the classes in `classes` (ids; None for all)."""
    keep = objects.score >= np.float32(score)
    if classes is not None:
        keep &= np.isin(objects.class_id, classes)
    return objects[keep]


def pairs(found: Objects, reference: Objects, groups: I32) -> tuple[Rows, Rows]:
    """Matched rows of `found` and of `reference`. groups (classes,): group number of each class_id."""
    if not len(found) or not len(reference):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    same = groups[found.class_id][:, None] == groups[reference.class_id][None, :]
    return _assign(np.where(same, iou(found.xyxy, reference.xyxy), 0))


def _assign(overlap: F32, least: float = IOU) -> tuple[Rows, Rows]:
    """Most pairs of at least `least`, then greatest total overlap."""
    good = overlap >= least
    if not good.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # One pair more must outweigh any overlap that could be gained.
    weight = np.where(good, 1.0 + overlap / (2.0 * min(overlap.shape)), 0.0)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    kept = good[rows, columns]
    return rows[kept], columns[kept]


def agree(
    found: Sequence[Objects],
    reference: Sequence[Objects],
    groups: I32,
    ignored: Sequence[F32] | None = None,
) -> Agreement:
    """Compares two labellings of the same frames.

    ignored: boxes (n, 4) of each frame that are neither right nor wrong: what matches one of them and nothing in the
    reference is not counted. Raises ValueError where the numbers of frames differ.
    """
    if len(found) != len(reference) or (ignored is not None and len(ignored) != len(found)):
        raise ValueError(
            f"{len(found)} frames found cannot be compared with {len(reference)} reference frames"
        )
    counts = np.zeros((4, len(found)), np.int64)
    for i, (ours, theirs) in enumerate(zip(found, reference, strict=True)):
        rows, columns = pairs(ours, theirs, groups)
        extra = np.setdiff1d(np.arange(len(ours)), rows)
        if ignored is not None and len(extra) and len(ignored[i]):
            covered = (iou(ours.xyxy[extra], ignored[i]) >= IOU).any(1)
            extra = extra[~covered]
        same = int((ours.class_id[rows] == theirs.class_id[columns]).sum())
        counts[:, i] = len(rows), len(extra), len(theirs) - len(rows), same
    return Agreement(*counts)


def count_error(found: Sequence[Objects], reference: Sequence[Objects]) -> float:
    """Mean over the frames of the absolute difference in the number of objects; 0 without frames."""
    if len(found) != len(reference):
        raise ValueError(
            f"{len(found)} frames found cannot be compared with {len(reference)} reference frames"
        )
    errors = [abs(len(a) - len(b)) for a, b in zip(found, reference, strict=True)]
    return float(np.mean(errors)) if errors else 0.0


def link(frames: Sequence[Objects], groups: I32) -> list[Ints]:
    """An identity for every object of every frame: [(n,) int64] from 0, in order of appearance.

    An object goes on in the box of its group that overlaps its last one by `LINK_IOU`, over gaps of up to `LINK_GAP`
    frames: enough for video in which things move by less than their own size from frame to frame.
    """
    ids: list[Ints] = []
    last = Objects.empty()
    last_ids, seen_at = np.zeros(0, np.int64), np.zeros(0, np.int64)
    following = 0
    for i, objects in enumerate(frames):
        alive = i - seen_at <= LINK_GAP + 1
        last, last_ids, seen_at = last[alive], last_ids[alive], seen_at[alive]
        mine = np.full(len(objects), -1, np.int64)
        same = groups[last.class_id][:, None] == groups[objects.class_id][None, :]
        rows, columns = _assign(np.where(same, iou(last.xyxy, objects.xyxy), 0), LINK_IOU)
        mine[columns] = last_ids[rows]
        born = np.flatnonzero(mine < 0)
        mine[born] = np.arange(following, following + len(born))
        following += len(born)
        rest = np.setdiff1d(np.arange(len(last)), rows)
        last = Objects.concat([objects, last[rest]])
        last_ids = np.concatenate([mine, last_ids[rest]])
        seen_at = np.concatenate([np.full(len(objects), i, np.int64), seen_at[rest]])
        ids.append(mine)
    return ids


@dataclass(frozen=True, slots=True)
class Delay:
    """mean: frames from an object's first sight in the reference until it is first reported, over the objects that
    were; None where none was. objects: in the reference. missed: those that were never reported."""

    mean: float | None
    objects: int
    missed: int


def delay(
    found: Sequence[Objects], reference: Sequence[Objects], groups: I32, ids: Sequence[Ints] | None = None
) -> Delay:
    """How long new objects of the reference wait for their first report (a match as in `agree`).

    ids: identities of the reference's objects; where None, `link` gives them. An object that is seen on fewer than
    `LEAST_SEEN` frames is left out; one in the first frame is new there.
    """
    ids = link(reference, groups) if ids is None else ids
    seen: dict[int, int] = {}
    first: dict[int, int] = {}
    reported: dict[int, int] = {}
    for i, (ours, theirs, names) in enumerate(zip(found, reference, ids, strict=True)):
        for name in names.tolist():
            seen[name] = seen.get(name, 0) + 1
            first.setdefault(name, i)
        _, columns = pairs(ours, theirs, groups)
        for name in names[columns].tolist():
            reported.setdefault(name, i)
    lasting = [name for name, times in seen.items() if times >= LEAST_SEEN]
    waits = [reported[name] - first[name] for name in lasting if name in reported]
    return Delay(float(np.mean(waits)) if waits else None, len(lasting), len(lasting) - len(waits))
