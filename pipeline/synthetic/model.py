"""The numbers of the detector model, as fitted to real detections and shipped in `data/detector.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]

FILE = Path(__file__).parent / "data" / "detector.json"
TOP = 0.92
"""No object scores more."""
LEAST = 0.2
"""The detector gives out no score below."""
NET_SIDE = 640.0
"""Longer side, in pixels, of what the net sees: sizes are measured there."""
EMPTY = 0.1
"""False objects of an empty scene, as if there were so many true ones."""
USUAL_SIZE = 40.0
_RESTLESS = 0.005
ENOUGH = 56.0
"""Size from which on a larger object scores no better."""

Level = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Wander:
    """How a standard normal error lives: shares of its variance that are an object's own for good, that change as the object
    moves and ages, and that are new in each frame while it
    moves. They add up to 1."""

    constant: float
    slow: float
    white: float


@dataclass(frozen=True, slots=True)
class Ghosts:
    """False objects, each in its place. a_second: how many appear in the usual camera for each true
    object (`EMPTY` more than there are); camera: how cameras differ in that
    (standard deviation of the logarithm). seconds: for which they last in the mean. level, spread: of the logit of the
    score, wander, memory_s: how that changes, as in
    `Kind`. size, size_spread: log2 of the size over `USUAL_SIZE`."""

    a_second: float
    camera: float
    seconds: float
    level: float
    spread: float
    wander: Wander
    memory_s: float
    size: float
    size_spread: float


@dataclass(frozen=True, slots=True)
class Kind:
    """The detector on one group of classes.

    level: of the score's logit, see `level_of`; spread: its standard deviation around that; camera: how much of that cameras
    differ by, a standard deviation too. score: how it wanders. memory_s, memory_sizes: the slow part's correlation falls
    by e in so many seconds, or while the object moves by so many of its sizes; memory_camera: how cameras differ in both
    (standard deviation of the logarithm). jitter: standard deviations of the box's
    centre x, y (in widths and heights) and of log width and height of a large object; jitter_px: what small ones have on top (the
    root of the sum of squares), times the size in pixels. box: how the jitter wanders.
    double_level, double_spread: of the logit of a second box's score, which is there where that exceeds `LEAST`;
    double_shift: standard deviations of its four box errors;
    double: how score and errors wander. weak, strong: false objects that never pass the usual threshold of .45, and those that
    do.
    """

    level: Level
    spread: float
    camera: float
    score: Wander
    memory_s: float
    memory_sizes: float
    memory_camera: float
    jitter: tuple[float, float, float, float]
    jitter_px: tuple[float, float, float, float]
    box: Wander
    double_level: float
    double_spread: float
    double_shift: tuple[float, float, float, float]
    double: Wander
    weak: Ghosts
    strong: Ghosts


@dataclass(frozen=True, slots=True)
class DetectorModel:
    """person, vehicle: see `Kind`. switch: chance that a vehicle is reported as another class in a frame; others: classes
    it is then reported as, with their shares; switch_goes_on: chance that it still is in the next frame."""

    person: Kind
    vehicle: Kind
    switch: float
    switch_goes_on: float
    others: dict[int, float]


def level_of(level: Level, size: F64, visibility: F64) -> F64:
    """Expected logit of score / `TOP`: of a whole object of size `ENOUGH` or more, for each octave that it is smaller, and for
    all of it being hidden. size (n,): square root of the area in pixels of the net's input."""
    short = np.maximum(0.0, np.log2(ENOUGH / np.maximum(size, 1.0)))
    return np.asarray(level[0] + level[1] * short + level[2] * (1 - visibility), np.float64)


def logit(score: Any) -> Any:
    share = np.asarray(score, np.float64) / TOP
    return np.log(share / (1 - share))


def score_of(value: F64) -> F64:
    return np.asarray(TOP / (1 + np.exp(-value)), np.float64)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast errors change, for n observations sorted by object and time. keep (n,): correlation of the slow part with
    the observation before. unrest (n,), 0..1: how much of the white part is there: the picture of what stands still is coded
    as a copy of the one before. starts (n,): first observation of an object."""

    keep: F64
    unrest: F64
    starts: NDArray[np.bool_]


@njit(cache=True, nogil=True)
def _wander(fresh, keep, unrest, starts, constant, slow, white):  # type: ignore[no-untyped-def]
    rows, cols = keep.shape[0], fresh.shape[1]
    out = np.empty((rows, cols))
    for c in range(cols):
        own = 0.0
        state = 0.0
        for i in range(rows):
            if starts[i]:
                own = fresh[i, c, 0]
                state = fresh[i, c, 1]
            else:
                state = keep[i] * state + np.sqrt(1.0 - keep[i] * keep[i]) * fresh[i, c, 1]
            out[i, c] = constant * own + slow * state + white * unrest[i] * fresh[i, c, 2]
    return out


def wander(rng: np.random.Generator, how: Wander, pace: Pace, columns: int) -> F64:
    """Errors, (n, columns), of observations sorted by object and time: standard normal where nothing rests."""
    fresh = rng.standard_normal((len(pace.keep), columns, 3))
    parts = np.sqrt([how.constant, how.slow, how.white])
    out: F64 = _wander(fresh, pace.keep, pace.unrest, pace.starts, parts[0], parts[1], parts[2])
    return out


def pace_of(
    starts: NDArray[np.bool_], seconds: F64, sizes: F64, memory_s: float, memory_sizes: float
) -> Pace:
    """seconds, sizes (n,): since the observation before, and by how many of its sizes the object moved meanwhile."""
    keep = np.exp(-(seconds / memory_s + sizes / memory_sizes))
    return Pace(np.asarray(keep, np.float64), np.asarray(sizes / (sizes + _RESTLESS), np.float64), starts)


def dump(model: DetectorModel, command: str) -> str:
    """The file's text; command: what made it."""
    return json.dumps({"made_by": command, **asdict(model)}, indent=1) + "\n"


@cache
def shipped() -> DetectorModel:
    """The model fitted to NanoDet-g."""
    text = json.loads(FILE.read_text("utf-8"))
    kinds = {}
    for name in ("person", "vehicle"):
        raw = dict(text[name])
        for key in ("score", "box", "double"):
            raw[key] = Wander(**raw[key])
        for key in ("weak", "strong"):
            raw[key] = Ghosts(**{**raw[key], "wander": Wander(**raw[key]["wander"])})
        for key in ("level", "jitter", "jitter_px", "double_shift"):
            raw[key] = tuple(raw[key])
        kinds[name] = Kind(**raw)
    others = {int(key): float(value) for key, value in text["others"].items()}
    return DetectorModel(kinds["person"], kinds["vehicle"], text["switch"], text["switch_goes_on"], others)
