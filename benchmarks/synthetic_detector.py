"""Fits the detector model of `pipeline/synthetic` to NanoDet-g on the labelled train clips.

    python benchmarks/synthetic_detector.py --write

writes `pipeline/synthetic/data/detector.json`. Scores are a censored normal regression (Tobit 1958) on size and overlap; how
they change from frame to frame is matched by simulation: flips at the threshold and squared changes at several lags.
Overlap with nearer boxes of the truth stands for what is hidden. People: three clips; vehicles: two, whose truth comes from
pixel masks, so that their box errors are partly the masks'. In train clips without truth the detector's own tracks stand for
it, from the first to the last time that an object passes the threshold: they say how scores flicker, nothing of boxes, of
false objects or of things that are never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.stats import norm
from synthetic_seen import CLASS, UNRECOGNISED, Seen, gather

from everyframe.operators.boxes import area
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.synthetic import model as m

F64 = NDArray[np.float64]
LAGS = (1, 2, 5, 10, 25)
FLOOR = float(m.logit(m.LEAST))
LINE = float(m.logit(metrics.SCORE))
REAL_S = 2.0
"""What is seen for longer, confidently for most of the time, is taken to be a thing that the truth leaves out."""


def fit_level(seen: Seen) -> tuple[m.Level, float, float]:
    """Level, spread, and standard deviation between cameras, by greatest likelihood; cameras are drawn to their mean."""
    clips = len(seen.rates)
    is_seen = ~np.isnan(seen.value)
    weight = 1.0 / np.bincount(seen.clip)[seen.clip] * len(seen.clip) / clips  # each camera counts the same

    def loss(p: F64) -> float:
        mean = m.level_of((p[0], p[1], p[2]), seen.size, seen.visibility) + p[4:][seen.clip]
        spread = np.exp(p[3])
        each = np.where(
            is_seen, norm.logpdf(np.nan_to_num(seen.value), mean, spread), norm.logcdf(FLOOR, mean, spread)
        )
        return float(-(each * weight).mean() + 0.002 * (p[4:] ** 2).sum())

    best = minimize(loss, np.zeros(4 + clips), method="BFGS").x
    offsets = best[4:][[name not in UNRECOGNISED for name in seen.names]]
    level = float(best[0] + offsets.mean()), float(best[1]), float(best[2])
    return level, float(np.exp(best[3])), float(offsets.std())


def changes(seen: Seen, value: F64) -> F64:
    """(lags, 2, clips): logarithms of the share of rows that are on another side of the threshold, and of the squared change
    of the value where both are given out (`robust`)."""
    return np.log(np.stack([per_clip(seen, value, lag) for lag in LAGS]) + np.array([[0.01], [0.005]]))


def per_clip(seen: Seen, value: F64, lag: int) -> F64:
    """(2, clips): both of `changes`, clip by clip."""
    run = np.cumsum(seen.starts)
    is_on, is_out = np.nan_to_num(value, nan=-99.0) >= LINE, np.nan_to_num(value, nan=-99.0) >= FLOOR
    same = run[lag:] == run[:-lag]
    flips, squares = [], []
    for clip in range(len(seen.rates)):
        rows = same & (seen.clip[lag:] == clip)
        flips.append((is_on[lag:] != is_on[:-lag])[rows].mean())
        both = rows & is_out[lag:] & is_out[:-lag]
        squares.append(robust((value[lag:] - value[:-lag])[both]) if both.any() else 0.0)
    return np.array([flips, squares])


def fit_wander(seen: Seen, level: m.Level, spread: float) -> tuple[m.Wander, float, float, float]:
    """How scores wander, seconds and sizes of memory, and how clips differ in flips (standard deviation of the logarithm)."""
    offsets = np.array([_offset(seen, level, spread, clip) for clip in range(len(seen.rates))])
    mean = m.level_of(level, seen.size, seen.visibility) + offsets[seen.clip]
    return _settled(seen, seen.value, mean, spread, None)


def _settled(
    seen: Seen, value: F64, mean: F64, spread: float, memory: tuple[float, float] | None
) -> tuple[m.Wander, float, float, float]:
    """What makes the `changes` of simulated values like those of `value`. mean (n,): of the values. memory: seconds and sizes
    where they are known."""
    real = changes(seen, value)

    def parts(p: F64) -> tuple[m.Wander, float, float]:
        share = np.exp(p[:3]) / np.exp(p[:3]).sum()
        return m.Wander(*map(float, share)), *(memory or (float(np.exp(p[3])), float(np.exp(p[4]))))

    def simulated(p: F64, seed: int) -> F64:
        how, seconds, sizes = parts(p)
        pace = m.pace_of(seen.starts, seen.seconds, seen.sizes, seconds, sizes)
        return changes(seen, mean + spread * m.wander(np.random.default_rng(seed), how, pace, 1)[:, 0])

    def loss(p: F64) -> float:
        apart = np.mean([simulated(p, seed) for seed in range(3)], 0) - real
        return float((apart**2 * [[1.0], [0.3]]).mean() + 0.002 * (p**2).sum())  # flips are what counts

    start = np.array([0.0, 0.5, -1.0, 1.5, 0.0])[: 3 if memory else 5]
    simplex = np.concatenate([start[None], start + np.eye(len(start))])
    options = {"maxiter": 400, "initial_simplex": simplex}
    best = minimize(loss, start, method="Nelder-Mead", options=options).x
    for name, values in (("real", real), ("simulated", simulated(best, 9))):
        shown = np.exp(values.mean(2)).round(3)
        common.tell(f"{name}: flips {shown[:, 0].tolist()}, squares {shown[:, 1].tolist()} at lags {LAGS}")
    left = (simulated(best, 9) - real)[:, 0].mean(0)
    common.tell(f"what clips differ in flips (log): {left.round(2).tolist()}")
    return *parts(best), float(np.std(left))


def _offset(seen: Seen, level: m.Level, spread: float, clip: int) -> float:
    """A camera's own level."""
    rows = seen.clip == clip
    mean, value = m.level_of(level, seen.size[rows], seen.visibility[rows]), seen.value[rows]

    def loss(p: F64) -> float:
        known = norm.logpdf(np.nan_to_num(value), mean + p[0], spread)
        return float(-np.where(np.isnan(value), norm.logcdf(FLOOR, mean + p[0], spread), known).mean())

    return float(minimize(loss, np.zeros(1)).x[0])


