"""Audits: a few frames, drawn at random, see the CNN only to be compared with what was published for them.

So a run tells its own pooled F1 against the dense detector, with an interval, on video that nobody has labelled. One frame is
drawn out of each block of 1 / share frames (stratified sampling); a frame that the CNN saw whole is right by definition
and needs no audit. F1 is a ratio of two totals: its interval is that of the ratio estimator (Cochran, Sampling
Techniques, 3rd ed., 1977, ch. 6) in logarithms of the odds, as F1 is bounded. The draw depends on the seed and the frame's
number alone, so that nothing which a policy does can evade it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats has it too, and takes 24 MB

from everyframe.operators.types import I32, Objects
from everyframe.pipeline.metrics import pairs

CONFIDENCE = 0.95
THINNED = 8
"""Of the frames drawn that are left undecoded, one in so many is audited, and stands for so many."""
PRIOR_FRAMES = 2.0
PRIOR_ERROR = 0.2
"""The interval is taken as if so many frames more had been audited and this share of their objects was wrong: a few frames
that are all right, or all alike, prove little."""


@dataclass(slots=True)
class AuditSums:
    """What audits have shown, in sums that add up over shards.

    certain: objects in frames that saw the CNN whole. open: frames that did not. n: of those, how many were audited, one that
    is drawn less often counted as often as it stands for others; x = 2 TP and y = 2 TP + FP + FN of each, in sums, squares and
    products. looked: audited frames as such.
    """

    certain: float = 0.0
    open: int = 0
    n: int = 0
    looked: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def add(self, other: AuditSums) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def take(self, right: int, shown: int, truth: int, weight: int = 1) -> None:
        """One audited frame: true positives, objects published, objects that the CNN finds. weight: of frames such as this, one in
        so many that would have been audited was."""
        x, y = 2.0 * right * weight, float(shown + truth) * weight
        self.n += weight
        self.looked += 1
        self.x += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y


@dataclass(frozen=True, slots=True)
class Estimate:
    """Pooled F1 of a run against the dense detector, with the ends of its 95 % interval. frames: audited."""

    f1: float
    low: float
    high: float
    frames: int


def estimate(sums: AuditSums) -> Estimate | None:
    """What the audits say of all frames of the run; None without any, or where there was nothing to be found."""
    if sums.n == 0:
        return None
    weight = sums.open / sums.n
    of_all = 2 * sums.certain + weight * sums.y
    if of_all <= 0:
        return None
    f1 = (2 * sums.certain + weight * sums.x) / of_all
    # A mean audited frame, of which a share is wrong, stands for what few frames can't show.
    usual = max(sums.y / sums.n, 2.0)
    n = sums.n + PRIOR_FRAMES
    total = 2 * sums.certain + sums.open / n * (sums.y + PRIOR_FRAMES * usual)
    centre = 1 - sums.open / n * (sums.y - sums.x + PRIOR_FRAMES * PRIOR_ERROR * usual) / total
    residual = sums.xx - 2 * centre * sums.xy + centre**2 * sums.yy  # of x - F y, squared and added up
    residual += PRIOR_FRAMES * (usual * (1 - PRIOR_ERROR - centre)) ** 2 + (usual * (1 - centre)) ** 2
    spread = sums.open * math.sqrt(residual / (n * (n - 1)) * max(1 - sums.n / max(sums.open, 1), 0)) / total
    centre = min(max(centre, 1e-4), 1 - 1e-4)
    reach = float(stdtrit(sums.looked + 1, 0.5 + CONFIDENCE / 2)) * spread / (centre * (1 - centre))
    odds = math.log(centre / (1 - centre))
    low, high = (1 / (1 + math.exp(-min(max(odds + way * reach, -50), 50))) for way in (-1, 1))
    return Estimate(f1, min(low, f1), max(high, f1), sums.looked)


class Auditor:
    """Draws the frames of one stream or shard, and compares.

    share: of the frames, 0 for none. groups: of each class id (supercategories). salt: what tells shards apart.
    """

    def __init__(self, share: float, seed: int, salt: int, groups: I32) -> None:
        self._block = max(round(1 / share), 1) if share > 0 else 0
        self._seed = (seed, abs(salt))
        self._groups = groups
        self._drawn = (-1, -1, False)  # block, frame, whether it is drawn also where it costs much
        self._expected: dict[int, tuple[Objects, Objects | None, int]] = {}
        self.sums = AuditSums()

    def draws(self, index: int, is_left: bool = False) -> bool:
        """Whether this frame, or packet, is one to audit. is_left: it lies in a stretch that is left undecoded, where an audit
        costs decoding up to it: there one in `THINNED` is."""
        if not self._block:
            return False
        block = index // self._block
        if block != self._drawn[0]:
            rng = np.random.default_rng((*self._seed, block))
            frame = block * self._block + int(rng.integers(self._block))
            self._drawn = block, frame, int(rng.integers(THINNED)) == 0
        return index == self._drawn[1] and (self._drawn[2] or not is_left)

    def expect(self, frame_index: int, detections: Objects, published: Objects | None, is_left: bool = False) -> None:
        """What the CNN finds in a frame, good enough to report. published: what its labels would have been had it not been
        drawn; None where those are to be compared that it gets. is_left: as it was drawn."""
        self._expected[frame_index] = detections, published, THINNED if is_left else 1

    def settle(self, frame_index: int, objects: Objects, saw_cnn: bool) -> None:
        """Told of every frame's labels as they leave."""
        detections, published, weight = self._expected.pop(frame_index, (None, None, 1))
        if saw_cnn:
            self.sums.certain += len(objects)
            return
        self.sums.open += 1
        if detections is not None:
            self.compare(objects if published is None else published, detections, weight)

    def compare(self, shown: Objects, detections: Objects, weight: int = 1) -> None:
        """What was published for a frame, and what the CNN finds in it; for one that was settled before the CNN had answered."""
        right, _ = pairs(shown, detections, self._groups)
        self.sums.take(len(right), len(shown), len(detections), weight)
