"""Real detections beside the truth: what the detector model of `pipeline/synthetic` is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import common
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from everyframe.operators.boxes import area, centre_size, iou
from everyframe.operators.detectors import NanoDetDetector
from everyframe.operators.detectors.decode import suppress
from everyframe.operators.types import F32, Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.evaluation.dense import dense
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.synthetic import model as m
from everyframe.pipeline.truth import Truth, load_truth

F64 = NDArray[np.float64]
CLIPS = {
    "person": ("pets_s2l1_ip", "adl_rundle6_ip", "office_ip"),
    "vehicle": ("highway_ip", "traffic_jitter_ip"),
}
UNLABELLED = {
    "person": ("walkway", "parking"),
    "vehicle": ("street", "freeway_ip", "crossing", "motorway_webcam", "parking"),
}
UNRECOGNISED = ("traffic_jitter_ip",)
"""The detector hardly knows what it sees there: left out of the level that is usual."""
CLASS = {"person": 0, "vehicle": 2}
MATCH_IOU, DOUBLE_IOU = 0.4, 0.3


@dataclass(frozen=True, slots=True)
class Seen:
    """Observations of true objects, sorted by clip, object and frame: n rows.

    clip, frame, identity, class_id (n,): class_id -1 where missed. size, visibility (n,): see `Kind`. value (n,): logit of
    the score, NaN where missed. error (n, 4): of the box. seconds, sizes (n,): since the row before. starts (n,): first
    row of an object, or after a gap. doubled (n,): score of a second box on it, 0 without.
    names: of the clips. ghosts: unmatched objects of each frame, by clip. rates: frames a second. scale: net pixels per pixel.
    """

    clip: NDArray[np.int64]
    frame: NDArray[np.int64]
    class_id: NDArray[np.int64]
    size: F64
    visibility: F64
    value: F64
    error: F64
    seconds: F64
    sizes: F64
    starts: NDArray[np.bool_]
    doubled: F64
    double_error: F64
    names: tuple[str, ...]
    ghosts: list[list[Objects]]
    rates: list[float]
    scale: list[float]


def hidden(boxes: F32) -> F64:
    """(n,): the largest share of each box that one nearer box covers; nearer is what stands lower in the picture."""
    if not len(boxes):
        return np.zeros(0)
    low, high = (
        np.maximum(boxes[:, None, :2], boxes[None, :, :2]),
        np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]),
    )
    shared = np.clip(high - low, 0, None).prod(2) / area(boxes)[:, None]
    nearer = boxes[None, :, 3] > boxes[:, None, 3]
    return np.asarray(np.where(nearer, shared, 0).max(1), np.float64)


def box_error(found: F32, true: F32) -> F64:
    """(n, 4): centre x, y in widths and heights of the true box, log of the ratios of width and height."""
    (c, s), (c0, s0) = centre_size(found), centre_size(true)
    return np.asarray(np.concatenate([(c - c0) / s0, np.log(s / s0)], 1), np.float64)


def own_tracks(frames: list[Objects], rate: float) -> Truth:
    """Boxes of what the detector followed for a second or longer, gaps filled in and smoothed over five frames."""
    single = [
        objects[suppress(objects.xyxy, objects.score, np.zeros_like(objects.class_id), 0.5)]
        for objects in frames
    ]
    ids = metrics.link(single, np.zeros(80, np.int32))
    whole, names = Objects.concat(single), np.concatenate(ids)
    when = np.repeat(np.arange(len(single)), [len(objects) for objects in single])
    rows, boxes, identities = [], [], []
    for name in np.unique(names):
        mine = names == name
        is_on = np.flatnonzero(mine & (whole.score >= metrics.SCORE))
        if len(is_on) < 3 or when[is_on[-1]] - when[is_on[0]] < rate:
            continue
        at = np.arange(when[is_on[0]], when[is_on[-1]] + 1)
        path = np.stack([np.interp(at, when[mine], whole.xyxy[mine, side]) for side in range(4)], 1)
        rows.append(at)
        boxes.append(uniform_filter1d(path, 5, axis=0, mode="nearest"))
        identities.append(np.full(len(at), name))
    frame = np.concatenate(rows).astype(np.int32)
    xyxy = np.concatenate(boxes).astype(np.float32)
    identity = np.concatenate(identities).astype(np.int32)
    return Truth(frame, xyxy, identity, np.zeros(len(frame), np.bool_), 0, len(frames) - 1)


def look(
    name: str, kind: str, number: int, detector: NanoDetDetector
) -> tuple[F64, list[Objects], float, float]:
    """Rows of one clip: clip, identity, frame, class, size, visibility, value, error x 4, cx, cy, doubled, its error x 4."""
    clip = common.CLIPS[name]
    groups = metrics.group_table(detector.supercategory)
    with FileSource(str(clip.path)) as source:
        info = source.info
    found = [
        o[groups[o.class_id] == groups[CLASS[kind]]]
        for o in dense(str(clip.path), detector, measure=False).frames
    ]
    is_labelled = name in CLIPS[kind]
    truth = (
        load_truth(str(clip.truth_path), clip.labelled)
        if is_labelled
        else own_tracks(found, float(info.rate))
    )
    scale = m.NET_SIDE / max(info.width, info.height)
    rows, ghosts = [], []
    for frame in truth.frames(len(found)):
        mine, rest = _rows(truth, frame, found[frame], CLASS[kind], scale)
        rows += [(number, *row) for row in mine]
        ghosts.append(rest)
    table = np.array(rows)
    if not is_labelled:
        table[:, 7:11] = np.nan
    return table, ghosts if is_labelled else [], float(info.rate), scale


def _rows(
    truth: Truth, frame: int, objects: Objects, class_id: int, scale: float
) -> tuple[list[tuple[float, ...]], Objects]:
    true = truth.objects(frame, class_id)
    overlap = iou(true.xyxy, objects.xyxy)
    best = suppress(objects.xyxy, objects.score, np.zeros_like(objects.class_id), 0.6)  # of one thing, once
    rows, cols = metrics._assign(overlap[:, best], MATCH_IOU)
    cols = best[cols]
    match = dict(zip(rows.tolist(), cols.tolist(), strict=True))
    seen = 1 - hidden(true.xyxy)
    centre, side = centre_size(true.xyxy)
    rest = np.ones(len(objects), np.bool_)
    rest[cols] = False
    out: list[tuple[float, ...]] = []
    for i in range(len(true)):
        k = match.get(i)
        value, error, kept = np.nan, np.full(4, np.nan), -1
        if k is not None:
            value, kept = float(m.logit(min(objects.score[k], m.TOP - 0.01))), int(objects.class_id[k])
            error = box_error(objects.xyxy[[k]], true.xyxy[[i]])[0]
        second = np.flatnonzero(rest & (overlap[i] > DOUBLE_IOU))
        doubled, apart = 0.0, np.full(4, np.nan)
        if len(second):
            top = second[np.argmax(objects.score[second])]
            doubled, apart = float(objects.score[top]), box_error(objects.xyxy[[top]], true.xyxy[[i]])[0]
            rest[second] = False
        size = float(np.sqrt(side[i].prod())) * scale
        out.append((
            float(true.track_id[i]), frame, kept, size, seen[i], value, *error, *centre[i], doubled, *apart,
        ))  # fmt: skip
    ignored = truth.ignored_boxes(frame)
    if len(ignored) and rest.any():
        rest &= iou(objects.xyxy, ignored).max(1) < DOUBLE_IOU
    return out, objects[rest]


def gather(kind: str, detector: NanoDetDetector) -> Seen:
    names = [name for name in (*CLIPS[kind], *UNLABELLED[kind]) if common.CLIPS[name].path.is_file()]
    parts = [look(name, kind, number, detector) for number, name in enumerate(names)]
    table = np.concatenate([part[0] for part in parts])
    table = table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]
    clip, identity, frame = table[:, 0], table[:, 1], table[:, 2]
    starts = np.ones(len(table), np.bool_)
    starts[1:] = (np.diff(clip) != 0) | (np.diff(identity) != 0) | (np.diff(frame) > 5)
    rates = [part[2] for part in parts]
    seconds, sizes = np.zeros(len(table)), np.zeros(len(table))
    seconds[1:] = np.diff(frame) / np.array(rates)[clip[1:].astype(int)]
    moved = (
        np.hypot(*np.diff(table[:, 11:13], axis=0).T)
        * np.array([part[3] for part in parts])[clip[1:].astype(int)]
    )
    sizes[1:] = moved / table[1:, 4]
    seconds[starts], sizes[starts] = 0, 0
    return Seen(
        clip.astype(int), frame.astype(int), table[:, 3].astype(int), table[:, 4], table[:, 5], table[:, 6],
        table[:, 7:11], seconds, sizes, starts, table[:, 13], table[:, 14:18], tuple(names), [part[1] for part in parts], rates,
        [part[3] for part in parts],
    )  # fmt: skip
