"""The policies with several capacities of the detector on the ladder, against the full model alone and the cheap one alone.

    python benchmarks/capacities.py --write
    python benchmarks/capacities.py --motion --write
    python benchmarks/capacities.py --capacity small.safetensors --cost 0.2 --clip plaza

The product's worker plays recorded clips; F1 is against the full model on every frame. Costs are put together from looks and decoded
frames by what each trace says of its machine, in dense frames of the full model. What a look of the cheap model costs, in looks
of the full one, is given by --cost, and after a colon how much faster the full one is than when it was recorded: 0.33 is `fast`
where `full` is computed in float32, 0.63:1.91 where the CPU has bf16 (`python benchmarks/compressed.py`). About three minutes for
each mode and cost. --motion plays the policy `motion` in place of `learned`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import common
import numpy as np
import tracing
from common import TRAFFIC, number

from everyframe.pipeline.settings import Mode, ModelSettings
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.second import Second, load_second, record_second, save_second, second_path
from everyframe.pipeline.training.curves import points_of
from everyframe.policies.simulation.optimum import Point, cost_at

TARGETS = (0.85, 0.90, 0.95)
COSTS = ("0.33", "0.63:1.91")
PRICES: dict[Mode, Sequence[float]] = {
    "causal": np.geomspace(0.15, 4, 5).tolist(), "lookahead": np.geomspace(1, 60, 5).tolist(),
}  # fmt: skip
FRAMES = 250
HOW = ("", ", full in its best precision")


@dataclass(frozen=True, slots=True)
class Played:
    """One clip: points of `learned` with the full model alone, with both, and with the cheap one alone. error: of the cheap
    model's labels on every frame."""

    name: str
    error: float
    full: list[Point]
    both: list[Point]
    cheap: list[Point]


def main() -> None:
    made = tracing.parser(__doc__ or "")
    made.add_argument("--capacity", default="fast", help="the cheap model")
    made.add_argument("--cost", action="append", help="of a look of it, in looks of the full model; may be repeated")
    made.add_argument("--motion", action="store_true", help="the policy motion in place of learned")
    made.set_defaults(limit=FRAMES)
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    clips = [(name, *recorded(name, options)) for name in options.clip or common.VALIDATION]
    if options.motion:
        common.publish("capacities of motion", motion(clips, options), options.write)
        return
    parts = []
    for mode in options.mode or ("causal", "lookahead"):
        for cost in options.cost or COSTS:
            share, _, speed = cost.partition(":")
            played = [
                play(name, faster(trace, float(speed or 1)), second, mode, float(share), options.limit)
                for name, trace, second in clips
            ]
            parts += [f"### {mode}, a look of {options.capacity} costs {share}{HOW[bool(speed)]}", "", table(played, options.capacity), ""]
    common.publish("capacities", "\n".join(parts), options.write)


def recorded(name: str, options: argparse.Namespace) -> tuple[tf.Trace, Second]:
    """A clip's trace, and what the capacity finds on it."""
    path = tracing.trace_of(name, common.model_of(options), tracing.folder_of(options.traces))
    trace, beside = tf.load(path), second_path(path, options.capacity)
    if not beside.is_file():
        common.tell(f"{options.capacity} on {name}")
        save_second(record_second(str(common.CLIPS[name].path), ModelSettings(options.capacity)), Path(beside))
    return trace, load_second(beside, trace)


def faster(trace: tf.Trace, by: float) -> tf.Trace:
    """As on a machine whose full model takes `by` times less."""
    costs = {name: ms / by if name in ("detect", "prepare") else ms for name, ms in trace.costs.items()}
    crops = {size: ms / by for size, ms in trace.meta["crops"].items()}
    return replace(trace, meta={**trace.meta, "costs": costs, "crops": crops})


def play(name: str, trace: tf.Trace, second: Second, mode: Mode, cost: float, limit: int) -> Played:
    common.tell(f"{name}, {mode}, {cost:g}")
    policies = [f"learned:{price:.4g}" for price in PRICES[mode]]
    full = points_of(trace, policies, mode, TRAFFIC, limit)[1]
    both = points_of(trace, policies, mode, TRAFFIC, limit, capacities=[(second, cost)])[1]
    cheap = points_of(trace, [*policies, "dense"], mode, TRAFFIC, limit, own=(second, cost))[1]
    for kind, points in (("full", full), ("both", both), ("cheap", cheap)):
        common.tell(f"  {kind}: " + ", ".join(f"{p.f1:.3f} at {p.cost:.3f}" for p in points))
    return Played(name, 1 - cheap[-1].f1, full, both, cheap[:-1])


def table(played: Sequence[Played], capacity: str) -> str:
    heads = ["clip", f"wrong labels of {capacity}"]
    for f1 in TARGETS:
        heads += [f"F1 {f1:.2f}: full alone", "both", "ratio", f"{capacity} alone"]
    rows: list[list[str]] = []
    ratios: dict[tuple[float, str], list[float]] = {(f1, way): [] for f1 in TARGETS for way in ("both", "cheap")}
    for p in played:
        row = [p.name, number(p.error)]
        for f1 in TARGETS:
            full, both, cheap = (cost_at(points, f1) for points in (p.full, p.both, p.cheap))
            row += [shown(full), shown(both), shown(both / full), shown(cheap)]
            if np.isfinite(full):
                ratios[f1, "both"].append(both / full)
                ratios[f1, "cheap"].append(cheap / full)
        rows.append(row)
    lines = [
        f"At F1 {f1:.2f}: both {mean_of(ratios[f1, 'both'])}, {capacity} alone {mean_of(ratios[f1, 'cheap'])} of the full model's cost."
        for f1 in TARGETS
    ]
    return "\n".join([common.markdown(heads, rows), "", *lines])


def motion(clips: Sequence[tuple[str, tf.Trace, Second]], options: argparse.Namespace) -> str:
    """F1 and cost of the policy `motion` with the full model alone and with both, in each mode and at each cost."""
    heads, columns = ["clip"], []
    for mode in options.mode or ("causal", "lookahead"):
        for cost in options.cost or COSTS:
            share, _, speed = cost.partition(":")
            heads += [f"{mode}, {share}{HOW[bool(speed)]}: full alone", "both"]
            columns += [(mode, float(share), faster_by, others) for faster_by in (float(speed or 1),) for others in (False, True)]
    rows = []
    for name, trace, second in clips:
        common.tell(f"{name}, motion")
        row = [name]
        for mode, share, by, others in columns:
            capacities = [(second, share)] if others else []
            point = points_of(faster(trace, by), ["motion"], mode, TRAFFIC, options.limit, capacities=capacities)[1][0]
            row.append(f"{point.f1:.3f} at {point.cost:.3f}")
        rows.append(row)
    return common.markdown(heads, rows)


def shown(value: float) -> str:
    """A dash where an F1 is not reached."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def mean_of(ratios: Sequence[float]) -> str:
    """Geometric mean over the clips that reach an F1, with how many of those on which the full model does."""
    there = [ratio for ratio in ratios if np.isfinite(ratio)]
    return f"{float(np.exp(np.mean(np.log(there)))):.2f} (on {len(there)} of {len(ratios)} clips)" if there else "on no clip"


if __name__ == "__main__":
    main()
