"""`learned`: its brain in numpy, its pace, what it says, and what takes over where it cannot be used."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from everyframe.policies import learned as module
from everyframe.policies.base import Observation, PacketFacts
from everyframe.policies.brain import GROUPS, SLEEPS, VERSION, Brain, BrainError, Curve, load, save
from everyframe.policies.features import FEATURES, GATE_ONLY
from everyframe.policies.learned import WEIGHTS, Learned
from everyframe.policies.motion import Motion
from everyframe.policies.pace import Pace

N = len(FEATURES)


def brain_of(look_bias: float = 0.0, sleep_bias: float = -9.0, wake_bias: float = -9.0, seed: int = 0) -> Brain:
    rng = np.random.default_rng(seed)

    def layers(bias: list[float], size: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        shapes = [(N, 8), (8, 8), (8, len(bias))]
        made = [(rng.normal(0, size, s).astype(np.float32), np.zeros(s[1], np.float32)) for s in shapes]
        made[-1] = (made[-1][0], np.array(bias, np.float32))
        return tuple(made)

    ones = np.ones(N, np.float32)
    return Brain(
        0 * ones, ones, -100 * ones, 100 * ones, layers([look_bias], 0.05), layers([sleep_bias, wake_bias], 0.05),
        rng.normal(0, 0.02, (N, 1)).astype(np.float32), rng.normal(0, 0.02, (N, 2)).astype(np.float32),
        Curve((0.1, 1.0, 10.0), (0.7, 0.9, 0.99), (0.01, 0.1, 0.5)),
    )  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    save({"causal": brain_of(), "lookahead": brain_of(seed=1)}, path, {"seed": 3})
    return path


def observed(index: int, since: int, speed: float = 0.0) -> tuple[PacketFacts, Observation]:
    facts = PacketFacts(index, 900, index % 50 == 0, "P", True, index / 25)
    motion = np.full((12, 16, 2), speed, np.float32)
    boxes = np.array([[10, 10, 50, 60]], np.float32)
    return facts, Observation(
        facts, index, since, motion, np.ones((12, 16), np.bool_), 8, boxes, np.array([0.8], np.float32),
        np.array([since], np.int32), np.zeros(1, np.int32), float("nan"),
    )  # fmt: skip


def played(policy: Learned, frames: int) -> list[tuple[bool, str, str]]:
    out, since = [], 1 << 30
    for i in range(frames):
        facts, observation = observed(i, since)
        decodes = policy.gate(facts)
        decision = policy.choose(observation) if decodes else None
        out.append((decodes, decision.rung if decision else "", decision.reason if decision else ""))
        since = 1 if decision and decision.rung == "detect" else since + 1
    return out


class TestBrain:
    def test_a_file_gives_back_what_was_saved(self, weights: Path) -> None:
        brains, settings = load(weights)
        assert settings == {"seed": 3} and set(brains) == {"causal", "lookahead"}
        x = np.random.default_rng(0).normal(0, 1, (5, N)).astype(np.float32)
        np.testing.assert_array_equal(brains["causal"].look(x), brain_of().look(x))
        np.testing.assert_array_equal(brains["causal"].gate(x), brain_of().gate(x))
        assert brains["causal"].curve == brain_of().curve

    def test_what_weighed_adds_up_to_the_slope_of_the_logit(self) -> None:
        brain = brain_of(seed=5)
        x = np.random.default_rng(1).normal(0, 0.5, N).astype(np.float32)
        logit, parts = brain.weighed(x)
        assert logit == pytest.approx(float(brain.look(x[None])[0]), abs=1e-5)
        assert len(parts) == len(GROUPS)
        step = 1e-3
        slope = (float(brain.look(((1 + step) * x)[None])[0]) - float(brain.look(((1 - step) * x)[None])[0])) / (2 * step)
        prices = [i for i, name in enumerate(FEATURES) if name in ("price", "cost_decode", "cost_look")]
        bare = x.copy()
        bare[prices] = 0
        _, without = brain.weighed(bare)
        assert without.sum() == pytest.approx(float(brain.weighed(bare)[1].sum()))
        assert abs(parts.sum() - slope) <= abs(slope) + 1.0

    def test_looking_does_not_use_the_next_packet(self) -> None:
        brain = brain_of()
        x = np.zeros((2, N), np.float32)
        x[1, GATE_ONLY] = 3.0
        assert np.ptp(brain.look(x)) == 0
        assert np.ptp(brain.gate(x)[:, 0]) > 0

    def test_the_curve_gives_prices_that_rise_with_the_target(self) -> None:
        curve = brain_of().curve
        assert curve.price_for(0.9) == pytest.approx(1.0, rel=1e-4)
        prices = [curve.price_for(f) for f in (0.5, 0.7, 0.8, 0.95, 0.999)]
        assert prices == sorted(prices) and prices[0] == pytest.approx(0.1) and prices[-1] == pytest.approx(10.0)

    @pytest.mark.parametrize("fault", ["missing", "empty", "nan", "version", "features", "shape", "other"])
    def test_files_that_cannot_be_used_are_one_sentence(self, weights: Path, fault: str) -> None:
        spoil(weights, fault)
        with pytest.raises(BrainError) as caught:
            load(weights)
        assert "\n" not in str(caught.value)


def spoil(path: Path, fault: str) -> None:
    if fault == "missing":
        path.unlink()
        return
    if fault == "empty":
        path.write_bytes(b"")
        return
    with safe_open(str(path), "numpy") as file:
        about = file.metadata()
    arrays = load_file(str(path))
    if fault == "nan":
        arrays["causal.look.0.weights"][0, 0] = np.nan
    if fault == "shape":
        arrays["causal.look.0.weights"] = arrays["causal.look.0.weights"][1:]
    if fault == "version":
        about["everyframe"] = about["everyframe"].replace(f'"version": {VERSION}', '"version": 99')
    if fault == "features":
        about["everyframe"] = about["everyframe"].replace("since_look", "another")
    save_file(arrays, str(path), None if fault == "other" else about)


class TestPace:
    def test_it_looks_when_doubts_add_up_to_a_look(self) -> None:
        pace = Pace(2)
        doubts = np.log(np.array([0.15, 1.2], np.float32))
        seen = []
        for _ in range(14):
            looks = pace.look(doubts)
            seen.append(looks.copy())
            pace.looked(looks)
        assert np.flatnonzero([s[0] for s in seen]).tolist() == [6, 13]
        assert all(s[1] for s in seen)

    def test_it_falls_asleep_at_the_given_ages_and_looks_after_waking(self) -> None:
        pace = Pace(1)
        low, high = np.full(1, -20, np.float32), np.float32(20)
        for age in range(6):
            pace.since[:] = age
            assert not pace.look(low)[0]
            decodes = bool(pace.decodes(np.array([[high if age >= 2 else -high, -high]], np.float32))[0])
            assert decodes == (age < SLEEPS[1])
            if not decodes:
                break
        assert bool(pace.asleep[0])
        assert bool(pace.decodes(np.array([[-high, high]]))[0])
        assert bool(pace.look(low)[0])

    def test_no_stream_goes_without_a_look_for_ever(self) -> None:
        pace = Pace(1)
        never = np.array([[50.0, -50.0]], np.float32)
        for age in range(400):
            pace.since[:] = age
            if pace.look(never[:, 0] - 100)[0]:
                break
            pace.decodes(never)
        assert age <= 300


class TestPolicy:
    @pytest.mark.parametrize("mode", ["causal", "lookahead"])
    def test_equal_streams_give_equal_decisions_and_reset_forgets(self, weights: Path, mode) -> None:
        policy = Learned(1.0, mode, weights)
        first = played(policy, 80)
        policy.reset(0)
        assert played(policy, 80) == first
        assert first[0][1] == "detect" and all(reason for decodes, _, reason in first if decodes)

    def test_the_price_and_the_costs_reach_the_features(self, weights: Path) -> None:
        policy = Learned(2.0, "causal", weights)
        policy.costs = (0.25, 0.75)
        played(policy, 3)
        seen = policy.explain()
        assert seen["features"]["price"] == pytest.approx(np.log(2.0))
        assert seen["features"]["cost_decode"] == pytest.approx(np.log(0.25))
        policy.price = 8.0
        policy.choose(observed(3, 1)[1])
        assert policy.explain()["features"]["price"] == pytest.approx(np.log(8.0))
        assert set(seen["chances"]) == {"detect", "propagate", "hold", "wake"}
        assert set(seen["weighed"]) == set(GROUPS) and seen["price"] == 2.0

    def test_without_a_price_it_aims_at_nine_tenths(self, weights: Path) -> None:
        policy = Learned(None, "lookahead", weights)
        assert policy.name == "learned" and policy.price == pytest.approx(policy.price_for(0.9))
        assert policy.price_for(0.95) > policy.price > policy.price_for(0.8)

    @pytest.mark.parametrize("fault", ["missing", "empty", "nan", "version", "features"])
    def test_without_usable_weights_motion_decides_and_it_is_said(self, weights, fault, caplog, monkeypatch) -> None:
        spoil(weights, fault)
        module._warn.cache_clear()
        monkeypatch.setattr(logging.getLogger("everyframe"), "propagate", True)
        policy = Learned(None, "lookahead", weights)
        assert len({id(r) for r in caplog.records}) == 1 and "motion decides" in caplog.text
        decisions = played(policy, 30)
        assert any(rung == "detect" for _, rung, _ in decisions)
        assert all("no usable weights" in reason for decodes, _, reason in decisions if decodes)
        assert policy.price_for(0.9) == 1.0 and "no usable weights" in policy.explain()["fallback"]

    def test_a_camera_unlike_any_is_left_to_motion(self, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        never = np.full(N, 50, np.float32)
        save({"causal": replace(brain_of(), lowest=never, highest=never + 1)}, path, {})
        policy = Learned(1.0, "causal", path)
        decisions = played(policy, 200)
        assert "unlike" not in decisions[10][2] and "unlike any camera" in decisions[-1][2]

    def test_someone_elses_look_begins_a_new_wait(self, weights: Path) -> None:
        policy = Learned(1.0, "causal", weights)
        played(policy, 40)
        before = policy.explain()["features"]["since_look"]
        facts, observation = observed(40, 1)
        policy.gate(facts)
        policy.choose(observation)
        assert policy.explain()["features"]["since_look"] <= max(before, np.log1p(1) / np.log1p(300) + 1e-6)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="no weights in the package")
class TestShipped:
    @pytest.mark.parametrize("mode", ["causal", "lookahead"])
    def test_they_are_small_whole_and_answer_every_target(self, mode) -> None:
        assert WEIGHTS.stat().st_size < 1 << 20
        policy = Learned(None, mode)
        assert policy.note == ""
        prices = [policy.price_for(f) for f in (0.8, 0.85, 0.9, 0.95)]
        assert prices == sorted(prices) and prices[0] > 0 and np.isfinite(prices).all()
        assert any(rung == "detect" for _, rung, _ in played(policy, 100))


def test_compiled_turns_say_what_the_arrays_say() -> None:
    rng = np.random.default_rng(4)
    for seed in range(5):
        brain = replace(brain_of(0.3, -0.5, 0.2, seed), lowest=-np.ones(N, np.float32), highest=np.ones(N, np.float32))
        x = rng.normal(0, 2, N).astype(np.float32)
        np.testing.assert_allclose(brain.gate_one(x), brain.gate(x[None])[0], rtol=1e-5, atol=1e-6)
        for gate, logit in ((None, brain.look(x[None])[0]), (0, brain.gate(x[None])[0, 0]), (1, brain.gate(x[None])[0, 1])):
            assert brain.weighed(x, gate)[0] == pytest.approx(float(logit), rel=1e-5, abs=1e-6)
        assert brain.strangeness(np.zeros(N, np.float32)) == 0.0
        at = FEATURES.index("stray")
        assert brain.strangeness(np.eye(N, dtype=np.float32)[at] * 4) == pytest.approx(1.5)
        assert brain.strangeness(np.eye(N, dtype=np.float32)[FEATURES.index("price")] * 4) == 0.0


def test_what_weighed_is_the_slope_times_the_input() -> None:
    brain = brain_of(seed=2)
    x = np.zeros(N, np.float32)
    at = FEATURES.index("agreement")
    x[at] = 0.5
    added = brain.weighed(x)[1]
    step = np.eye(N, dtype=np.float32)[at] * np.float32(1e-2)
    slope = (brain.look((x + step)[None])[0] - brain.look((x - step)[None])[0]) / 2e-2
    assert added[GROUPS.index("tracks disagreed")] == pytest.approx(0.5 * float(slope), rel=0.05)
    assert np.count_nonzero(added) == 1


def test_looking_ahead_it_looks_back_the_more_the_dearer_errors_are(weights: Path) -> None:
    policy = Learned(1.0, "lookahead", weights)
    before = policy.traits.look_back
    policy.price = 4.0
    assert 0 < policy.traits.look_back == pytest.approx(before / 4)
    causal = Learned(1.0, "causal", weights)
    causal.price = 4.0
    assert causal.traits.look_back == 0.0
    gone = Learned(1.0, "lookahead", weights.with_name("none.safetensors"))
    usual = gone.traits
    gone.price = 9.0
    assert gone.traits == usual == Motion("lookahead").traits
