"""The policy `learned` beside two that are taught by examples, with no reinforcement and no doubts added up, in the simulation.

    python benchmarks/learned_rivals.py --write
    python benchmarks/learned_rivals.py --clip room --mode causal --steps 40

- *imitation*: the same networks, taught the looks of the optimum in hindsight at each price (behavioural cloning).
- *detect or track*: the network that looks, taught to tell whether the carried labels of a frame are wrong by more than a share;
  it looks where that is likely enough, frame by frame (after Luo et al., Detect or Track, AAAI 2019; what their siamese network
  reads from pixels is read from the stream here).

All are trained on the training cameras and judged on the validation cameras; every frame is decoded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatch

import common
import numpy as np
import torch
import tracing
from learned_gap import PRICES
from learned_train import WEIGHTS as SHARES
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from everyframe.policies.base import F32
from everyframe.policies.brain import Brain, load
from everyframe.policies.learned import WEIGHTS
from everyframe.policies.simulation import game
from everyframe.policies.simulation.optimum import Point
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.simulation.vector import VectorKeyFrame
from everyframe.policies.train import ESTIMATED, Settings, Trainer
from everyframe.policies.training import graph as g
from everyframe.policies.training.judge import Doubts, Judge, play

WRONG = 0.2
"""Share of a frame's labels from which on they count as wrong."""
WIDE = tuple(np.geomspace(1.05, 1000, 15).tolist())
"""Prices of detect or track: it looks where the price times the chance is above 1."""
DEAR = (50.0, 100.0, 200.0, 400.0)
"""Further prices for imitation, which looks seldom at those of the shipped policy."""
NEVER = -60.0


class DetectOrTrack(Trainer):
    """Fits the network that looks to whether carried labels are wrong."""

    def _estimate(self, window: g.Window) -> tuple[Tensor, float]:
        table = window.graph.table
        rows = self._rng.integers(0, len(window.outcome), ESTIMATED)
        steps = np.minimum(self._rng.geometric(1 / 25, ESTIMATED), table.horizon)
        at = window.start + rows
        rows, steps, at = (part[at + steps < len(table)] for part in (rows, steps, at))
        c = table.carried
        labels = c.shown[at, steps] + table.truth[at + steps].astype(np.float32)
        wrong = (labels - 2 * c.right[at, steps]) > WRONG * labels
        logits = self.net.look(g.awake(window, rows, steps))
        return binary_cross_entropy_with_logits(logits, torch.from_numpy(wrong.astype(np.float32))), 0.0


def awake(brain: Brain) -> Doubts:
    """Its network that looks; the gate was not taught."""
    return lambda env, observation: brain.look(observation)


def detect_or_track(brain: Brain) -> Doubts:
    def doubts(env: VectorKeyFrame, observation: F32) -> F32:
        chance = 1 / (1 + np.exp(-brain.look(observation)))
        looks = env.real[:, game.PRICE] * chance > 1
        return np.where(looks, 0.0, NEVER).astype(np.float32)

    return doubts


def main() -> None:
    made = tracing.parser(__doc__ or "")
    made.add_argument("--steps", type=int, default=200, help="of training")
    options = made.parse_args()
    common.need_data()
    names = options.clip or common.VALIDATION
    judged = [_table(name, options) for name in names]
    apart = [name for name in common.CLIPS if name not in common.VALIDATION and name != "dashcam"]  # 38 frames
    shares = [next((s for pattern, s in SHARES.items() if fnmatch(name, pattern)), 1.0) for name in apart]
    clips = [_table(name, options) for name in apart]
    parts = []
    for mode in options.mode or ("causal", "lookahead"):
        judge = Judge(judged, mode == "lookahead", options.decode)
        rows: list[tuple[str, Sequence[Sequence[Point]]]] = [
            ("shipped", _played(load(WEIGHTS)[0][mode], judge)),
            ("imitation", _played(awake(_taught(Trainer, clips, shares, judge.lookahead, options.steps)), judge, (*PRICES, *DEAR))),
            (
                "detect or track",
                _played(detect_or_track(_taught(DetectOrTrack, clips, shares, judge.lookahead, options.steps)), judge, WIDE),
            ),
            ("optimum", judge.optima),
        ]
        parts += [f"### {mode}", "", tracing.table_of_means(judge, names, rows), ""]
    common.publish("learned_rivals", "\n".join(parts), options.write)


def _table(name: str, options: argparse.Namespace) -> ClipTable:
    model, folder = common.model_of(options), tracing.folder_of(options.traces)
    return tracing.clip_table(tracing.trace_of(name, model, folder, options.limit))


def _taught(
    kind: type[Trainer], clips: Sequence[ClipTable], shares: Sequence[float], lookahead: bool, steps: int
) -> Brain:
    """Without a judge: the last weights are taken, none are chosen."""
    common.tell(f"training {kind.__name__}")
    estimation = steps if kind is DetectOrTrack else 0
    settings = Settings(lookahead, steps, estimation, steps - estimation, sleeps=False, judge_every=steps)
    return kind(clips, None, settings, shares).run()


def _played(brain: Brain | Doubts, judge: Judge, prices: Sequence[float] = PRICES) -> list[list[Point]]:
    return play(brain, judge.arena, judge.lookahead, prices, judge.decode)


if __name__ == "__main__":
    main()
