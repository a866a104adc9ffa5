"""The table says what the product gives: counts, agreement and observations of the same looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracing import Recorded

from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.traces.playback import worker
from everyframe.pipeline.traces.replay import replay
from everyframe.policies.base import Decision, Observation, PacketFacts, Traits
from everyframe.policies.features import FEATURES, GATE_ONLY, PRICES
from everyframe.policies.registry import POLICIES, Entry
from everyframe.policies.simulation.baselines import play, stride
from everyframe.policies.simulation.counting import reported, right
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.simulation.vector import Draw, VectorKeyFrame
from everyframe.policies.watch import Watch


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_counts_are_those_of_the_metrics(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (n + m, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(15, 30, (n + m, 2))], 1).astype(np.float32)
    kinds = rng.integers(0, 2, n + m).astype(np.int32)
    ours, theirs = (Objects.of(boxes[s], np.ones(len(boxes[s])), kinds[s]) for s in (slice(0, n), slice(n, None)))
    expected = metrics.agree([ours], [theirs], np.arange(2, dtype=np.int32)).tp[0]
    groups = kinds.astype(np.int16)
    assert right(boxes[:n], groups[:n], np.ones(n, np.bool_), boxes[n:], groups[n:]) == expected


def test_doubles_are_not_reported() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 12], [50, 0, 60, 10]], np.float32)
    shown = np.ones(4, np.bool_)
    assert reported(boxes, np.array([0.5, 0.9, 0.6, 0.5], np.float32), np.array([0, 0, 1, 0], np.int32), shown) == 3
    assert shown.tolist() == [False, True, True, True]


@pytest.mark.parametrize("mode", ["causal", "lookahead"])
def test_strides_come_to_what_the_product_gives(mode: Mode, busy: Recorded, table: ClipTable) -> None:
    for every in (2, 7, 12):
        settings_ = LabelSettings(mode=mode, classes=("person",))
        real = replay(busy.trace, [f"stride:{every}"], settings_)[0]
        simulated = play(table, stride(every), "", mode == "lookahead")
        assert simulated.looks == round(real.cnn_fraction * len(table))
        assert simulated.f1 == pytest.approx(real.f1_dense, abs=0.02)


class Probe:
    """stride:N that keeps what `Watch` says."""

    name = "probe"
    traits = Traits()

    def __init__(self, every: int) -> None:
        self._every = every
        self._watch = Watch()
        self.chosen: dict[int, np.ndarray] = {}
        self.gated: dict[int, np.ndarray] = {}
        self.agreements: dict[int, float] = {}

    def reset(self, seed: int) -> None:
        pass

    def gate(self, packet: PacketFacts) -> bool:
        self.gated[packet.index] = self._watch.gate(packet)
        self._watch.passed(packet, True)
        return True

    def choose(self, observation: Observation) -> Decision:
        self.chosen[observation.frame_index] = self._watch.choose(observation)
        self.agreements[observation.frame_index] = observation.agreement
        if observation.frames_since_detect >= self._every:
            self._watch.looked()
            return Decision("detect", "")
        return Decision("propagate", "")


def test_a_policy_sees_in_a_run_what_it_was_trained_on(
    busy: Recorded, table: ClipTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = 6
    probe = Probe(every)
    monkeypatch.setitem(POLICIES, "probe", Entry("probe", "", lambda text, mode: probe))
    for _ in worker(busy.trace, LabelSettings(policy="probe", mode="causal")).chunks():
        pass
    env = VectorKeyFrame([table], 1, draw=Draw(decode=None))
    observation = env.reset(clips=[0], price=1.0)
    loose = np.array([name in (*PRICES, "stray", "alarm", "rate", "next_rate") for name in FEATURES])
    chosen, gated = [], []
    for t in range(len(table) - 1):
        if t > 0:
            chosen.append(np.abs(probe.chosen[t] - observation[0])[~loose & ~GATE_ONLY])
            gated.append(np.abs(probe.gated[t + 1] - observation[0])[~loose])
        if t % every == 1 and t > every:
            k = t - 1 - every
            assert probe.agreements[t] == pytest.approx(float(table.agreement[k, every]), abs=0.01)
        observation = env.step(np.array([t % every == 0]), np.ones(1, np.bool_)).observation
    for differences in (chosen, gated):  # a box may touch another one here and just not there
        assert np.mean(differences, 0).max() < 0.02
        assert np.median(differences, 0).max() < 0.002


def test_held_labels_stay_where_they_were(table: ClipTable) -> None:
    """Asleep after the first look: no cost but demuxing, and the counts of boxes that don't move."""
    env = VectorKeyFrame([table], 1, draw=Draw(decode=None))
    env.reset(clips=[0], price=1.0)
    first = env.step(np.ones(1, np.bool_), np.zeros(1, np.bool_))
    boxes = table.true_boxes[: table.true_first[1]]
    for t in range(1, 10):
        step = env.step(np.ones(1, np.bool_), np.zeros(1, np.bool_))
        a, b = table.true_first[t], table.true_first[t + 1]
        still = np.zeros(len(boxes), np.int16)
        shown = np.ones(len(boxes), np.bool_)
        assert step.right[0] == right(boxes, still, shown, table.true_boxes[a:b], np.zeros(b - a, np.int16))
        assert step.cost[0] == pytest.approx(table.costs.frame / table.costs.dense)
    assert first.cost[0] > 0.9
