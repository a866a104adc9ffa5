"""How good is what a run says of its own accuracy? 40 seeds' draws of audits against the F1 of all frames.

Every clip is labelled once, every frame of it compared with the dense detector; then the auditor draws, as it would in a run
with that seed. Detections come from the evaluation's cache.

    python benchmarks/audits.py --write
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import common
import numpy as np
from common import CLIPS, LONG, TRAFFIC, number
from numpy.typing import NDArray

from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.types import Origin
from everyframe.pipeline.costs.prices import priced_for
from everyframe.pipeline.evaluation import ReplayDetector, dense
from everyframe.pipeline.labelling.audits import Auditor, Estimate, estimate
from everyframe.pipeline.labelling.tracks import class_tables
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.metrics import SCORE, pairs, select
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.sources.file import FileSource

RUNS: tuple[tuple[str, Mode], ...] = (("stride:10", "causal"), ("motion", "lookahead"))
SHARES = (0.01, 0.03)
SEEDS = 40


@dataclass(frozen=True)
class Played:
    """Of each frame, (frames,): whether the CNN saw it whole, pairs, objects reported, objects of the dense detector."""

    seen: NDArray[np.bool_]
    right: NDArray[np.int64]
    shown: NDArray[np.int64]
    truth: NDArray[np.int64]

    @property
    def f1(self) -> float:
        return float(2 * self.right.sum() / (self.shown.sum() + self.truth.sum()))


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, f"{len(LONG)} clips of 500 frames and more")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    detector = load_detector()
    lines = []
    for policy, mode in RUNS:
        for name in options.clip or LONG:
            common.tell(f"{name} {policy}")
            settings = LabelSettings(policy=policy, mode=mode, classes=TRAFFIC, limit=options.limit, model=common.model_of(options))
            lines += [line(name, f"{policy} {mode}", play(name, settings, detector), share) for share in SHARES]
    heads = ("clip", "policy", "share", "audits", "f1_dense", "mean estimate", "spread", "width of interval", "holds it")
    common.publish(f"audits {options.runtime} {options.precision}", common.markdown(heads, lines), options.write)


def line(name: str, policy: str, played: Played, share: float) -> tuple[str, ...]:
    drawn = [one for one in (audited(played, share, seed) for seed in range(SEEDS)) if one is not None]
    f1 = np.array([one.f1 for one in drawn])
    return (
        name, policy, f"{share:.0%}", number(float(np.mean([one.frames for one in drawn])), ".1f"), number(played.f1),
        number(float(f1.mean())), number(float(f1.std())), number(float(np.mean([one.high - one.low for one in drawn]))),
        f"{sum(one.low <= played.f1 <= one.high for one in drawn)} of {len(drawn)}",
    )  # fmt: skip


def audited(played: Played, share: float, seed: int) -> Estimate | None:
    """What a run with this seed would have said."""
    auditor = Auditor(share, seed, 0, np.zeros(0, np.int32))
    sums = auditor.sums
    for t in range(len(played.seen)):
        if played.seen[t]:
            sums.certain += played.truth[t]
            continue
        sums.open += 1
        if auditor.draws(t):
            sums.take(int(played.right[t]), int(played.shown[t]), int(played.truth[t]))
    return estimate(sums)


def play(name: str, settings: LabelSettings, detector: NanoDetDetector) -> Played:
    path = str(CLIPS[name].path)
    known = dense(path, detector, settings.limit, measure=False)
    groups, wanted = class_tables(detector, settings.classes)
    rows = []
    with FileSource(path) as source:
        replayed = Detectors(ReplayDetector(known, detector)).get(settings, source.info)
        ready = replace(priced_for(settings, detector, source.info, path), limit=settings.limit)
        for chunk in StreamWorker(source, replayed, ready).chunks():
            for record in chunk:
                truth = select(known.frames[record.frame_index], wanted, SCORE)
                right, _ = pairs(record.objects, truth, groups)
                rows.append((record.origin == Origin.DETECTED, len(right), len(record.objects), len(truth)))
    table = np.array(rows, np.int64)
    return Played(table[:, 0] > 0, table[:, 1], table[:, 2], table[:, 3])


if __name__ == "__main__":
    main()
