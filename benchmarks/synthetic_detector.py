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
from synthetic_seen import CLASS, Seen, gather

from everyframe.operators.boxes import area
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.synthetic import model as m

F64 = NDArray[np.float64]
LAGS = (1, 2, 5, 10, 25)
FLOOR = float(m.logit(m.LEAST))
LINE = float(m.logit(metrics.SCORE))


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
    offsets = best[4:] - best[4:].mean()
    level = (float(best[0] + best[4:].mean()), float(best[1]), float(best[2]))
    return level, float(np.exp(best[3])), float(np.sqrt((offsets**2).mean()))


def changes(seen: Seen, value: F64) -> F64:
    """For each lag: share of rows that are on another side of the threshold, and mean squared change of the value where both
    are given out. Each clip counts the same."""
    return np.concatenate([np.mean(per_clip(seen, value, lag), 1) for lag in LAGS])


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
        squares.append(((value[lag:] - value[:-lag])[both] ** 2).mean())
    return np.array([flips, squares])


def fit_wander(seen: Seen, level: m.Level, spread: float) -> tuple[m.Wander, float, float, float]:
    """How scores wander, seconds and sizes of memory, and how clips differ in that: what makes the changes of simulated scores like the real ones."""
    offsets = np.array([
        _offset(seen, level, spread, clip) for clip in range(len(seen.rates))
    ])  # fmt: skip
    mean = m.level_of(level, seen.size, seen.visibility) + offsets[seen.clip]
    real = changes(seen, seen.value)

    def parts(p: F64) -> tuple[m.Wander, float, float]:
        share = np.exp(p[:3]) / np.exp(p[:3]).sum()
        return m.Wander(*map(float, share)), float(np.exp(p[3])), float(np.exp(p[4]))

    def loss(p: F64) -> float:
        how, seconds, sizes = parts(p)
        keep = np.exp(-seen.seconds / seconds - seen.sizes / sizes)
        runs = [
            changes(seen, mean + spread * m.wander(np.random.default_rng(i), how, keep, seen.starts, 1)[:, 0])
            for i in range(4)
        ]
        apart = np.log(np.mean(runs, 0) + 1e-4) - np.log(real + 1e-4)
        return float((apart**2).sum() + 0.002 * (p**2).sum())

    start = np.array([0.0, 0.5, -1.0, 0.5, 0.0])
    simplex = np.concatenate([start[None], start + np.eye(5)])
    options = {"maxiter": 500, "initial_simplex": simplex}
    best = minimize(loss, start, method="Nelder-Mead", options=options)
    how, seconds, sizes = parts(best.x)
    keep = np.exp(-seen.seconds / seconds - seen.sizes / sizes)
    made = changes(seen, mean + spread * m.wander(np.random.default_rng(9), how, keep, seen.starts, 1)[:, 0])
    common.tell(f"changes at lags {LAGS}: real {real.round(3).tolist()}, simulated {made.round(3).tolist()}")
    common.tell(f"changes, real and simulated differ by {np.sqrt(best.fun / len(real)):.2f} (log)")
    return how, seconds, sizes, float(np.std(np.log(per_clip(seen, seen.value, 1)[1])))


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
    error[(np.abs(error).max(1) > 0.4) | (seen.visibility < 0.9)] = np.nan  # merged, or partly hidden: not jitter
    for clip in np.unique(seen.clip[~np.isnan(error[:, 0])]):
        error[seen.clip == clip] -= np.nanmean(error[seen.clip == clip], 0)  # the annotators' habit
    known = ~np.isnan(error[:, 0])
    variance = error[known].var(0)
    base, pixels = [], []
    for side in range(4):  # relative, and in pixels of the net's input
        terms = np.stack([np.ones(known.sum()), seen.size[known] ** -2.0], 1)
        fit, _ = nnls(terms, error[known, side] ** 2)
        base.append(float(np.sqrt(fit[0])))
        pixels.append(float(np.sqrt(fit[1])))
    run = np.cumsum(seen.starts)
    rows, targets = [], []
    keep = np.exp(-seen.seconds / memory_s - seen.sizes / memory_sizes)
    for lag in LAGS:
        same = run[lag:] == run[:-lag]
        kept = np.exp(np.convolve(np.log(keep[1:]), np.ones(lag), "valid"))
        change = np.nanmean((error[lag:] - error[:-lag])[same] ** 2, 0) / (2 * variance)
        rows.append((1 - float(kept[same].mean()), 1.0))
        targets.append(float(change.mean()))
    slow, white = np.clip(np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0], 0.02, 0.9)
    total = max(1.0, slow + white)
    how = m.Wander(max(0.0, 1 - (slow + white) / total), float(slow / total), float(white / total))
    return base, pixels, how


