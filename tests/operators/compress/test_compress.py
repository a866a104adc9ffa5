"""Every method gives a net that can be saved, loaded and run in both runtimes, and that is what it says it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.compress.decompose import METHODS, decompose
from everyframe.operators.compress.distil import Course, distil, loss_of
from everyframe.operators.compress.factors import rank_of
from everyframe.operators.compress.prune import macs, prune, zero_least
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.detectors import load_detector, weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError, WeightsError

pytest.importorskip("tensorly")
pytest.importorskip("torch_pruning")
openvino = pytest.importorskip("openvino")
nncf = pytest.importorskip("nncf")

SOME = ("stage2.entry", "stage3.block0.conv_a", "stage4.block1.conv_b", "heads.16.conv")
X = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, 96, 128)).astype(np.float32))


@pytest.fixture(scope="module")
def full() -> NanoDet:
    return weights.load_nanodet(weights.read("nanodet-g"), "nanodet-g")


def outputs(net: NanoDet) -> list[torch.Tensor]:
    with torch.inference_mode():
        return list(net(X))


def apart(a: NanoDet, b: NanoDet) -> float:
    """Greatest difference between the outputs, relative to the largest output of `a`."""
    pairs = list(zip(outputs(a), outputs(b), strict=True))
    return max(float((x - y).abs().max() / x.abs().max()) for x, y in pairs)


def inputs(n: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(0, 1, (1, 96, 128, 3)).astype(np.float32) for _ in range(n)]


MADE: dict[str, Callable[[NanoDet], NanoDet]] = {
    "prune": lambda net: prune(net, 0.4),
    "tucker": lambda net: decompose(net, "tucker", 0.7, SOME)[0],
    "tt": lambda net: decompose(net, "tt", 0.6, SOME)[0],
    "quantize": lambda net: quantize(net, inputs()),
    "prune, then tucker, then quantize": lambda net: quantize(decompose(prune(net, 0.4), "tucker", 0.7, SOME)[0], inputs()),
}


@pytest.mark.parametrize("how", MADE)
def test_what_is_made_is_smaller_saved_and_loaded_and_equal_in_both_runtimes(how: str, full: NanoDet, tmp_path: Path) -> None:
    net = MADE[how](full)
    assert macs(net) < macs(full) or how == "quantize"
    path = tmp_path / "small.safetensors"
    path.write_bytes(weights.pack(net, {"recipe": how}))
    assert path.stat().st_size < len(weights.read("nanodet-g"))
    again = weights.load_nanodet(path.read_bytes(), "small")
    assert apart(net, again) < 5e-3, "weights are rounded to float16"
    assert weights.metadata(path.read_bytes())["recipe"] == how
    by_torch = load_detector(str(path), 128, "torch", "f32", min_score=0.01)
    by_openvino = load_detector(str(path), 128, "openvino", "f32", min_score=0.01)
    made = X.permute(0, 2, 3, 1).contiguous().numpy()
    for a, b in zip(by_torch._runtime.run(made), by_openvino._runtime.run(made), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3 * float(np.abs(a).max()))


def test_int8_is_near_the_rounded_weights(full: NanoDet, tmp_path: Path) -> None:
    path = tmp_path / "int8.safetensors"
    path.write_bytes(weights.pack(quantize(full, inputs()), {}))
    by_torch = load_detector(str(path), 128, "torch", "f32")._runtime
    by_int8 = load_detector(str(path), 128, "openvino", "int8")._runtime
    made = inputs()[0]
    for a, b in zip(by_torch.run(made), by_int8.run(made), strict=True):
        assert np.abs(a - b).mean() < 0.1 * np.abs(a).mean()
    with pytest.raises(OperatorError, match="is for the runtime openvino"):
        load_detector(str(path), 128, "torch", "int8")
    with pytest.raises(OperatorError, match="is for the runtime"):
        load_detector("nanodet-g", 128, "openvino", "int8")


def test_nothing_is_lost_where_nothing_is_taken(full: NanoDet) -> None:
    assert apart(full, prune(full, 0)) == 0
    for method in METHODS[:2]:
        conv = copy.deepcopy(full.stage1.entry)
        small = NanoDet()
        small.load_state_dict(full.state_dict())
        small.stage1.entry = conv
        made, ranks = decompose(small, method, 1.0, SOME)
        assert not ranks, "a chain of full rank is not cheaper"
        assert apart(full, made) == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_of_low_rank_is_found_exactly(method: str, full: NanoDet) -> None:
    """Channel by channel products: all three forms can hold them."""
    rng = np.random.default_rng(0)
    net = copy.deepcopy(full)
    conv = net.stage4.entry
    factors = [rng.normal(0, 1, (size, 4)) for size in (*conv.weight.shape,)]
    conv.weight.data = torch.from_numpy(0.02 * np.einsum("ar,br,cr,dr->abcd", *factors)).float()
    made, ranks = decompose(net, method, 1 - 1e-9, ["stage4.entry"])  # type: ignore[arg-type]
    assert "stage4.entry" in ranks
    with torch.inference_mode():
        x = torch.from_numpy(rng.normal(0, 1, (1, 256, 12, 16)).astype(np.float32))
        a, b = conv(x), made.stage4.entry(x)
    assert float((a - b).abs().max() / a.abs().max()) < (0.05 if method == "cp" else 1e-3)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_the_rank_keeps_the_energy(rows: int, cols: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(0, 1, (rows, cols))
    values = np.linalg.svd(matrix, compute_uv=False) ** 2
    rank = rank_of(matrix, 0.8)
    assert 1 <= rank <= min(rows, cols)
    assert values[:rank].sum() >= 0.8 * values.sum() - 1e-9


def test_single_weights_at_zero_make_nothing_smaller(full: NanoDet) -> None:
    sparse = zero_least(full, 0.9)
    assert macs(sparse) == macs(full)
    share = float((sparse.stage4.exit.weight == 0).float().mean())
    assert 0.89 < share < 0.91


def test_a_student_learns(full: NanoDet, tmp_path: Path) -> None:
    """A few seconds bring a pruned net nearer to its teacher; the checkpoint is gone on from."""
    rng = np.random.default_rng(0)
    pictures = [[rng.integers(0, 256, (200, 320, 3), np.uint8) for _ in range(4)]]
    student = prune(full, 0.3)
    losses: list[float] = []
    course = Course(steps=30, seed=1, checkpoint=tmp_path / "course.ckpt")
    net = distil(student, full, pictures, course, lambda step, share, loss: losses.append(loss))
    assert losses[-1] < losses[0]
    assert all(bool(torch.isfinite(t).all()) for t in net.state_dict().values())
    with pytest.raises(OperatorError, match="no picture"):
        distil(student, full, [], Course(1))


def test_the_loss_is_least_where_student_and_teacher_agree() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(1, 50, 124)
    weights_ = torch.ones(80)
    near = loss_of(teacher + 0.1 * torch.randn_like(teacher), teacher, weights_)
    far = loss_of(torch.randn(1, 50, 124), teacher, weights_)
    assert float(loss_of(teacher, teacher, weights_)) <= float(near) < float(far)


def test_faulty_files_are_one_sentence(full: NanoDet) -> None:
    data = weights.pack(prune(full, 0.4), {})
    with pytest.raises(WeightsError, match="damaged"):
        weights.load_nanodet(data[: len(data) // 2], "cut")
    with pytest.raises(WeightsError, match="later format"):
        weights.load_nanodet(data.replace(b'"everyframe-compressed":"1"', b'"everyframe-compressed":"9"'), "new")