def fit_jitter(seen: Seen, memory_s: float, memory_sizes: float) -> tuple[list[float], list[float], m.Wander]:
    """Standard deviations at the usual size, pixels to add, and how the errors wander, from their variogram."""
    error = seen.error.copy()
    error[(np.abs(error).max(1) > 0.4) | (seen.visibility < 0.9)] = (
        np.nan
    )  # merged, or partly hidden: not jitter
    for clip in np.unique(seen.clip[~np.isnan(error[:, 0])]):
        error[seen.clip == clip] -= np.nanmean(error[seen.clip == clip], 0)  # the annotators' habit
    known = ~np.isnan(error[:, 0])
    variance = np.array([robust(error[known, side]) for side in range(4)])
    base, pixels = [], []
    for side in range(4):  # relative, and in pixels of the net's input
        bins = np.digitize(seen.size[known], np.quantile(seen.size[known], np.arange(0.1, 1, 0.1)))
        spread = np.array([robust(error[known, side][bins == b]) for b in range(10)])
        middle = np.array([np.median(seen.size[known][bins == b]) for b in range(10)])
        fit, _ = nnls(np.stack([np.ones(10), middle**-2.0], 1), spread)
        base.append(float(np.sqrt(fit[0])))
        pixels.append(float(np.sqrt(fit[1])))
    run = np.cumsum(seen.starts)
    rows, targets = [], []
    keep = m.pace_of(seen.starts, seen.seconds, seen.sizes, memory_s, memory_sizes).keep
    for lag in LAGS:
        same = (run[lag:] == run[:-lag]) & known[lag:] & known[:-lag]
        kept = np.exp(np.convolve(np.log(keep[1:]), np.ones(lag), "valid"))
        steps = (error[lag:] - error[:-lag])[same]
        change = np.array([robust(steps[:, side]) for side in range(4)]) / (2 * variance)
        rows.append((1 - float(kept[same].mean()), 1.0))
        targets.append(float(change.mean()))
    slow, white = np.clip(nnls(np.array(rows), np.array(targets))[0], 0.02, 0.9)
    total = max(1.0, slow + white)
    how = m.Wander(max(0.0, 1 - (slow + white) / total), float(slow / total), float(white / total))
    return base, pixels, how


def fit_doubles(seen: Seen, memory: tuple[float, float]) -> dict[str, Any]:
    """A normal of which the right shares pass the floor and the threshold, wandering so that they come and go as real ones."""
    value = np.full(len(seen.doubled), np.nan)
    value[seen.doubled > 0] = m.logit(np.minimum(seen.doubled[seen.doubled > 0], m.TOP - 0.01))
    shares = [(np.nan_to_num(value, nan=-99.0) >= least).mean() for least in (FLOOR, LINE)]
    low, high = norm.isf(shares)
    spread = float((LINE - FLOOR) / (high - low))
    level = FLOOR - spread * float(low)
    how, *_ = _settled(seen, value, np.full(len(value), level), spread, memory)
    shift = np.sqrt([robust(side[~np.isnan(side)]) for side in seen.double_error.T])
    return {
        "double_level": level,
        "double_spread": spread,
        "double_shift": _four(shift.tolist()),
        "double": how,
    }


def robust(values: F64) -> float:
    """Variance of a normal with the same median distance from 0: what most do, not what a few jumps add."""
    return float((np.median(abs(values)) / norm.ppf(0.75)) ** 2)


def _inner(values: F64, names: NDArray[Any]) -> float:
    """Variance of values around the mean of what has the same name."""
    _, names, counts = np.unique(names, return_inverse=True, return_counts=True)
    means = np.bincount(names, values) / counts
    several = counts[names] > 1
    return robust((values - means[names])[several])


