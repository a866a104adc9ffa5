"""CPU time of the decisions of the policy `learned`, on the fields and tracks of recorded clips.

    python benchmarks/learned_speed.py --write
    python benchmarks/learned_speed.py --clip freeway720
"""

from __future__ import annotations

import time
from dataclasses import replace

import common
import numpy as np
import tracing
from common import TRAFFIC

from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.playback import player, prices_of
from everyframe.policies.base import Decision, Observation, PacketFacts, Policy


class Timed:
    """A policy, with the time that each decision took."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.name = policy.name
        self.gates: list[int] = []
        self.choices: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._policy, name)

    def gate(self, packet: PacketFacts) -> bool:
        began = time.perf_counter_ns()
        out = self._policy.gate(packet)
        self.gates.append(time.perf_counter_ns() - began)
        return out

    def choose(self, observation: Observation) -> Decision:
        began = time.perf_counter_ns()
        out = self._policy.choose(observation)
        self.choices.append(time.perf_counter_ns() - began)
        return out


def main() -> None:
    options = tracing.parser(__doc__ or "").parse_args()
    common.need_data()
    rows = []
    for name in options.clip or common.VALIDATION:
        path = tracing.trace_of(name, common.model_of(options), tracing.folder_of(options.traces), options.limit)
        for mode in options.mode or ("causal", "lookahead"):
            gate, choose = _times(tf.load(path), mode, options.limit)
            rows.append([name, mode, f"{gate:.0f}", f"{choose:.0f}"])
    common.publish("learned_speed", common.markdown(("clip", "mode", "gate, us", "choose, us"), rows), options.write)


def _times(trace: tf.Trace, mode: Mode, limit: int | None) -> tuple[float, float]:
    """Medians in microseconds: what else ran on the machine is in few of them."""
    settings = LabelSettings(policy="learned", mode=mode, classes=TRAFFIC, limit=limit)
    warm_up(settings.policy, settings.mode)
    worker = player(trace, replace(settings, prices=prices_of(trace))).worker
    timed = Timed(worker.policy)
    worker.policy = timed  # type: ignore[assignment]
    for _ in worker.chunks():
        pass
    return float(np.median(timed.gates)) / 1000, float(np.median(timed.choices)) / 1000


if __name__ == "__main__":
    main()
