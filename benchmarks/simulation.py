"""The simulation beside the product: its speed, and cost and F1 of the same policies simulated, replayed and run.

    python benchmarks/simulation.py --write
    python benchmarks/simulation.py --clip parking --mode causal
"""

from __future__ import annotations

from time import process_time

import common
import numpy as np
import tracing
from common import CLIPS, TRAFFIC, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.evaluation import Row
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.replay import replay
from everyframe.policies.simulation.baselines import iframes, play, stride
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.simulation.vector import VectorKeyFrame

POLICIES = ("stride:10", "stride:30", "iframes", "motion")
STREAMS, STEPS, ROUNDS = 256, 2000, 3
HEADS = ("clip", "mode", "policy", "F1 run", "replayed", "simulated", "cost run", "replayed", "simulated")


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, "the validation cameras, parking and pets_s2l1_ip")
    made.add_argument("--mode", action="append", choices=("causal", "lookahead"), help="default: both")
    made.add_argument("--traces", help="folder of traces; default: in the cache folder")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    names = options.clip or [*common.VALIDATION, "parking", "pets_s2l1_ip"]
    model, folder = common.model_of(options), tracing.folder_of(options.traces)
    paths = {name: tracing.trace_of(name, model, folder, options.limit) for name in names}
    tables = {name: tracing.clip_table(path) for name, path in paths.items()}
    sizes = [(name, path.stat().st_size / len(tables[name]) / 1e3) for name, path in paths.items()]
    speed = [(mode, _steps_per_second(list(tables.values()), mode == "lookahead")) for mode in ("causal", "lookahead")]
    lines = []
    for name in names:
        trace = tf.load(paths[name])
        for mode in options.mode or ("causal", "lookahead"):
            settings = LabelSettings(mode=mode, classes=TRAFFIC, limit=options.limit, model=model)
            common.tell(f"{name} {mode}")
            run = evaluation.evaluate(str(CLIPS[name].path), POLICIES, settings)
            played = replay(trace, POLICIES, settings)
            lines += [_line(name, tables[name], *rows) for rows in zip(run, played, strict=True)]
    text = [
        "Steps a second on one core, observation included: "
        + ", ".join(f"{mode} {value:,.0f}" for mode, value in speed) + f" ({STREAMS} streams, actions at random).",
        "", "Traces, kB a frame: " + ", ".join(f"{name} {size:.1f}" for name, size in sizes) + ".",
        "", common.markdown(HEADS, [line for line, _ in lines]), "", _summary([figures for _, figures in lines]),
    ]  # fmt: skip
    common.publish("simulation", "\n".join(text), options.write)


def _steps_per_second(tables: list[ClipTable], lookahead: bool) -> float:
    env = VectorKeyFrame(tables, STREAMS, lookahead)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    looks, decodes = rng.random((STEPS, STREAMS)) < 0.05, rng.random((STEPS, STREAMS)) < 0.8
    env.step(looks[0], decodes[0])
    spent = []
    for _ in range(ROUNDS):
        start = process_time()
        for look, decode in zip(looks, decodes, strict=True):
            env.step(look, decode)
        spent.append(process_time() - start)
    return STREAMS * STEPS / min(spent)


def _line(name: str, table: ClipTable, run: Row, played: Row) -> tuple[list[str], list[float]]:
    """One row of the table, and its figures: F1 and cost of the run, replayed, simulated (NaN where it is not)."""
    lookahead = run.mode == "lookahead"
    simulated = [float("nan")] * 2
    every = run.policy.partition(":")[2]
    if run.policy.startswith("stride"):
        point = play(table, stride(int(every)), run.policy, lookahead)
        simulated = [point.f1, point.cost]
    elif run.policy == "iframes" and not lookahead:
        point = play(table, iframes(table), run.policy)
        simulated = [point.f1, point.cost]
    costs = [(row.cpu_ms_per_frame or 0.0) / (row.dense_cpu_ms_per_frame or 1.0) for row in (run, played)]
    figures = [run.f1_dense, played.f1_dense, simulated[0], *costs, simulated[1]]
    cells = [number(None if np.isnan(v) else v, ".3f" if i < 3 else ".4f") for i, v in enumerate(figures)]
    return [name, run.mode, run.policy, *cells], figures


def _summary(figures: list[list[float]]) -> str:
    values = np.array(figures)
    lines = []
    for what, at in (("replayed", 1), ("simulated", 2)):
        known = ~np.isnan(values[:, at])
        f1 = np.abs(values[known, at] - values[known, 0])
        cost = values[known, at + 3] / values[known, 3] - 1
        lines.append(
            f"{what}: F1 off by {f1.mean():.4f} in the mean, {f1.max():.3f} at most; cost by {cost.mean():+.1%} in the mean, "
            f"{cost.min():+.0%} to {cost.max():+.0%} ({known.sum()} rows)."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
