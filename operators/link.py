"""How likely objects of two key frames are the same ones, where little or nothing is known of the motion
between.

A link's worth is a log-likelihood ratio in nats: how well place, size, looks and class fit one object,
against one object leaving and another one coming (the score of multiple-hypothesis tracking: Reid, 1979;
Blackman, 2004). Links of worth above 0 are made, by an assignment of greatest total worth. `paths` uses it
over many key frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from everyframe.operators.appearance import SIZE, distance
from everyframe.operators.boxes import area, iou
from everyframe.operators.types import F32, I32, Objects

F64 = NDArray[np.float64]
Rows = NDArray[np.intp]
NONE = -1

SURE = 0.45
"""Score from which an object counts fully; below, it is evidence that bridges key frames."""
WEAK = 0.2
"""Lowest score that is linked."""
MOST = 150
"""Objects of one key frame that are linked at most, best scores first: bounds the time in a crowd."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is assumed of every scene. Lengths in object sizes (longer side of the box), times in seconds.

    jitter: of the detector's boxes. still: share of things that stand. speed: scale of the speed of those
    that don't. turn: scale by which a velocity changes in a second; turned: share of things whose velocity so
    far tells nothing. drift: error of a box carried by motion vectors, in a second.
    resize: (at once, in a second) scale of the change of log size.
    looks: Hellinger distance at which looks tell nothing; looks_gain: nats for one unit less; looks_most:
    nats that looks can add; they can take away twice as many.
    stay: chance that an object is seen again at the next key frame. other_class: nats lost where the class
    differs within a supercategory. weak: nats lost for an object scored `WEAK`; none for `SURE`, linear
    between.
    """

    jitter: float = 0.05
    still: float = 0.3
    speed: float = 0.5
    turn: float = 0.22
    turned: float = 0.2
    drift: float = 0.1
    resize: tuple[float, float] = (0.15, 0.15)
    looks: float = 0.31
    looks_gain: float = 20.0
    looks_most: float = 4.0
    stay: float = 0.93
    other_class: float = 1.0
    weak: float = 2.0


@dataclass(frozen=True, slots=True)
class Nodes:
    """The n linkable objects of one key frame.

    index: display frame. xyxy (n, 4) pixels; centre (n, 2); size (n,) longer side, pixels; score, class_id
    (n,); group (n,) supercategory; looks (n, d) of `appearance.look`; row (n,) which object of the key frame.
    """

    index: int
    xyxy: F32
    centre: F64
    size: F64
    score: F32
    class_id: I32
    group: I32
    looks: F32
    row: Rows

    def __len__(self) -> int:
        return len(self.score)


def nodes(index: int, objects: Objects, groups: I32, looks: F32 | None = None) -> Nodes:
    """The objects worth linking: scored `WEAK` or more, weak doubles of better ones left out, at most `MOST`.

    groups: supercategory index of each class id. looks (len(objects), d), None where the picture isn't at
    hand.
    """
    if looks is None:
        looks = np.zeros((len(objects), SIZE), np.float32)
    group = groups[objects.class_id]
    rows = np.flatnonzero((objects.score >= WEAK) & (area(objects.xyxy) > 0))
    rows = rows[np.argsort(-objects.score[rows], kind="stable")][:MOST]
    rows = rows[~_doubles(objects.xyxy[rows], objects.score[rows], group[rows])]
    box = objects.xyxy[rows]
    sides = (box[:, 2:] - box[:, :2]).astype(np.float64)
    return Nodes(
        index,
        box,
        (box[:, :2] + box[:, 2:]).astype(np.float64) / 2,
        sides.max(1, initial=0.0),
        objects.score[rows],
        objects.class_id[rows],
        group[rows],
        looks[rows],
        rows,
    )


def _doubles(box: F32, score: F32, group: I32) -> NDArray[np.bool_]:
    """(n,): objects below `SURE`, sorted by falling score, that lie on or in a kept better one of their
    group."""
    overlap = iou(box, box)
    whole = area(box)
    shared = overlap * (whole[:, None] + whole[None]) / (1 + overlap)
    same = ((overlap > 0.45) | (shared > 0.8 * np.minimum(whole[:, None], whole[None]))) & (
        group[:, None] == group[None]
    )
    out = np.zeros(len(score), np.bool_)
    for i in range(int((score >= SURE).sum()), len(score)):
        out[i] = bool((same[i, :i] & ~out[:i]).any())
    return out


def fit(a: Nodes, b: Nodes, picture_area: float, seconds: float, beliefs: Beliefs) -> F64:
    """(n, m): worth of links by looks, size, class and score, and how rare objects are; -inf across groups.

    picture_area: square pixels; with the number of objects it gives how likely another one is met by chance.
    """
    worth = np.zeros((len(a), len(b)))
    if worth.size == 0:
        return worth
    if a.looks.any() and b.looks.any():
        gain = beliefs.looks_gain * (beliefs.looks - distance(a.looks, b.looks).astype(np.float64))
        worth += np.clip(gain, -2 * beliefs.looks_most, beliefs.looks_most)
    scale = beliefs.resize[0] + beliefs.resize[1] * seconds
    ratio = np.log(a.size[:, None] / b.size[None, :]) / scale
    worth -= np.minimum(0.5 * ratio * ratio, 6.0)
    worth -= beliefs.other_class * (a.class_id[:, None] != b.class_id[None, :])
    worth -= beliefs.weak * (_weakness(a)[:, None] + _weakness(b)[None, :])
    cells = picture_area / float(np.mean(np.concatenate((a.size, b.size)) ** 2))
    leave = 1 - beliefs.stay
    worth += np.log(beliefs.stay / leave) - np.log(leave * max(len(a), len(b)) / cells)
    worth[a.group[:, None] != b.group[None, :]] = -np.inf
    return worth


def _weakness(n: Nodes) -> F64:
    return np.clip((SURE - n.score.astype(np.float64)) / (SURE - WEAK), 0, 1)


def shifts(a: Nodes, b: Nodes) -> F64:
    """(n, m, 2): displacements of links in object sizes (of both ends, geometric mean)."""
    unit = np.sqrt(a.size[:, None] * b.size[None])
    out: F64 = (b.centre[None] - a.centre[:, None]) / unit[..., None]
    return out


def place_alone(shift: F64, seconds: float, b: Beliefs) -> F64:
    """Log density of displacements (..., 2) in object sizes, of things whose motion is unknown."""
    out: F64 = np.log(_alone(shift, seconds, b) + _TINY)
    return out


def place_after(shift: F64, expected: F64, seconds: float, b: Beliefs) -> F64:
    """Log density of displacements (..., 2) where the path's velocity makes `expected` (..., 2) likely."""
    steady = _student(shift - expected, 1.5 * b.jitter + b.turn * seconds)
    out: F64 = np.log((1 - b.turned) * steady + b.turned * _alone(shift, seconds, b) + _TINY)
    return out


