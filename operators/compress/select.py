"""Which pictures teach most, told before anything is learned from them.

Core-set: Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach (ICLR 2018), its greedy
k-center: each next picture is the one farthest from all that are taken. Deviation: features are those of the teacher's neck, mean and
highest over the picture, in spreads of each over all pictures; on a fixed camera most of a feature is background, and equal.
Uncertainty: the entropy of the teacher's scores (Settles, Active Learning Literature Survey, 2009), summed over all places
where the two answers, object or not, are both thinkable. Deviation: the teacher is asked, not the student, so that one look at
each picture is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from everyframe.operators.detectors.nanodet import CLASSES, NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32

I64 = NDArray[np.int64]
Choice = Literal["coreset", "uncertain", "random"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
THINKABLE = 0.05
"""Scores below it are background for sure."""


def select(net: NanoDet, inputs: Sequence[F32], count: int, choice: Choice, seed: int = 0) -> I64:
    """Positions of the `count` pictures to learn from, ascending; all of them where there are no more.

    net: the teacher. inputs: prepared pictures (1, h, w, 3) float32, h and w divisible by 32. Raises `OperatorError`.
    """
    if count < 1:
        raise OperatorError(f"{count} pictures cannot teach anything: choose 1 or more.")
    if choice not in CHOICES:
        raise OperatorError(f"There is no choice {choice!r}: take one of {', '.join(CHOICES)}.")
    if count >= len(inputs):
        return np.arange(len(inputs), dtype=np.int64)
    rng = np.random.default_rng(seed)
    if choice == "random":
        return np.sort(rng.choice(len(inputs), count, replace=False)).astype(np.int64)
    features, entropy = survey(net, inputs)
    if choice == "uncertain":
        return np.sort(np.argsort(-entropy, kind="stable")[:count]).astype(np.int64)
    return np.sort(k_center(features, count, int(rng.integers(len(inputs)))))


def survey(net: NanoDet, inputs: Sequence[F32]) -> tuple[F32, F32]:
    """Of each picture its features (n, 768), and the summed entropy of its scores in bits (n,); float32."""
    features, entropy = [], []
    with torch.inference_mode():
        for one in inputs:
            maps = net.features(torch.from_numpy(one).permute(0, 3, 1, 2))
            pooled = [part for level in maps for part in (level.mean((2, 3)), level.amax((2, 3)))]
            features.append(torch.cat(pooled, 1)[0].numpy())
            best = torch.cat([out[..., :CLASSES].amax(-1).reshape(-1) for out in net.head(maps)]).sigmoid()
            entropy.append(float(_bits(best[best > THINKABLE]).sum()))
    return np.stack(features).astype(np.float32), np.array(entropy, np.float32)


def _bits(p: torch.Tensor) -> torch.Tensor:
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log2() + (1 - p) * (1 - p).log2())


def k_center(features: F32, count: int, first: int) -> I64:
    """Positions of `count` of the points (n, d), in the order in which they were taken: no point is farther from them
    than twice what the best choice would leave. first: where to begin. Where points are equal, those that are left come in order."""
    spread = features.std(0)
    points = (features - features.mean(0)) / np.where(spread > 1e-6, spread, 1.0)
    taken = [first]
    away = np.linalg.norm(points - points[first], axis=1)
    away[first] = -1.0
    while len(taken) < min(count, len(points)):
        following = int(away.argmax())
        taken.append(following)
        away = np.minimum(away, np.linalg.norm(points - points[following], axis=1))
        away[taken] = -1.0
    return np.array(taken, np.int64)
