"""Weights of few bits: packed and read again, rounded as the papers say, learned with, and computed in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.compress import aware, lowbit
from everyframe.operators.compress.distil import Course, distil, loss_of
from everyframe.operators.compress.prune import prune
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.compress.updates import on_grid, stochastic
from everyframe.operators.detectors import bits, load_detector, weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.runtimes import OpenVinoRuntime
from everyframe.operators.errors import OperatorError, WeightsError
from everyframe.operators.types import U8

FEW: tuple[lowbit.Bits, ...] = ("4", "ternary", "binary")


@pytest.fixture(scope="module")
def full() -> NanoDet:
    return weights.load_nanodet(weights.read("nanodet-g"), "nanodet-g")


@pytest.fixture(scope="module")
def eight(full: NanoDet) -> NanoDet:
    return quantize(full, noise())


def noise(n: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(0, 1, (1, 96, 128, 3)).astype(np.float32) for _ in range(n)]


@given(st.sampled_from(bits.STATES), st.integers(1, 5), st.integers(1, 9), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_what_is_packed_is_read_again(states: int, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    top = bits.top(states)
    values = rng.choice([-1, 1], (rows, columns)) if states == 2 else rng.integers(-top, top + 1, (rows, columns))
    levels = torch.from_numpy(values)
    data = bits.pack(levels, states)
    assert data.dtype == torch.uint8 and len(data) <= rows * columns / {15: 2, 3: 5, 2: 8}[states] + 1
    assert torch.equal(bits.unpack(data, states, (rows, columns)).long(), levels)


@pytest.mark.parametrize(
    ("data", "states", "shape"),
    [([1, 2], 15, (5,)), ([255], 15, (2,)), ([250], 3, (5,)), ([1], 7, (1,)), ([], 2, (0,)), ([255], 3, (2,))],
)
def test_bytes_that_are_no_weights_are_refused(data: list[int], states: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"levels|bytes"):
        bits.unpack(torch.tensor(data, dtype=torch.uint8), states, shape)


@pytest.mark.parametrize("states", [bits.FULL, 15, 3, 2])
def test_a_weight_on_its_levels_stays(states: int) -> None:
    rng = np.random.default_rng(0)
    top = bits.top(states)
    levels = torch.from_numpy(rng.choice([-top, top], (6, 8, 3, 3)).astype(np.float32))
    weight = levels * torch.linspace(0.01, 1, 6).view(-1, 1, 1, 1)
    found, scale = lowbit.project(weight, states)
    torch.testing.assert_close(found * scale.view(-1, 1, 1, 1), weight)


def test_more_levels_are_nearer() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (16, 32, 3, 3)).astype(np.float32))
    away = []
    for states in (bits.FULL, 15, 3, 2):
        levels, scale = lowbit.project(weight, states)
        away.append(float((levels * scale.view(-1, 1, 1, 1) - weight).square().mean()))
    assert away == sorted(away) and away[0] < 1e-4
    assert 0.15 < away[2] < 0.25, "a ternary weight of a normal distribution keeps about four fifths of the energy"
    assert abs(away[3] - (1 - 2 / np.pi)) < 0.02, "the error of the best binary weight of a normal distribution"


def test_ranges_are_found_for_weights_that_stay_on_their_levels(full: NanoDet) -> None:
    few = lowbit.low_bit(full, "4")
    net = quantize(few, noise())
    assert net.quantized is not None and few.quantized is not None and len(net.quantized.ranges) > 20
    assert net.quantized.states == few.quantized.states and torch.equal(net.stage3.exit.weight, few.stage3.exit.weight)


@pytest.mark.parametrize("kind", FEW)
def test_few_bits_make_a_smaller_file_that_runs_in_int8(kind: lowbit.Bits, eight: NanoDet, tmp_path: Path) -> None:
    net = lowbit.low_bit(eight, kind)
    data = weights.pack(net, {})
    assert len(data) < {"4": 0.55, "ternary": 0.28, "binary": 0.2}[kind] * len(weights.pack(eight, {}))
    again = weights.load_nanodet(data, "few")
    assert again.quantized is not None and net.quantized is not None
    assert again.quantized.states == net.quantized.states and again.quantized.ranges == net.quantized.ranges
    for (name, mine), other in zip(lowbit.convolutions(net), dict(lowbit.convolutions(again)).values(), strict=True):
        torch.testing.assert_close(mine.weight, other.weight, rtol=1e-5, atol=1e-7, msg=name)
    path = tmp_path / "few.safetensors"
    path.write_bytes(data)
    by_int8 = load_detector(str(path), 128, "openvino", "int8")._runtime.run(noise()[0])
    by_torch = aware.rounded(again)(torch.from_numpy(noise()[0]).permute(0, 3, 1, 2))
    for a, b in zip(by_torch, by_int8, strict=True):
        assert np.abs(a[0].numpy() - b).mean() < 0.05 * np.abs(b).mean()


def test_only_weights_rounded_is_not_int8(full: NanoDet, tmp_path: Path) -> None:
    path = tmp_path / "four.safetensors"
    path.write_bytes(weights.pack(lowbit.low_bit(full, "4"), {}))
    assert weights.QUANTIZED not in weights.metadata(path.read_bytes())
    load_detector(str(path), 128, "openvino", "f32")
    with pytest.raises(OperatorError, match="quantized model"):
        load_detector(str(path), 128, "openvino", "int8")


def test_damaged_packed_weights_are_one_sentence(full: NanoDet) -> None:
    from safetensors.torch import load, save

    data = weights.pack(lowbit.low_bit(full, "binary"), {})
    state = load(data)
    state["stage2.entry.weight"] = state["stage2.entry.weight"][:-1]
    with pytest.raises(WeightsError, match=r"packed weights of stage2\.entry"):
        weights.load_nanodet(save(state, dict(weights.metadata(data))), "cut")


def test_the_net_that_learns_is_the_net_that_runs(eight: NanoDet) -> None:
    """Rounded on the way forward as OpenVINO rounds it, node by node."""
    x = torch.from_numpy(noise()[0]).permute(0, 3, 1, 2)
    mine = aware.rounded(eight)(x)
    theirs = OpenVinoRuntime(eight, "int8", 1).run(noise()[0])
    for a, b in zip(mine, theirs, strict=True):
        assert np.abs(a[0].numpy() - b).mean() < 0.03 * np.abs(b).mean()


def test_rounding_lets_the_gradient_through_inside_the_range_only() -> None:
    x = torch.tensor([-2.0, 0.1, 0.4, 3.0], requires_grad=True)
    out = aware.round_between(x, -1.0, 1.0)
    out.sum().backward()
    assert out.detach().abs().max() <= 1 and x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]
    weight = torch.randn(2, 3, 1, 1, requires_grad=True)
    aware.round_weight(weight, 3).sum().backward()
    assert weight.grad is not None and torch.equal(weight.grad, torch.ones_like(weight))


def distance(net: NanoDet, teacher: NanoDet) -> float:
    """The loss on pictures that nothing was learned from."""
    x = torch.from_numpy(np.random.default_rng(7).normal(0, 1, (2, 3, 128, 128)).astype(np.float32))
    seen = net if net.quantized is None else aware.rounded(net)
    with torch.inference_mode():
        outputs = [torch.cat([m.reshape(2, -1, m.shape[-1]) for m in run(x.clone())], 1) for run in (seen, teacher)]
    return float(loss_of(outputs[0], outputs[1], torch.ones(80)))


def pictures() -> list[list[U8]]:
    rng = np.random.default_rng(0)
    return [[rng.integers(0, 256, (200, 320, 3), np.uint8) for _ in range(4)]]


def test_learning_with_few_bits_comes_nearer_and_stays_on_them(full: NanoDet, eight: NanoDet) -> None:
    start = lowbit.low_bit(eight, "ternary")
    net = aware.learn(start, full, pictures(), Course(10, seed=1, rate=2e-2))
    assert distance(net, full) < 0.97 * distance(start, full)
    assert net.quantized is not None and start.quantized is not None and net.quantized.states == start.quantized.states
    assert len(torch.unique(net.stage2.entry.weight[0])) <= 3
    with pytest.raises(OperatorError, match="quantize the net first"):
        aware.learn(full, full, pictures(), Course(1))


@given(st.floats(-5, 5), st.floats(0.01, 2))
@settings(deadline=None, max_examples=20)
def test_rounding_at_random_is_right_on_the_mean(value: float, step: float) -> None:
    found = stochastic(torch.full((4000,), value, dtype=torch.float64), step, torch.Generator().manual_seed(0))
    assert float((found / step - torch.round(found / step)).abs().max()) < 1e-6
    assert abs(float(found.mean()) - value) < 0.05 * step


def test_updates_stay_on_their_grid_and_still_learn(full: NanoDet) -> None:
    student = prune(full, 0.3)
    net = distil(student, full, pictures(), Course(10, seed=1, rate=2e-2, update_bits=8))
    assert distance(net, full) < 0.97 * distance(student, full)
    for parameter in net.parameters():
        assert len(torch.unique(parameter)) <= 255
    with pytest.raises(OperatorError, match="2 bits"):
        on_grid(full, 2, 0)
