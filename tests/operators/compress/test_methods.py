"""The contract of all that makes a net smaller: fewer multiplications, one file, the same answers in both runtimes, and nothing
lost where nothing is taken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from everyframe.operators.compress.block_terms import block_terms, fitted, tucker2
from everyframe.operators.compress.decompose import METHODS, decompose, work
from everyframe.operators.compress.factors import MAKERS, rank_of, ring_of
from everyframe.operators.compress.prune import macs, macs_of, prune
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.compress.thin import thin, without
from everyframe.operators.compress.vbmf import vbmf_rank
from everyframe.operators.detectors import load_detector, weights
from everyframe.operators.detectors.letterbox import fit, to_input
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError, WeightsError
from everyframe.operators.types import F32
from everyframe.pipeline.compression.pictures import read_pictures

pytest.importorskip("tensorly")
pytest.importorskip("torch_pruning")
pytest.importorskip("openvino")
pytest.importorskip("nncf")

SOME = ("stage2.entry", "stage3.block0.conv_a", "stage4.block1.conv_b", "heads.16.conv")
X = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, 96, 128)).astype(np.float32))
Inputs = list[F32]

MADE: dict[str, Callable[[NanoDet, Inputs], NanoDet]] = {
    "prune by scale": lambda net, shown: prune(net, 0.3, 16, "scale", shown),
    "prune by taylor": lambda net, shown: prune(net, 0.3, 8, "taylor", shown),
    "blocks of 32": lambda net, shown: prune(net, 0.3, 32),
    "thin": lambda net, shown: thin(net, 0.5)[0],
    "thin by taylor": lambda net, shown: thin(net, 0.3, "taylor", shown)[0],
    "tucker, vbmf": lambda net, shown: decompose(net, "tucker", "vbmf", SOME)[0],
    "tt, vbmf": lambda net, shown: decompose(net, "tt", "vbmf", SOME)[0],
    "tr": lambda net, shown: decompose(net, "tr", 0.6, SOME)[0],
    "btd": lambda net, shown: decompose(net, "btd", 0.6, SOME)[0],
    "cp, vbmf": lambda net, shown: decompose(net, "cp", "vbmf", SOME[:1])[0],
    "prune, thin, tr": lambda net, shown: decompose(thin(prune(net, 0.25), 0.2)[0], "tr", 0.6, SOME)[0],
}


@pytest.fixture(scope="module")
def full() -> NanoDet:
    return weights.load_nanodet(weights.read("full"), "full")


@pytest.fixture(scope="module")
def shown(data_dir: Path) -> Inputs:
    clip = str(data_dir / "street" / "street.mp4")
    return [to_input(p, fit(p.shape[1], p.shape[0], 320)) for p in read_pictures([clip], 3)[0]]


def run(net: nn.Module, x: torch.Tensor = X) -> list[torch.Tensor]:
    with torch.inference_mode():
        out = net(x)
    return [out] if isinstance(out, torch.Tensor) else list(out)


def apart(a: nn.Module, b: nn.Module, x: torch.Tensor = X) -> float:
    """Greatest difference between the outputs, relative to the largest output of `a`."""
    return max(float((p - q).abs().max() / p.abs().max()) for p, q in zip(run(a, x), run(b, x), strict=True))


@pytest.mark.parametrize("how", MADE)
def test_what_is_made_is_smaller_and_one_file_gives_the_same_in_both_runtimes(
    how: str, full: NanoDet, shown: Inputs, tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in full.state_dict().items()}
    net = MADE[how](full, shown)
    assert macs(net) < 0.99 * macs(full), "really smaller, not masked"
    assert all(torch.equal(value, before[key]) for key, value in full.state_dict().items()), "the model that came in is as it was"
    assert not any(p.requires_grad for p in net.parameters())
    path = tmp_path / "small.safetensors"
    path.write_bytes(weights.pack(net, {"recipe": how}))
    again = weights.load_nanodet(path.read_bytes(), "small")
    assert macs_of(again) == macs_of(net) and apart(net, again) < 5e-3, "weights are rounded to float16"
    by_torch, by_openvino = (load_detector(str(path), 128, name, "f32", min_score=0.01) for name in ("torch", "openvino"))
    made = X.permute(0, 2, 3, 1).contiguous().numpy()
    for a, b in zip(by_torch._runtime.run(made), by_openvino._runtime.run(made), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3 * float(np.abs(a).max()))


def test_grouped_convolutions_are_computed_in_int8(full: NanoDet, shown: Inputs, tmp_path: Path) -> None:
    net = quantize(decompose(full, "tr", 0.6, SOME[:1])[0], shown * 6)
    assert net.quantized is not None
    assert {f"stage2.entry.{i}" for i in range(4)} <= net.quantized.scales.keys(), "the middle links too"
    path = tmp_path / "int8.safetensors"
    path.write_bytes(weights.pack(net, {}))
    by_torch = load_detector(str(path), 320, "torch", "f32")._runtime
    by_int8 = load_detector(str(path), 320, "openvino", "int8")._runtime
    for a, b in zip(by_torch.run(shown[0]), by_int8.run(shown[0]), strict=True):
        assert np.abs(a - b).mean() < 0.1 * np.abs(a).mean()


@pytest.mark.parametrize("shape", [(7, 2, 3, 1), (8, 5, 3, 1), (8, 0, 3, 1), (0, 2, 3, 1), (8, 64, 3, 1)])
def test_groups_that_cannot_be_are_one_sentence(shape: tuple[int, ...], full: NanoDet) -> None:
    """A file's chain says by its shapes how many groups a link has."""
    state = load(weights.pack(decompose(full, "tr", 0.6, SOME[:1])[0], {}))
    state["stage2.entry.1.weight"], state["stage2.entry.1.bias"] = torch.zeros(shape), torch.zeros(shape[0])
    with pytest.raises(WeightsError, match=r"do not fit together|of shape"):
        weights.load_nanodet(save(state, {weights.COMPRESSED: "1"}), "odd")


