"""Detections as NanoDet-g would give them, made from the truth: misses, flicker, jitter, doubles and false objects.

Each object has a latent logit: what its size and visibility let expect, the camera's own level, and an error that is in
part its own, in part changes as it moves and ages (Ornstein and Uhlenbeck 1930), in part new in each frame. It is given out
where its score is. Box errors wander the same way. So flicker is correlated in time as the real detector's is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.operators.boxes import centre_size, clip
from everyframe.operators.detectors.decode import IOU, suppress
from everyframe.operators.types import F32, Bool, Objects
from everyframe.pipeline.synthetic.model import (
    EMPTY,
    F64,
    LEAST,
    NET_SIDE,
    USUAL_SIZE,
    DetectorModel,
    Ghosts,
    Kind,
    Pace,
    level_of,
    logit,
    pace_of,
    score_of,
    shipped,
    wander,
)
from everyframe.pipeline.synthetic.truth import BUS, CAR, PERSON, TRUCK, SceneTruth

_GAP = 5
"""Frames after which an object that was out of sight is seen afresh."""
_MOST = 1.5  # standard deviations by which cameras differ in false objects
_ASPECT = {PERSON: 0.42, CAR: 1.4}
Generator = np.random.Generator
Ints = NDArray[np.int64]
Parts = list[tuple[Ints, F32, F64, Ints]]
"""Frame, box, logit and class of candidates."""


def stand_in(
    truth: SceneTruth, seed: int | Sequence[int], model: DetectorModel | None = None
) -> list[Objects]:
    """Objects of each frame of a clip, as `NanoDetDetector.detect` gives them: sorted by falling score, from 0.2 up, COCO
    class ids, boxes in pixels inside the picture.

    Equal truth and seed give equal objects. model: the one fitted to NanoDet-g where None.
    """
    model = shipped() if model is None else model
    rng = np.random.default_rng(seed)
    is_person = truth.class_id == PERSON
    parts: Parts = []
    for kind, rows in ((model.person, is_person), (model.vehicle, ~is_person)):
        # Drawn in any case: whether there are vehicles must not change what happens to people.
        own = np.random.default_rng(rng.integers(0, 1 << 62, 2))
        is_vehicle = kind is model.vehicle
        if rows.any() or (not is_vehicle and not len(rows)):
            parts += _objects(own, truth, kind, np.flatnonzero(rows), model if is_vehicle else None)
            true = np.bincount(truth.frame[rows], minlength=truth.frames)
            for ghosts in (kind.weak, kind.strong):
                parts.append(_ghosts(own, truth, kind, ghosts, CAR if is_vehicle else PERSON, true))
    frame, xyxy, value, class_id = (np.concatenate(column) for column in zip(*parts, strict=True))
    given = value >= logit(LEAST)
    xyxy = clip(xyxy, truth.width, truth.height)
    given &= (xyxy[:, 2] - xyxy[:, 0] >= 1) & (xyxy[:, 3] - xyxy[:, 1] >= 1)
    return _by_frame(frame[given], xyxy[given], score_of(value[given]), class_id[given], truth.frames)


def _objects(rng: Generator, truth: SceneTruth, kind: Kind, rows: Ints, model: DetectorModel | None) -> Parts:
    """What is found of the true objects in some rows; model: where they are vehicles."""
    rows = rows[np.lexsort((truth.frame[rows], truth.identity[rows]))]
    frame, identity = truth.frame[rows].astype(np.int64), truth.identity[rows]
    true = truth.xyxy[rows]
    centre, side = centre_size(true)
    scale = NET_SIDE / max(truth.width, truth.height)
    size = np.sqrt(side.prod(1)).astype(np.float64) * scale
    starts = np.ones(len(rows), np.bool_)
    starts[1:] = (np.diff(identity) != 0) | (np.diff(frame) > _GAP)
    seconds, moved = np.zeros(len(rows)), np.zeros(len(rows))
    seconds[1:] = np.maximum(np.diff(frame), 0) / truth.rate
    moved[1:] = np.hypot(*np.diff(centre, axis=0).T) * scale / size[1:]
    longer = float(np.exp(kind.memory_camera * rng.standard_normal()))
    pace = pace_of(starts, seconds, moved, kind.memory_s * longer, kind.memory_sizes * longer)
    level = level_of(kind.level, size, truth.visibility[rows].astype(np.float64)) + rng.normal(0, kind.camera)
    value = level + kind.spread * wander(rng, kind.score, pace, 1)[:, 0]
    spread = np.hypot(kind.jitter, np.array(kind.jitter_px) / size[:, None])
    error = spread * wander(rng, kind.box, pace, 4)
    class_id = truth.class_id[rows].astype(np.int64)
    if model is not None:
        class_id = _switched(rng, model, class_id, starts)
    found = (frame, _moved(centre, side, error), value, class_id)
    return [found, _doubles(rng, kind, model, found, true, pace)]


def _moved(centre: F32, side: F32, error: F64) -> F32:
    """Boxes (n, 4) with errors (n, 4) of centre (in sides) and log sides."""
    middle = centre + error[:, :2] * side
    half = side * np.exp(np.clip(error[:, 2:], -1, 1)) / 2
    return np.concatenate([middle - half, middle + half], 1).astype(np.float32)


@njit(cache=True, nogil=True)
def _spells(chance, starts, first, begins, goes_on):  # type: ignore[no-untyped-def]
    out = np.zeros(len(chance), np.bool_)
    state = False
    for i in range(len(chance)):
        state = chance[i] < (first if starts[i] else goes_on if state else begins)
        out[i] = state
    return out


def spells(rng: Generator, starts: Bool, begins: float, goes_on: float) -> Bool:
    """(n,) bool: a two-state Markov chain over observations sorted by object and time, in its steady state at each start."""
    steady = begins / max(begins + 1 - goes_on, 1e-9)
    out: Bool = _spells(rng.random(len(starts)), starts, steady, begins, goes_on)
    return out


def _switched(rng: Generator, model: DetectorModel, class_id: Ints, starts: Bool) -> Ints:
    """Classes as reported: at times a car is a truck, and a truck a car."""
    begins = model.switch * (1 - model.switch_goes_on) / (1 - model.switch)
    is_other = spells(rng, starts, begins, model.switch_goes_on)
    other = _others(rng, model, len(class_id))[_first(starts)]
    return np.where(
        is_other & (class_id == CAR),
        other,
        np.where(is_other & np.isin(class_id, (BUS, TRUCK)), CAR, class_id),
    )


def _first(starts: Bool) -> Ints:
    """(n,): for each observation the first one of its object."""
    return np.asarray(np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0)), np.int64)


def _others(rng: Generator, model: DetectorModel, count: int) -> Ints:
    share = np.array(list(model.others.values()))
    return rng.choice(np.array(list(model.others), np.int64), count, p=share / share.sum())


def _doubles(
    rng: Generator, kind: Kind, model: DetectorModel | None, found: tuple[Ints, F32, F64, Ints], true: F32,
    pace: Pace,
) -> tuple[Ints, F32, F64, Ints]:  # fmt: skip
    """Second boxes on the objects; on vehicles of another class, on people of the same."""
    frame, _, _, class_id = found
    value = kind.double_level + kind.double_spread * wander(rng, kind.double, pace, 1)[:, 0]
    centre, side = centre_size(true)
    xyxy = _moved(centre, side, np.array(kind.double_shift) * wander(rng, kind.double, pace, 4))
    if model is not None:
        other = _others(rng, model, len(class_id))[_first(pace.starts)]
        class_id = np.where(class_id == CAR, other, CAR)
    return frame, xyxy, value, class_id


def _ghosts(
    rng: Generator, truth: SceneTruth, kind: Kind, ghosts: Ghosts, class_id: int, true: Ints
) -> tuple[Ints, F32, F64, Ints]:
    """False objects: each stays where it is for as long as it lasts. true (frames,): number of true objects."""
    ahead = round(4 * ghosts.seconds * truth.rate)
    rate = ghosts.a_second * float(np.exp(ghosts.camera * np.clip(rng.standard_normal(), -_MOST, _MOST)))
    crowd = np.concatenate([np.repeat(true[:1], ahead), true]) + EMPTY
    births = rng.poisson(rate * crowd / truth.rate)
    first = np.repeat(np.arange(len(crowd)) - (len(crowd) - truth.frames), births)
    count = len(first)
    each = 1 + np.floor(rng.exponential(ghosts.seconds * truth.rate, count)).astype(np.int64)
    ghost = np.repeat(np.arange(count), each)
    starts = np.ones(len(ghost), np.bool_)
    starts[1:] = np.diff(ghost) != 0
    frame = np.arange(len(ghost)) - np.flatnonzero(starts).repeat(each) + first[ghost]
    pace = Pace(np.full(len(ghost), np.exp(-1 / (truth.rate * ghosts.memory_s))), np.ones(len(ghost)), starts)
    value = ghosts.level + ghosts.spread * wander(rng, ghosts.wander, pace, 1)[:, 0]
    size = USUAL_SIZE * np.exp2(rng.normal(ghosts.size, ghosts.size_spread, count))
    size = size * max(truth.width, truth.height) / NET_SIDE
    aspect = np.sqrt(_ASPECT[class_id]) * np.exp(rng.normal(0, 0.25, count))
    side = np.stack([size * aspect, size / aspect], 1).astype(np.float32)[ghost]
    at = (rng.uniform(0, 1, (count, 2)) * (truth.width, truth.height)).astype(np.float32)[ghost]
    xyxy = _moved(at, side, 0.3 * np.array(kind.jitter) * wander(rng, kind.box, pace, 4))
    inside = (frame >= 0) & (frame < truth.frames)
    return frame[inside], xyxy[inside], value[inside], np.full(int(inside.sum()), class_id)


def _by_frame(frame: Ints, xyxy: F32, score: F64, class_id: Ints, frames: int) -> list[Objects]:
    order = np.lexsort((-score, frame))
    frame, xyxy = frame[order], xyxy[order]
    score32, classes = score[order].astype(np.float32), class_id[order].astype(np.int32)
    bounds = np.searchsorted(frame, np.arange(frames + 1))
    out = []
    for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        kept = a + suppress(xyxy[a:b], score32[a:b], classes[a:b], IOU)
        out.append(Objects.of(xyxy[kept], score32[kept], classes[kept]))
    return out
