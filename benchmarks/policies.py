"""Every policy on the same recorded clips: cost against F1, beside the best stride and the optimum in hindsight.

    python benchmarks/policies.py --write
    python benchmarks/policies.py --clip parking --mode causal --plot parking.png
    python benchmarks/policies.py --policy motion --decode 0.25
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import common
import numpy as np
import tracing
from common import TRAFFIC, number
from tracing import Panel

from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.replay import Machine, replay
from everyframe.policies.simulation.baselines import iframes, play, random, strides
from everyframe.policies.simulation.optimum import Point, cost_at, curve, regret
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.training.judge import TARGETS

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
REPLAYED = ("motion", "iframes")


@dataclass(frozen=True, slots=True)
class Played:
    """One clip in one mode. strides, random, optimum: points of each curve; others: policies replayed."""

    name: str
    mode: Mode
    strides: list[Point]
    random: list[Point]
    optimum: list[Point]
    others: list[Point]


def main() -> None:
    made = tracing.parser(__doc__ or "")
    made.add_argument("--policy", action="append", help=f"replayed; may be repeated; default: {', '.join(REPLAYED)}")
    options = made.parse_args()
    common.need_data()
    modes: Sequence[Mode] = options.mode or ("causal", "lookahead")
    played = [_clip(name, mode, options) for name in options.clip or common.VALIDATION for mode in modes]
    if options.plot:
        tracing.draw([panel(p) for p in played], Path(options.plot))
    section = "policies" if options.decode is None else "policies, dear decoding"
    common.publish(section, _report(played, modes), options.write)


def _clip(name: str, mode: Mode, options: argparse.Namespace) -> Played:
    model, folder = common.model_of(options), tracing.folder_of(options.traces)
    path = tracing.trace_of(name, model, folder, options.limit)
    table = tracing.clip_table(path)
    machine = Machine()
    trace = tf.load(path)
    if options.decode is not None:
        table = replace(table, costs=table.costs.with_ratio(options.decode))
        machine = Machine(decode=float(table.costs.decode.mean()))
    ahead = mode == "lookahead"
    settings = LabelSettings(mode=mode, classes=TRAFFIC, limit=options.limit, model=model)
    rows = replay(trace, options.policy or REPLAYED, settings, machine)
    others = [
        Point(
            row.policy, (row.cpu_ms_per_frame or 0) / (row.dense_cpu_ms_per_frame or 1), row.f1_dense,
            round(row.cnn_fraction * row.frames), row.decode_fraction,
        )
        for row in rows
    ]  # fmt: skip
    drawn = [play(table, random(share), f"random:{share:g}", ahead) for share in SHARES]
    return Played(name, mode, strides(table, ahead), drawn, curve(table, ahead), [*others, *_held(table, ahead)])


def _held(table: ClipTable, ahead: bool) -> list[Point]:
    """Key frames alone, with their labels held: what looking ahead makes better is replayed."""
    return [] if ahead else [play(table, iframes(table), "iframes, simulated")]


def _report(played: Sequence[Played], modes: Sequence[Mode]) -> str:
    parts = []
    for mode in modes:
        clips = [p for p in played if p.mode == mode]
        parts += [f"### {mode}", "", "Cost in dense frames to reach a target F1:", "", _targets(clips), ""]
        parts += ["At the F1 that each policy reaches:", "", _at_own(clips), ""]
    return "\n".join(parts)


def _targets(clips: Sequence[Played]) -> str:
    heads = ["clip", *(f"{what} {f1:.2f}" for f1 in TARGETS for what in ("stride", "random", "optimum"))]
    rows = [
        [p.name, *(_cost(points, f1) for f1 in TARGETS for points in (p.strides, p.random, p.optimum))] for p in clips
    ]
    return common.markdown(heads, rows)


def _cost(points: Sequence[Point], f1: float) -> str:
    cost = cost_at(points, f1)
    return "-" if math.isinf(cost) else f"{cost:.4f}"


def _at_own(clips: Sequence[Played]) -> str:
    heads = ("clip", "policy", "F1", "cost", "best stride", "optimum", "regret", "looks", "decoded")
    rows = []
    regrets: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for p in clips:
        for point in p.others:
            best, least = cost_at(p.strides, point.f1), cost_at(p.optimum, point.f1)
            left = regret(point.cost, best, least) if math.isfinite(best) else float("nan")
            regrets.setdefault(point.name, []).append(left)
            ratios.setdefault(point.name, []).append(point.cost / best)
            rows.append([
                p.name, point.name, number(point.f1), number(point.cost, ".4f"), number(best, ".4f"),
                number(least, ".4f"), number(None if math.isnan(left) else left, ".0%"), str(point.looks),
                number(point.decoded, ".0%"),
            ])  # fmt: skip
    means = "; ".join(
        f"{name} {np.nanmedian(values):.0%}, cost {np.mean(ratios[name]):.2f} of the stride's in the mean"
        for name, values in regrets.items()
    )
    return common.markdown(heads, rows) + f"\n\nMedian regret (0 %: the optimum, 100 %: the best stride): {means}."


def panel(p: Played) -> Panel:
    curves = (
        (p.strides, "stride", "o-"), (p.random, "random", "x:"), (p.optimum, "optimum in hindsight", "k--"),
        *(([q], q.name, "s") for q in p.others),
    )  # fmt: skip
    return Panel(f"{p.name}, {p.mode}", curves)


if __name__ == "__main__":
    main()