def test_nothing_is_lost_where_nothing_is_taken(full: NanoDet) -> None:
    assert apart(full, thin(full, 0)[0]) == 0
    for method in METHODS:
        made, ranks = decompose(full, method, 1.0, SOME[:2] if method != "cp" else ())
        assert not ranks and apart(full, made) == 0, "a chain of full rank is not cheaper"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("method", ["tucker", "tt", "tr", "btd"])
def test_a_chain_of_full_rank_is_the_convolution(method: Any, stride: int) -> None:
    """Whether or not it is cheaper, and with strides and padding spread over its links."""
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 16, 3, stride, padding=1)
    chain, _ = MAKERS[method](conv, 1.0)
    x = torch.randn(1, 24, 14, 18)
    assert apart(conv, nn.Sequential(*chain), x) < 1e-4


@pytest.mark.parametrize("method", ["tucker", "tt", "tr", "btd"])
def test_more_energy_is_nearer_and_more_work(method: Any, full: NanoDet) -> None:
    conv = full.stage3.exit
    x = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 128, 12, 16)).astype(np.float32))
    made = [MAKERS[method](conv, keep)[0] for keep in (0.5, 0.8, 0.95)]
    off = [float((run(conv, x)[0] - run(nn.Sequential(*chain), x)[0]).square().mean()) for chain in made]
    assert off[0] > off[1] > off[2]
    assert work(made[0]) < work(made[1]) < work(made[2])


def test_links_before_a_stride_count_for_the_pixels_they_see() -> None:
    chain = [nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, (3, 1), (2, 1)), nn.Conv2d(4, 4, (1, 3), (1, 2)), nn.Conv2d(4, 8, 1)]
    assert work(chain) == 4 * 32 + 2 * 48 + 48 + 32


@given(st.integers(20, 80), st.integers(20, 200), st.integers(0, 6), st.floats(0.05, 0.5), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_the_rank_is_what_stands_out_of_the_noise(rows: int, columns: int, rank: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns)) + noise * rng.normal(size=(rows, columns))
    assert vbmf_rank(matrix) == rank == vbmf_rank(matrix.T) == vbmf_rank(1e-3 * matrix)


def test_components_below_the_noise_are_not_counted() -> None:
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(n, 4)))[0] for n in (100, 400))
    edge = 10.0 + 20.0  # the largest singular value of unit noise of this size
    matrix = u @ np.diag([edge * 4, edge * 2, edge * 0.3, edge * 0.1]) @ v.T + rng.normal(size=(100, 400))
    assert vbmf_rank(matrix) == 2
    assert vbmf_rank(np.zeros((4, 9))) == 0 and rank_of(np.zeros((1, 9)), "vbmf") == 1


