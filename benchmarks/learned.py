"""The policy `learned` on recorded clips: cost against F1 beside strides, the optimum and what else there is.

Causal labels are played in the simulation. Looking ahead, where `learned` and `motion` look back, the product's worker plays
the traces, strides among them; costs are put together from looks and decoded frames by each trace's machine. The optimum is
the simulation's in both.

    python benchmarks/learned.py --write
    python benchmarks/learned.py --weights imitation.safetensors --weights learned.safetensors
    python benchmarks/learned.py --decode 0.25 --write
    python benchmarks/learned.py --clip parking --mode causal --plot learned.png

With --weights given several times each file is one row of means: seeds, or imitation beside reinforcement.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import tracing
from common import TRAFFIC, number
from tracing import Panel

from everyframe.pipeline.settings import Mode
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.training.curves import points_of
from everyframe.policies.brain import load
from everyframe.policies.learned import WEIGHTS
from everyframe.policies.simulation.optimum import Point, cost_at, regret
from everyframe.policies.training.judge import TARGETS, Judge, play

PRICES = tuple(np.geomspace(0.01, 30, 15).tolist())
REPLAYED = tuple(np.geomspace(0.05, 60, 9).tolist())
STRIDES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 60, 100)


@dataclass(frozen=True, slots=True)
class Played:
    """One clip in one mode: points of each curve, and of the policy `motion` where a trace can play it."""

    name: str
    learned: list[Point]
    strides: list[Point]
    optimum: list[Point]
    motion: Point | None

    def reached(self, f1: float) -> float:
        """Cost at an F1; where no price reaches it, with a share of the stream looked at frame by frame."""
        return cost_at([*self.learned, self.strides[0]], f1)


def main() -> None:
    made = tracing.parser(__doc__ or "")
    made.add_argument("--weights", action="append", help="of everyframe train; may be repeated; default: the package's")
    options = made.parse_args()
    common.need_data()
    names = options.clip or common.VALIDATION
    modes: Sequence[Mode] = options.mode or ("causal", "lookahead")
    paths = [tracing.trace_of(n, common.model_of(options), tracing.folder_of(options.traces), options.limit) for n in names]
    tables = [tracing.clip_table(path) for path in paths]
    parts, drawn = [], []
    for mode in modes:
        judge = Judge(tables, mode == "lookahead", options.decode)
        fixed = [_fixed(path, options) for path in paths] if judge.lookahead else [([], None)] * len(paths)
        for weights in options.weights or [""]:
            if judge.lookahead:
                played = _replayed(names, paths, judge, weights, fixed, options)
            else:
                points = play(load(weights or WEIGHTS)[0][mode], judge.arena, False, PRICES, options.decode)
                played = [Played(*row, None) for row in zip(names, points, judge.strides, judge.optima, strict=True)]
            title = mode if options.weights is None else f"{mode}, {Path(weights).stem}"
            parts += [f"### {title}", "", _table(played), "", _means(played), ""]
            drawn += [(mode, p) for p in played]
    if options.plot:
        tracing.draw([panel(mode, p) for mode, p in drawn], Path(options.plot))
    section = "learned" if options.decode is None else "learned, dear decoding"
    common.publish(section, "\n".join(parts), options.write)


Fixed = tuple[list[Point], Point | None]


def _fixed(path: Path, options: argparse.Namespace) -> Fixed:
    """Strides and `motion`."""
    common.tell(f"strides and motion of {path.name}")
    trace = tf.load(path)
    names = [*(f"stride:{n}" for n in STRIDES if n < len(trace)), "motion"]
    *strides, motion = points_of(trace, names, "lookahead", TRAFFIC, options.limit, options.decode)[1]
    return strides, motion


def _replayed(
    names: Sequence[str], paths: Sequence[Path], judge: Judge, weights: str, fixed: Sequence[Fixed], options: argparse.Namespace
) -> list[Played]:
    played = []
    for name, path, optimum, (strides, motion) in zip(names, paths, judge.optima, fixed, strict=True):
        common.tell(f"learned on {name}")
        policies = [":".join(("learned", f"{price:g}", *([weights] if weights else []))) for price in REPLAYED]
        points = points_of(tf.load(path), policies, "lookahead", TRAFFIC, options.limit, options.decode)[1]
        played.append(Played(name, points, strides, optimum, motion))
    return played


def _table(played: Sequence[Played]) -> str:
    heads = ["clip"]
    for f1 in TARGETS:
        heads += [f"F1 {f1:.2f}: learned", "stride", "optimum", "ratio"]
    heads += ["motion: F1", "cost", "learned there"]
    rows = []
    for p in played:
        row = [p.name]
        for f1 in TARGETS:
            mine, stride, best = p.reached(f1), cost_at(p.strides, f1), cost_at(p.optimum, f1)
            row += [f"{mine:.4f}", f"{stride:.4f}", f"{best:.4f}", f"{mine / stride:.2f}"]
        if p.motion is None:
            row += ["-", "-", "-"]
        else:
            row += [number(p.motion.f1), number(p.motion.cost, ".4f"), f"{p.reached(p.motion.f1):.4f}"]
        rows.append(row)
    return common.markdown(heads, rows)


def _means(played: Sequence[Played]) -> str:
    ratios = [p.reached(f1) / cost_at(p.strides, f1) for p in played for f1 in TARGETS]
    bests = [cost_at(p.optimum, f1) / cost_at(p.strides, f1) for p in played for f1 in TARGETS]
    left = [
        regret(p.reached(f1), cost_at(p.strides, f1), cost_at(p.optimum, f1)) for p in played for f1 in TARGETS
    ]
    text = (
        f"Means over clips and targets: cost over the best stride's {np.mean(ratios):.2f} (worst {max(ratios):.2f}; the "
        f"optimum's {np.mean(bests):.2f}); regret {np.mean(left):.0%}, median {np.median(left):.0%}"
    )
    known = [p.reached(p.motion.f1) / p.motion.cost for p in played if p.motion is not None]
    return text + (f"; cost over `motion`'s at its F1 {np.mean(known):.2f}." if known else ".")


def panel(mode: Mode, p: Played) -> Panel:
    curves = ((p.strides, "stride", "o-"), (p.learned, "learned", "s-"), (p.optimum, "optimum in hindsight", "k--"))
    return Panel(f"{p.name}, {mode}", curves if p.motion is None else (*curves, ([p.motion], "motion", "D")))


if __name__ == "__main__":
    main()
