"""What keeps the policy `learned` from the optimum in hindsight: what it cannot know, the form of its rule, or its training.

    python benchmarks/learned_gap.py --write
    python benchmarks/learned_gap.py --clip room --mode causal --seeds 1

On the same tables, in the game itself (without looks back), cost over the best stride's and regret of:

- the policy as it is shipped;
- the same networks fitted to the very cameras they are judged on: what is left then is no matter of training or of data;
- the same rule told the truth: what errors on the frame now come to, in place of what the network makes of the stream; and
  the truth some frames late;
- the optimum that decodes every frame, and the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence

import common
import numpy as np
import tracing

from everyframe.policies.base import F32
from everyframe.policies.brain import Brain, load
from everyframe.policies.learned import WEIGHTS
from everyframe.policies.simulation import game
from everyframe.policies.simulation.optimum import Point, curve
from everyframe.policies.simulation.vector import VectorKeyFrame
from everyframe.policies.train import Settings, Trainer, beyond_looks
from everyframe.policies.training import graph as g
from everyframe.policies.training.judge import Doubts, Judge, play

PRICES = tuple(np.geomspace(0.01, 30, 15).tolist())
LATE = (1, 5, 20)
LEAST = 1e-12


def main() -> None:
    made = tracing.parser(__doc__ or "")
    made.add_argument("--seeds", type=int, default=3, help="fits to the judged cameras themselves")
    options = made.parse_args()
    common.need_data()
    names = options.clip or common.VALIDATION
    model, folder = common.model_of(options), tracing.folder_of(options.traces)
    tables = [tracing.clip_table(tracing.trace_of(n, model, folder, options.limit)) for n in names]
    parts = []
    for mode in options.mode or ("causal", "lookahead"):
        judge = Judge(tables, mode == "lookahead", options.decode)
        rows: list[tuple[str, Sequence[Sequence[Point]]]] = [
            ("shipped", _played(load(WEIGHTS)[0][mode], judge)),
            ("fitted to these cameras", _fitted(judge, options.seeds)),
            *((f"truth, {late} frames late", _played(known(judge, late), judge)) for late in reversed(LATE)),
            ("truth", _played(known(judge), judge)),
            ("optimum, all decoded", [curve(t, judge.lookahead, sleeps=False) for t in judge.machine]),
            ("optimum", judge.optima),
        ]
        parts += [f"### {mode}", "", tracing.table_of_means(judge, names, rows), ""]
    common.publish("learned_gap", "\n".join(parts), options.write)


def known(judge: Judge, late: int = 0) -> Doubts:
    """Doubts that are what errors come to, as they were `late` frames ago: no network, and no price of what is yet to come."""
    extra = np.zeros((int(judge.arena.clips.length.sum()), judge.arena.horizon + 1), np.float32)
    for base, table in zip(judge.arena.clips.base.tolist(), judge.tables, strict=True):
        graph = g.Graph.of(table, judge.lookahead)
        at, steps = np.nonzero(np.arange(len(table))[:, None] + np.arange(table.horizon + 1) < len(table))
        at, steps = at[steps > 0], steps[steps > 0]
        extra[base + at, steps] = beyond_looks(graph, at, steps, judge.lookahead)

    def doubts(env: VectorKeyFrame, observation: F32) -> F32:
        whole, real = env.whole, env.real
        look = judge.arena.clips.base[whole[:, game.CLIP]] + whole[:, game.LOOK]
        steps = np.clip(whole[:, game.NOW] - whole[:, game.LOOK] - late, 0, judge.arena.horizon)
        looks = real[:, game.PRICE] * extra[look, steps] / real[:, game.NORM] / real[:, game.LOOK_COST]
        out: F32 = np.log(np.maximum(looks, LEAST)).astype(np.float32)
        return out

    return doubts


def _played(brain: Brain | Doubts, judge: Judge) -> list[list[Point]]:
    return play(brain, judge.arena, judge.lookahead, PRICES, judge.decode)


def _fitted(judge: Judge, seeds: int) -> list[list[Point]]:
    """The best of some fits to the judged clips."""
    best, points = float("inf"), []
    for seed in range(seeds):
        steps = Settings().estimation
        trainer = Trainer(judge.tables, judge, Settings(judge.lookahead, steps, steps, sleeps=False, seed=seed))
        brain = trainer.run()
        if trainer.state.best_score < best:
            best, points = trainer.state.best_score, _played(brain, judge)
    return points


if __name__ == "__main__":
    main()
