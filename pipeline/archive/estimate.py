"""What an archive will take, from a few shards: CPU by a ratio estimate, with an interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats has it too, and takes 24 MB

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of a shard that was labelled. size: expected cost or frames, in the unit of the total; cpu_s: what it took."""

    size: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """CPU seconds of the whole with the ends of a 95 % interval. samples: that it rests on."""

    cpu_s: float
    low: float
    high: float
    samples: int


def estimate_cost(samples: Sequence[Sample], total: float) -> CostEstimate | None:
    """The ratio of CPU to size in the samples, times the total (Cochran, Sampling Techniques, 3rd ed., 1977, ch. 6). The interval
    is taken in logarithms, as costs are positive and skewed. One sample says nothing of the spread: it is then taken as a
    factor of two. None without samples."""
    sizes = np.array([s.size for s in samples], float)
    cpu = np.array([s.cpu_s for s in samples], float)
    if not len(samples) or sizes.sum() <= 0:
        return None
    ratio = cpu.sum() / sizes.sum()
    whole = ratio * total
    if ratio <= 0 or len(samples) < 2:
        return CostEstimate(whole, whole / 2, whole * 2, len(samples))
    n = len(samples)
    rest = cpu - ratio * sizes
    left = max(1 - sizes.sum() / max(total, sizes.sum()), 0.0)
    error = math.sqrt(left * float(rest @ rest) / (n - 1) / n) / sizes.mean()
    reach = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * error / ratio
    return CostEstimate(whole, whole * math.exp(-min(reach, 5.0)), whole * math.exp(min(reach, 5.0)), n)


def spread_out(count: int, wanted: int) -> list[int]:
    """Which of `count` items in a row to sample: evenly, the same in every run."""
    taken = min(count, wanted)
    return [int((i + 0.5) * count / taken) for i in range(taken)]
