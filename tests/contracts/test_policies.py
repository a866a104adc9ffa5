"""What every registered policy keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.policies.base import Choosing, Decision, Observation, PacketFacts, Policy, Rung, is_whole_look
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
        since = 1 if decision is not None and is_whole_look(decision.rung) else since + 1


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


OFFERED = (Rung("detect@fast", 0.3, "whole", 0.01), Rung("detect@tiny", 0.1, "whole", 0.3), Rung("detect@dear", 1.4))
CHOOSING = [(spec, mode) for spec in SPECS for mode in ("causal", "lookahead") if isinstance(make_policy(spec), Choosing)]


@pytest.mark.parametrize(("spec", "mode"), CHOOSING)
class TestCapacities:
    """What a policy keeps to that is offered capacities of the detector."""

    def made(self, spec, mode, told=0.98):
        policy = make_policy(spec, mode)
        policy.offer(OFFERED)
        policy.reset(7)
        decisions = []
        for seed in (1, 2):
            steps = stream(seed, 400)
            step = next(steps)
            while True:
                packet, observation = step
                decision = policy.choose(observation) if policy.gate(packet) else None
                decisions.append(decision)
                for rung in decision.compare if decision else ():
                    policy.compared(rung, round(1000 * told), 2000)
                try:
                    step = steps.send(decision)
                except StopIteration:
                    break
        return policy, [d for d in decisions if d is not None]

    def test_it_chooses_what_it_was_offered_where_that_is_cheaper(self, spec, mode):
        policy, decisions = self.made(spec, mode)
        known = {"hold", "propagate", "detect", "detect@fast", "detect@tiny", *policy.traits.rungs}
        assert {d.rung for d in decisions} <= known
        assert any("@" in d.rung for d in decisions)

    def test_it_compares_where_the_full_one_looks(self, spec, mode):
        decisions = self.made(spec, mode)[1]
        compared = [d for d in decisions if d.compare]
        assert compared and all(d.rung == "detect" and set(d.compare) == {"detect@fast", "detect@tiny"} for d in compared)
        assert len(compared) < sum(is_whole_look(d.rung) for d in decisions) / 2

    def test_what_is_shown_to_be_wrong_is_not_chosen_for_long(self, spec, mode):
        decisions = [d for d in self.made(spec, mode, told=0.1)[1] if is_whole_look(d.rung)]
        assert not any("@" in d.rung for d in decisions[len(decisions) // 2 :])

    def test_reset_forgets_what_was_compared_and_keeps_the_offer(self, spec, mode):
        policy, decisions = self.made(spec, mode)
        policy.reset(7)
        again = self.made(spec, mode)[1]
        assert again == decisions

    def test_only_other_looks_at_the_whole_can_be_offered(self, spec, mode):
        for rung in (Rung("detect", 0.5), Rung("region", 0.3, "part")):
            with pytest.raises(ValueError, match="beside detect"):
                make_policy(spec, mode).offer([rung])


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