def place_carried(shift: F64, expected: F64, seconds: float, b: Beliefs) -> F64:
    """Log density of displacements (..., 2) where motion vectors have carried the box by `expected` (...,
    2)."""
    near = _student(shift - expected, b.jitter + b.drift * seconds)
    out: F64 = np.log(0.9 * near + 0.1 * _alone(shift, seconds, b) + _TINY)
    return out


def _alone(shift: F64, seconds: float, b: Beliefs) -> F64:
    still = b.jitter + 0.02 * seconds
    square = (shift * shift).sum(-1) / still**2
    standing = np.exp(-0.5 * square) / (2 * np.pi * still**2)
    out: F64 = b.still * standing + (1 - b.still) * _student(shift, b.jitter + b.speed * seconds)
    return out


def _student(residual: F64, scale: float) -> F64:
    """Density of a 2-D Student t distribution with 3 degrees of freedom: (..., 2) -> (...). Heavy-tailed:
    things stop and turn."""
    square = (residual * residual).sum(-1) / (3 * scale * scale)
    out: F64 = (1 + square) ** -2.5 / (2 * np.pi * scale * scale)
    return out


def assign(worth: F64) -> Rows:
    """(n, m) -> (n,): column of each row in the assignment of greatest total worth; `NONE` where none is
    above 0."""
    out = np.full(worth.shape[0], NONE, np.intp)
    if worth.size:
        rows, columns = linear_sum_assignment(np.maximum(worth, 0), maximize=True)
        made = worth[rows, columns] > 0
        out[rows[made]] = columns[made]
    return out


def link(
    a: Nodes,
    b: Nodes,
    picture_area: float,
    rate: float,
    velocity: F64 | None = None,
    carried: F32 | None = None,
    beliefs: Beliefs | None = None,
) -> Rows:
    """(n,): for each object of key frame `a` the same one in key frame `b`, `NONE` where it is gone.

    rate: frames a second. velocity (n, 2) pixels per frame, rows of NaN where unknown. carried (n, 4): boxes
    of `a` moved to `b` by motion vectors; they take precedence over velocities.
    """
    beliefs = beliefs or Beliefs()
    frames = b.index - a.index
    seconds = frames / rate
    shift = shifts(a, b)
    place = place_alone(shift, seconds, beliefs)
    if carried is not None:
        place = place_carried(shift, expected(a, b, _moved(a, carried)), seconds, beliefs)
    elif velocity is not None:
        known = np.flatnonzero(np.isfinite(velocity).all(1))
        guess = expected(a, b, np.nan_to_num(velocity) * frames)[known]
        place[known] = place_after(shift[known], guess, seconds, beliefs)
    return assign(fit(a, b, picture_area, seconds, beliefs) + place)


def expected(a: Nodes, b: Nodes, moved: F64) -> F64:
    """(n, m, 2): a displacement of `a` in pixels (n, 2) as what `shifts` would give for each end."""
    unit = np.sqrt(a.size[:, None] * b.size[None])
    out: F64 = moved[:, None] / unit[..., None]
    return out


def _moved(a: Nodes, carried: F32) -> F64:
    out: F64 = (carried[:, :2] + carried[:, 2:]).astype(np.float64) / 2 - a.centre
    return out