def _shares(inner: float, step: float, whole: float) -> m.Wander:
    """inner: variance while an object lasts; step: half of that from frame to frame, taken as new in each; whole: of all."""
    changing = min(inner / whole, 0.95)
    white = min(step / whole, changing)
    return m.Wander(1 - changing, changing - white, white)


def fit_ghosts(seen: Seen, groups: NDArray[np.int32]) -> tuple[m.Ghosts, m.Ghosts]:
    """False objects, linked over frames: weak ones and such that pass the threshold at least once."""
    lives: list[
        list[float]
    ] = []  # clip, is strong, seconds, mean logit, variance around it, of half its steps, log2 size
    for clip, frames in enumerate(seen.ghosts):
        ids = np.concatenate(metrics.link(frames, groups)) if frames else np.zeros(0, np.int64)
        whole = Objects.concat(frames)
        value = m.logit(np.minimum(whole.score, m.TOP - 0.01))
        size = np.log2(np.sqrt(area(whole.xyxy)) * seen.scale[clip] / m.USUAL_SIZE)
        for name in np.unique(ids):
            mine = value[ids == name]
            around, steps = (
                (robust(mine - mine.mean()), robust(np.diff(mine)) / 2)
                if len(mine) >= 5
                else (np.nan, np.nan)
            )
            is_strong, life = float(mine.max() >= LINE), len(mine) / seen.rates[clip]
            if life > REAL_S and mine.mean() >= LINE:
                continue
            lives.append([clip, is_strong, life, mine.mean(), around, steps, size[ids == name].mean()])
    table = np.array(lives)
    seconds = {
        clip: ((seen.clip == clip).sum() + m.EMPTY * len(frames)) / seen.rates[clip]
        for clip, frames in enumerate(seen.ghosts)
        if frames
    }
    weak, strong = (_ghosts(table[table[:, 1] == kind], seconds) for kind in (0.0, 1.0))
    return weak, strong


def _ghosts(lives: F64, seconds: dict[int, float]) -> m.Ghosts:
    """seconds: times true objects, of each clip."""
    rates = np.log([((lives[:, 0] == clip).sum() + 0.5) / long for clip, long in seconds.items()])
    weight = lives[:, 2]  # what is seen in a frame
    mean = float(np.average(lives[:, 3], weights=weight))
    between = float(np.average((lives[:, 3] - mean) ** 2, weights=weight))
    inner, step = np.nanmedian(lives[:, 4]), np.nanmedian(lives[:, 5])
    whole, long = between + inner, float(lives[:, 2].mean())
    # Taken, not fitted: they change slowly for as long as they are seen.
    return m.Ghosts(
        float(np.exp(rates.mean())), float(min(rates.std(), 1.2)), long, mean, float(np.sqrt(whole)),
        _shares(float(inner), float(step), whole), 2 * long, float(lives[:, 6].mean()), float(lives[:, 6].std()),
    )  # fmt: skip


def fit_classes(seen: Seen) -> tuple[float, float, dict[int, float]]:
    """Chance of another class than car, chance that it lasts, and what the others are."""
    rows = seen.class_id >= 0
    other = rows & (seen.class_id != CLASS["vehicle"])
    lasts = rows[1:] & other[:-1] & ~seen.starts[1:]
    counts = np.bincount(seen.class_id[other], minlength=9)
    shares = counts / counts.sum()
    return (
        float(other.sum() / rows.sum()),
        float(other[1:][lasts].mean()),
        {i: round(float(share), 4) for i, share in enumerate(shares) if share >= 0.02},
    )


def fit_kind(kind: str, detector: NanoDetDetector) -> tuple[m.Kind, Seen]:
    seen = gather(kind, detector)
    level, spread, camera = fit_level(seen)
    score, memory_s, memory_sizes, memory_camera = fit_wander(seen, level, spread)
    jitter, jitter_px, box = fit_jitter(seen, memory_s, memory_sizes)
    weak, strong = fit_ghosts(seen, metrics.group_table(detector.supercategory))
    numbers = {**fit_doubles(seen, (memory_s, memory_sizes)), "weak": weak, "strong": strong}
    return m.Kind(
        level,
        spread,
        camera,
        score,
        memory_s,
        memory_sizes,
        memory_camera,
        _four(jitter),
        _four(jitter_px),
        box,
        **numbers,
    ), seen


def _four(values: Sequence[float]) -> tuple[float, float, float, float]:
    a, b, c, d = values
    return a, b, c, d


def main() -> None:
    options = common.parser(__doc__ or "").parse_args()
    common.need_data()
    detector = load_detector(runtime=options.runtime, precision=options.precision)
    person, _ = fit_kind("person", detector)
    vehicle, seen = fit_kind("vehicle", detector)
    switch, goes_on, others = fit_classes(seen)
    fitted = m.DetectorModel(person, vehicle, switch, goes_on, others)
    text = m.dump(fitted, f"{common.command_line()} --write")
    print(text)
    if options.write:
        m.FILE.write_text(text)


if __name__ == "__main__":
    main()
