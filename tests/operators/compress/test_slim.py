"""One set of weights gives nets of several widths, taught together, in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from everyframe.operators.compress.distil import Course
from everyframe.operators.compress.prune import macs
from everyframe.operators.compress.slim import in_int8, sandwich, settle, slimmable, teach
from everyframe.operators.detectors import load_detector, weights
from everyframe.operators.detectors import slim as slim_file
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.slim import Slim, kept, load_slim, narrow, pack, part, unpack
from everyframe.operators.errors import OperatorError, WeightsError

pytest.importorskip("torch_pruning")

X = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (2, 3, 96, 128)).astype(np.float32))
PICTURES = [[np.random.default_rng(i).integers(0, 255, (240, 320, 3), np.uint8) for i in range(3)]]


@pytest.fixture(scope="module")
def full() -> NanoDet:
    return weights.load_nanodet(weights.read("full"), "full")


@pytest.fixture(scope="module")
def slim(full: NanoDet) -> Slim:
    return settle(slimmable(full, (1.0, 0.75, 0.5)), X)


def out(net: NanoDet) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([level.reshape(-1) for level in net(X)])


def test_the_widest_is_the_full_net_and_narrower_ones_are_smaller(full: NanoDet, slim: Slim) -> None:
    torch.testing.assert_close(out(narrow(slim, 1.0)), out(full), atol=2e-3, rtol=1e-3)
    sizes = [macs(narrow(slim, width)) for width in slim.widths]
    assert sizes[1] < 0.65 * sizes[0] and sizes[2] < 0.35 * sizes[0]
    assert [kept(32, 0.5), kept(128, 0.875), kept(16, 0.75), kept(32, 0.1)] == [16, 112, 16, 8]


def test_settled_channels_have_the_mean_of_the_full_net(full: NanoDet, slim: Slim) -> None:
    plain = slimmable(full, (1.0, 0.75, 0.5))
    wanted = out(full)
    assert (out(narrow(slim, 0.75)) - wanted).abs().mean() < 0.8 * (out(narrow(plain, 0.75)) - wanted).abs().mean()


def test_a_narrow_width_is_made_of_the_first_channels_of_each_input(slim: Slim) -> None:
    name = "stage2.block1.conv_a"
    weight = slim.net.get_submodule(name).get_parameter("weight")
    assert slim.inputs[name] == (32, 32)
    expected = torch.cat([weight[:16, :16], weight[:16, 32:48]], 1)
    assert torch.equal(part(slim, name, weight, 0.5), expected)
    alone = slim.net.get_submodule("stage1.entry").get_parameter("weight")
    assert part(slim, "stage1.entry", alone, 0.5).data_ptr() == alone.data_ptr(), "a view, not a copy"


def test_all_widths_learn_and_learning_goes_on_where_it_was(full: NanoDet, slim: Slim, tmp_path: Path) -> None:
    course = Course(4, 0, (200, 400), checkpoint=tmp_path / "c.ckpt", until=2)
    teach(slim, full, PICTURES, course)
    steps: list[int] = []
    made = teach(slim, full, PICTURES, Course(4, 0, (200, 400), checkpoint=tmp_path / "c.ckpt"), lambda step, *_: steps.append(step))
    assert steps == [4], "two steps of four were there"
    changed = [width for width in slim.widths if not torch.equal(out(narrow(made, width)), out(narrow(slim, width)))]
    assert changed == [1.0, 0.75, 0.5]
    assert bool(torch.isfinite(out(narrow(made, 0.5))).all())


def test_the_sandwich_has_the_widest_and_the_narrowest() -> None:
    rng = np.random.default_rng(0)
    drawn = {tuple(sandwich((1.0, 0.9, 0.7, 0.5), rng)) for _ in range(40)}
    assert drawn == {(1.0, 0.9, 0.5), (1.0, 0.7, 0.5)}
    assert sandwich((1.0, 0.5), rng) == [1.0, 0.5]


def test_one_file_is_opened_at_any_of_its_widths(slim: Slim, tmp_path: Path) -> None:
    path = tmp_path / "slim.safetensors"
    path.write_bytes(pack(slim, {"recipe": "slim", "f1_against_teacher": "1.000", "f1_against_teacher@0.5": "0.250"}))
    assert path.stat().st_size < 1.1 * 2 * sum(p.numel() for p in slim.net.parameters())
    picture = PICTURES[0][0]
    nets = {name: load_detector(f"{path}{name}", 128, min_score=0.01).net for name in ("", "@1", "@0.75", "@0.5")}
    assert torch.equal(out(nets[""]), out(nets["@1"]))
    for width in (0.75, 0.5):
        mine, wanted = out(nets[f"@{width:g}"]), out(narrow(slim, width))
        assert (mine - wanted).abs().mean() < 1e-3 * wanted.abs().max(), "weights are rounded to float16"
    assert weights.metadata(weights.read(f"{path}@0.5"))["f1_against_teacher"] == "0.250"
    assert weights.digest(weights.read(f"{path}@0.5")) != weights.digest(weights.read(str(path)))
    assert load_detector(f"{path}@0.5", 128).detect(picture) is not None


def test_widths_that_are_open_together_come_from_one_reading_of_the_weights(slim: Slim, tmp_path: Path) -> None:
    path = tmp_path / "together.safetensors"
    path.write_bytes(pack(slim, {"recipe": "together"}))
    before = slim_file._unpacked.cache_info().misses
    nets = [load_detector(f"{path}@{width:g}", 128).net for width in slim.widths]
    assert slim_file._unpacked.cache_info().misses == before + 1
    read = load_slim(str(path))
    assert read is not None and slim_file._unpacked.cache_info().misses == before + 1
    for width, net in zip(slim.widths, nets, strict=True):
        mine, wanted = out(net), out(narrow(read, width))
        assert (mine - wanted).abs().mean() < 1e-3 * wanted.abs().max(), "weights are rounded to float16 once more"
    assert load_slim("full") is None and load_slim(f"{path}@0.5") is None


def test_all_widths_share_their_int8_levels(slim: Slim, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    inputs = [np.random.default_rng(i).normal(0, 1, (1, 96, 128, 3)).astype(np.float32) for i in range(16)]
    made = in_int8(slim, inputs)
    path = tmp_path / "slim8.safetensors"
    path.write_bytes(pack(made, {}))
    assert path.stat().st_size < 1.3 * sum(p.numel() for p in slim.net.parameters())
    for width in made.widths:
        by_openvino = load_detector(f"{path}@{width:g}", 128, "openvino", "int8", min_score=0.01)
        maps = by_openvino._runtime.run(inputs[0])
        with torch.inference_mode():
            wanted = narrow(slim, width)(torch.from_numpy(inputs[0]).permute(0, 3, 1, 2))
        for a, b in zip(maps, wanted, strict=True):
            assert np.corrcoef(a.reshape(-1), b.numpy().reshape(-1))[0, 1] > 0.9  # noise, and nothing was taught


def test_faults_are_one_sentence(slim: Slim, full: NanoDet, tmp_path: Path) -> None:
    path, plain = tmp_path / "slim.safetensors", tmp_path / "plain.safetensors"
    data = pack(slim, {})
    path.write_bytes(data)
    plain.write_bytes(weights.pack(full, {}))
    with pytest.raises(WeightsError, match=r"no width 0.6: choose one of 1, 0.75, 0.5"):
        load_detector(f"{path}@0.6")
    with pytest.raises(WeightsError, match="one width only"):
        load_detector(f"{plain}@0.5")
    with pytest.raises(WeightsError, match="neither"):
        load_detector(f"{tmp_path}/gone.safetensors@0.5")
    with pytest.raises(WeightsError, match="damaged"):
        unpack(weights.pack(full, {"slim": "{}"}), "x")
    with pytest.raises(OperatorError, match="give 1 first"):
        slimmable(full, (0.5, 1.0))
    with pytest.raises(OperatorError, match="no picture"):
        teach(slim, full, [[]], Course(2))