@given(st.integers(2, 12), st.integers(1, 3), st.integers(2, 12), st.sampled_from([1, 2, 4]), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_ring_of_full_rank_is_the_tensor(i: int, k: int, o: int, trains: int, seed: int) -> None:
    import tensorly as tl

    w = np.random.default_rng(seed).normal(size=(i, k, k, o))
    found = ring_of(w, 1.0, trains)
    assert [f.shape[2] for f in found] == [f.shape[0] for f in (*found[1:], found[0])], "a ring: each link fits the next"
    np.testing.assert_allclose(tl.tr_to_tensor(found), w, atol=1e-9)


def test_a_ring_is_as_near_as_that_of_tensorly_with_its_ranks(full: NanoDet) -> None:
    import tensorly as tl
    from tensorly.decomposition import tensor_ring

    w = full.stage3.exit.weight.double().numpy().transpose(1, 2, 3, 0)
    own = ring_of(w, 0.7, 2)
    other = tensor_ring(w, [*(f.shape[0] for f in own), own[0].shape[0]], svd="truncated_svd")
    off = [float(np.square(tl.tr_to_tensor(factors) - w).sum()) for factors in (own, other)]
    assert off[0] == pytest.approx(off[1], rel=0.01), "but for the signs of singular vectors, which matter in a ring"


def test_block_terms_are_found_where_they_are() -> None:
    """A sum of terms of separate channels, as a grouped convolution between orthogonal maps has it."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(32, 32)))[0] for _ in range(2))
    core = np.zeros((32, 32, 3, 3))
    for g in range(4):
        core[8 * g : 8 * g + 8, 8 * g : 8 * g + 8] = rng.normal(size=(8, 8, 3, 3)) * 4.0**-g
    w = np.einsum("ma,abyx,nb->mnyx", left, core, right)
    outer, middle, inner = block_terms(w, 0.999, (32, 32))
    assert len(middle) > 1 and middle.size <= core.size / 2
    near = np.einsum("gma,gabyx,gnb->mnyx", outer, middle, inner)
    assert np.square(near - w).sum() <= 1.001e-3 * np.square(w).sum()


def test_block_terms_never_get_worse() -> None:
    w = np.random.default_rng(0).normal(size=(20, 16, 3, 3))

    def off(sweeps: int) -> float:
        terms = fitted(w, 3, 4, 4, sweeps)
        return float(np.square(w - sum(np.einsum("ma,abyx,nb->mnyx", *term) for term in terms)).sum())

    assert off(0) >= off(2) >= off(6)
    left, core, right = tucker2(w, 20, 16)
    np.testing.assert_allclose(np.einsum("ma,abyx,nb->mnyx", left, core, right), w, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_thin_convolution_is_the_wide_one_where_nothing_was_left_out(stride: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride, padding=1)
    x = torch.randn(1, 4, 10, 14)
    for axis in ("rows", "columns"):
        kept = copy.deepcopy(conv)
        if axis == "rows":
            kept.weight.data[:, :, ::2] = 0
        else:
            kept.weight.data[:, :, :, ::2] = 0
        small = without(conv, axis)  # type: ignore[arg-type]
        assert small.weight.numel() * 3 == conv.weight.numel() and apart(kept, small, x) < 1e-5


def test_rows_that_say_nothing_go_first(full: NanoDet, shown: Inputs) -> None:
    net = copy.deepcopy(full)
    net.stage2.exit.weight.data[:, :, ::2] = 0
    net.stage3.exit.weight.data[:, :, :, ::2] = 0
    found = macs_of(net)
    wide = sum(found[name] for name, conv in net.named_modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3))
    share = 0.65 * (found["stage2.exit"] + found["stage3.exit"]) / wide
    for importance in ("magnitude", "taylor"):
        made, changed = thin(net, share, importance, shown)  # type: ignore[arg-type]
        assert changed == {"stage2.exit": "rows", "stage3.exit": "columns"}
        assert apart(net, made) < 1e-5


def test_faults_are_one_sentence(full: NanoDet, shown: Inputs) -> None:
    with pytest.raises(OperatorError, match="use tucker, tt, tr, cp, btd"):
        decompose(full, "svd")  # type: ignore[arg-type]
    with pytest.raises(OperatorError, match="give a share of the energy"):
        decompose(full, "btd", "vbmf")
    with pytest.raises(OperatorError, match="more than 0 and at most 1"):
        decompose(full, "tr", 1.5)
    with pytest.raises(OperatorError, match=r"give 0 to 0\.66"):
        thin(full, 0.7)
    with pytest.raises(OperatorError, match="take magnitude or taylor"):
        thin(full, 0.3, "scale", shown)
    with pytest.raises(OperatorError, match="give some, or take magnitude"):
        thin(full, 0.3, "taylor")
