"""What every registered policy keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.policies.base import Decision, Observation, PacketFacts, Policy
from everyframe.policies.registry import POLICIES, PolicyError, make_policy

NUMBERS = {"stride": ":3", "flow": ":3", "lattice": ":3", "random": ":0.3"}
SPECS = [name + NUMBERS.get(name, "") for name in POLICIES]


def stream(seed: int, frames: int = 120):
    """Packets and observations of a made-up camera."""
    rng = np.random.default_rng(seed)
    since = 1 << 30
    for i in range(frames):
        packet = PacketFacts(i, int(rng.integers(50, 5000)), i % 30 == 0, "I" if i % 30 == 0 else "P", True, i / 25)
        motion = rng.normal(0, 1, (12, 16, 2)).astype(np.float32)
        boxes = np.array([[10, 10, 50, 60], [70, 20, 100, 90]], np.float32)
        observe = Observation(
            packet, i, since, motion, rng.random((12, 16)) > 0.1, 8, boxes,
            np.array([0.9, 0.6], np.float32), np.array([since, since], np.int32), np.array([0, 2], np.int32),
            float("nan") if i < 5 else 0.9,
        )  # fmt: skip
        decision = yield packet, observe
        since = 1 if decision is not None and decision.rung == "detect" else since + 1


def run(policy: Policy, seed: int) -> list[tuple[bool, str, str]]:
    out = []
    steps = stream(seed)
    step = next(steps)
    while True:
        packet, observation = step
        decodes = policy.gate(packet)
        decision = policy.choose(observation) if decodes else None
        out.append((decodes, decision.rung if decision else "", decision.reason if decision else ""))
        try:
            step = steps.send(decision)
        except StopIteration:
            return out


@pytest.mark.parametrize("spec", SPECS)
class TestContract:
    def test_its_name_makes_it_again(self, spec):
        assert make_policy(make_policy(spec).name).name == make_policy(spec).name == spec

    def test_decisions_are_rungs_with_reasons(self, spec):
        policy = make_policy(spec)
        policy.reset(0)
        for decodes, rung, reason in run(policy, 1):
            assert isinstance(decodes, bool | np.bool_)
            assert not decodes or (rung in {"hold", "propagate", "detect", *policy.traits.rungs} and reason)

    def test_equal_seeds_give_equal_decisions_and_reset_forgets_everything(self, spec):
        policy = make_policy(spec)
        policy.reset(7)
        first = run(policy, 1)
        run(policy, 2)
        policy.reset(7)
        assert run(policy, 1) == first

    def test_it_looks_now_and_then(self, spec):
        policy = make_policy(spec)
        policy.reset(0)
        assert any(rung in ("detect", "region", "residual") for _, rung, _ in run(policy, 1))

    def test_it_says_how_it_is_to_be_run(self, spec):
        policy = make_policy(spec)
        assert policy.traits.look_back >= 0 and isinstance(policy.traits.keys_only, bool)


@pytest.mark.parametrize("spec", ["stride:0", "stride:x", "stride", "lattice:0", "lattice", "random:0", "random:2", "dense:3", "strode:3", "", "x"])
def test_a_wrong_name_or_number_is_one_sentence(spec):
    with pytest.raises(PolicyError) as caught:
        make_policy(spec)
    assert "\n" not in str(caught.value)


def test_the_nearest_name_is_offered():
    with pytest.raises(PolicyError, match="stride:N"):
        make_policy("strde:10")


def test_a_decision_is_data():
    assert Decision("detect", "why") == Decision("detect", "why")
