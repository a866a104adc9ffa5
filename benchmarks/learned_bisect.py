"""Looking ahead by halving gaps between looks, in place of looking forward frame by frame: cost over the best stride's, and regret.

    python benchmarks/learned_bisect.py --write
    python benchmarks/learned_bisect.py --clip room --seeds 1

In the simulation, which labels gaps as the product does without looks back; every frame decoded. Networks are trained on the
training cameras, the table is of the validation cameras. Beside the shipped policy in the same game:

- halving by hand: while the labels of the first look, carried to the second, are wrong there for more than the price allows,
  times the frames between;
- halving by the network, by seed;
- halving told the errors between, which nobody knows before the frames are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch

import common
import numpy as np
import tracing
from learned_train import WEIGHTS as SHARES

from everyframe.policies.brain import load
from everyframe.policies.learned import WEIGHTS
from everyframe.policies.simulation.bisection import Gaps, Halves, halve
from everyframe.policies.simulation.optimum import Point
from everyframe.policies.training.bisection import Settings, train
from everyframe.policies.training.judge import Judge, play

PRICES = tuple(np.geomspace(0.03, 30, 15).tolist())
ROOT = 64
BY_HAND = 0.25
"""Errors grow towards the end of a gap whose first look goes wrong, and half of it is labelled from the second."""
Rule = Callable[[Gaps, float], Halves]


def main() -> None:
    made = tracing.parser(__doc__ or "")
    made.add_argument("--seeds", type=int, default=3)
    options = made.parse_args()
    common.need_data()
    names = options.clip or common.VALIDATION
    model, folder = common.model_of(options), tracing.folder_of(options.traces)

    def table(name: str) -> Gaps:
        return Gaps.of(tracing.clip_table(tracing.trace_of(name, model, folder, options.limit)))

    judged = [table(name) for name in names]
    judge = Judge([gaps.table for gaps in judged], lookahead=True)
    rows: list[tuple[str, Sequence[Sequence[Point]]]] = [
        ("shipped", play(load(WEIGHTS)[0]["lookahead"], judge.arena, True, PRICES)),
        ("halving by hand", _played(judged, by_hand)),
    ]
    apart = [name for name in common.CLIPS if name not in common.VALIDATION and name != "dashcam"]  # 38 frames
    shares = [next((s for pattern, s in SHARES.items() if fnmatch(name, pattern)), 1.0) for name in apart]
    clips = [table(name) for name in apart]
    for seed in range(options.seeds):
        common.tell(f"training, seed {seed}")
        net = train(clips, Settings(seed=seed), shares)
        rows.append((f"halving by network, seed {seed}", _played(judged, lambda _, price, net=net: net.halves(price))))
    rows += [("halving, told errors", _played(judged, told)), ("optimum", judge.optima)]
    common.publish("learned_bisect", tracing.table_of_means(judge, names, rows), options.write)


def by_hand(gaps: Gaps, price: float) -> Halves:
    return lambda k, d, x: price * BY_HAND * d * float(gaps.apart[k, d]) > 2 * gaps.mean


def told(gaps: Gaps, price: float) -> Halves:
    return lambda k, d, x: price * float(gaps.error[k, d]) > 2 * gaps.mean


def _played(judged: Sequence[Gaps], rule: Rule) -> list[list[Point]]:
    return [[halve(gaps, rule(gaps, price), ROOT, f"{price:.3g}") for price in PRICES] for gaps in judged]


if __name__ == "__main__":
    main()