def fit_doubles(seen: Seen) -> dict[str, float]:
    is_on = seen.doubled > 0
    goes_on = is_on[:-1] & ~seen.starts[1:]
    starts = ~is_on[:-1] & ~seen.starts[1:]
    value = m.logit(np.minimum(seen.doubled[is_on], m.TOP - 0.01))
    return {
        "double_starts": float(is_on[1:][starts].mean()),
        "double_goes_on": float(is_on[1:][goes_on].mean()),
        "double_level": float(value.mean()),
        "double_spread": float(value.std()),
        "double_shift": float(np.sqrt(np.nanmean(seen.double_error**2))),
    }


def fit_ghosts(seen: Seen, groups: NDArray[np.int32]) -> dict[str, Any]:
    """False objects, linked over frames: how many begin a second, how long they last, their scores and sizes."""
    begun, brief, lasting, values, short, sizes, inner, steps = [], 0, [], [], [], [], [], []
    for clip, frames in enumerate(seen.ghosts):
        if not frames:
            continue
        rate = seen.rates[clip]
        ids = np.concatenate(metrics.link(frames, groups))
        lives = np.bincount(ids)
        begun.append(len(lives) * rate / len(frames))
        brief += int((lives <= 2).sum())
        lasting += (lives[lives > 2] / rate).tolist()
        whole = Objects.concat(frames)
        value = m.logit(np.minimum(whole.score, m.TOP - 0.01))
        short += value[lives[ids] <= 2].tolist()
        values.append(value[lives[ids] > 2])
        for name in np.flatnonzero(lives >= 10):
            inner.append(value[ids == name].var())
            steps.append(np.diff(value[ids == name]).var() / 2)
        first = np.unique(ids, return_index=True)[1]
        sizes += np.log2(np.sqrt(area(whole.xyxy[first])) * seen.scale[clip] / m.USUAL_SIZE).tolist()
    low, high = _middle_and_tail(np.array(short)), _middle_and_tail(np.concatenate(values))
    return {
        "ghosts_s": float(np.exp(np.mean(np.log(begun)))),
        "ghosts_camera": float(np.std(np.log(begun))),
        "ghost_brief": brief / (brief + len(lasting)),
        "ghost_s": float(np.mean(lasting)),
        "ghost_level": high[0],
        "ghost_spread": high[1],
        "ghost_brief_level": low[0],
        "ghost_brief_spread": low[1],
        "ghost": _ghost_wander(float(np.mean(inner)), float(np.mean(steps)), np.concatenate(values)),
        "ghost_size": float(np.mean(sizes)),
        "ghost_size_spread": float(np.std(sizes)),
    }


def _ghost_wander(inner: float, step: float, values: F64) -> m.Wander:
    """inner: variance during a ghost's life; step: half of that from frame to frame, taken as new in each."""
    total = float(values.var())
    changing = min(inner / total, 0.95)
    white = min(step / total, changing)
    return m.Wander(1 - changing, changing - white, white)


def _middle_and_tail(values: F64) -> tuple[float, float]:
    """Median, and the spread of a normal that has the same upper 5 %: what passes the threshold is what matters."""
    middle, high = np.quantile(values, (0.5, 0.95))
    return float(middle), float((high - middle) / norm.ppf(0.95))


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
    numbers = {**fit_doubles(seen), **fit_ghosts(seen, metrics.group_table(detector.supercategory))}
    return m.Kind(
        level, spread, camera, score, memory_s, memory_sizes, memory_camera, _four(jitter), _four(jitter_px), box, **numbers
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
