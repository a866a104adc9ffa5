"""The pilot: a price that a stream's cost, or its accuracy, follows is brought to where the goal is reached."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.base import Prices
from everyframe.pipeline.engines.base import Finished
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.labelling.audits import AuditSums
from everyframe.pipeline.labelling.goal import MOST, Pilot
from everyframe.pipeline.settings import Goal, LabelSettings, ModelSettings
from everyframe.policies.base import Decision, EveryFrame, Observation
from everyframe.policies.fixed import Stride
from everyframe.policies.learned import Learned
from everyframe.policies.registry import POLICIES, Entry

LOOK, DECODE, PLAIN = 30.0, 1.0, 0.9
PRICES = Prices({"detect": LOOK, "decode": DECODE, "plain": PLAIN})


class Follower(EveryFrame):
    """A policy whose share of looks grows with the root of its price; what price that takes differs between cameras."""

    def __init__(self) -> None:
        self.name = "follower"
        self.price = 1.0
        self.costs = (0.0, 0.0)

    def choose(self, observation: Observation) -> Decision:
        raise NotImplementedError

    def price_for(self, target_f1: float) -> float:
        return (0.1 / (1 - target_f1)) ** 2

    def price_for_cost(self, cost: float) -> float:
        return (cost / 0.1) ** 2


def test_a_policy_that_cannot_be_steered_is_left_alone() -> None:
    policy = Stride(5)
    before = dict(vars(policy))
    Pilot(policy, Goal(budget_ms=4), PRICES).frame(100, 100, 10, AuditSums())
    assert vars(policy) == before


def test_costs_and_first_price_are_set_before_the_first_frame() -> None:
    policy = Follower()
    Pilot(policy, Goal(speedup=10), PRICES)
    dense = LOOK + PLAIN
    assert policy.costs == pytest.approx((DECODE / dense, LOOK / dense))
    assert policy.price == pytest.approx(1.0)
    Pilot(policy, Goal(target_f1=0.95), PRICES)
    assert policy.price == pytest.approx(4.0)


def _run(policy: Follower, pilot: Pilot, camera: list[float]) -> float:
    """ms a frame that a stream comes to, in which a price of 1 makes `camera` looks a frame."""
    rng = np.random.default_rng(0)
    looks = 0
    for frame, share in enumerate(camera, 1):
        looks += int(rng.random() < min(share * math.sqrt(policy.price), 1))
        pilot.frame(frame, frame, looks, AuditSums())
    return DECODE + LOOK * looks / len(camera)


@given(share=st.floats(0.02, 0.4), budget=st.floats(2.5, 8.0))
@settings(max_examples=25, deadline=None)
def test_a_budget_is_kept_whatever_the_camera(share: float, budget: float) -> None:
    policy = Follower()
    pilot = Pilot(policy, Goal(budget_ms=budget), PRICES)
    assert _run(policy, pilot, [share] * 3000) == pytest.approx(budget, rel=0.1)


def test_a_budget_is_kept_when_an_empty_camera_turns_busy() -> None:
    policy = Follower()
    pilot = Pilot(policy, Goal(budget_ms=4.0), PRICES)
    cost = _run(policy, pilot, [0.02] * 1500 + [0.3] * 1500)
    assert cost == pytest.approx(4.0, rel=0.1)
    assert math.exp(-MOST) <= policy.price <= math.exp(MOST)


@pytest.mark.parametrize("camera", [0.25, 1.0, 4.0])
def test_an_accuracy_is_approached_as_audits_come(camera: float) -> None:
    """The error falls with the root of the price: camera times 0.1 at a price of 1."""
    policy = Follower()
    pilot = Pilot(policy, Goal(target_f1=0.9), PRICES)
    audits = AuditSums()
    rng = np.random.default_rng(1)
    for frame in range(1, 12_001):
        audits.open += 1
        error = min(camera * 0.1 / math.sqrt(policy.price), 0.9)
        if frame % 20 == 0:
            audits.take(int(rng.binomial(20, 1 - error)), 20, 20)
        pilot.frame(frame, frame, 0, audits)
    assert abs(1 - 0.9 - error) < abs(0.1 - min(camera * 0.1, 0.9)) / 2 + 0.01


def test_a_policy_that_gives_up_is_told_of_in_the_summary(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = lambda text, mode: Learned(None, mode, Path("no-such.safetensors"))
    monkeypatch.setitem(POLICIES, "learned", Entry("learned", "", broken))
    model = ModelSettings(imgsz=192, runtime="torch", precision="f32")
    wanted = LabelSettings(policy="learned", mode="lookahead", limit=20, model=model, goal=Goal(target_f1=0.9))
    events = list(LocalEngine().run([str(data_dir / "parking" / "parking.mp4")], wanted))
    assert isinstance(events[-1], Finished) and events[-1].error is None
    assert events[-1].stats.notes == ["Policy learned left this stream to motion, no usable weights."]
