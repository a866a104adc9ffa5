"""Nets cut in width, depth and kernel: smaller, found anew from pictures, kept in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from everyframe.operators.compress.prune import macs
from everyframe.operators.compress.refit import Memory, refit, remember, solved
from everyframe.operators.compress.slim import slimmable
from everyframe.operators.compress.subnet import PARTS, Subnet, cut
from everyframe.operators.detectors import load_detector, weights
from everyframe.operators.detectors.nanodet import NanoDet, convolutions
from everyframe.operators.detectors.slim import Slim, narrow
from everyframe.operators.types import F32
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.recipe import inputs_of

pytest.importorskip("torch_pruning")
IMGSZ = 224
CUTS = [
    Subnet((0.5,) * 6),
    Subnet((1.0, 0.5, 0.75, 0.5, 0.75, 1.0)),
    Subnet(blocks=(0, 1, 0, 2)),
    Subnet(kernels=(1, 1, 1, 1, 1)),
    Subnet((0.75, 1.0, 0.5, 0.75, 0.5, 0.75), (1, 0, 2, 1), (3, 1, 3, 1, 3)),
]


@pytest.fixture(scope="module")
def slim() -> Slim:
    return slimmable(weights.load_nanodet(weights.read("full"), "full"), (1.0, 0.75, 0.5))


@pytest.fixture(scope="module")
def seen(data_dir: Path) -> tuple[list[F32], list[F32]]:
    """Pictures of a street, to learn from and later ones."""
    video = [str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")]
    first, later = (read_pictures(video, count, part) for count, part in ((8, Part(0, 0.5)), (2, Part(0.5, 1))))
    return inputs_of(first, IMGSZ), inputs_of(later, IMGSZ)


@pytest.fixture(scope="module")
def memory(slim: Slim, seen: tuple[list[F32], list[F32]]) -> Memory:
    whole = np.array([[0, 0, IMGSZ, 150]], np.float32)
    return remember(slim.net, seen[0], [whole] * len(seen[0]))


def out(net: NanoDet, inputs: list[F32]) -> torch.Tensor:
    with torch.inference_mode():
        maps = net(torch.from_numpy(np.concatenate(inputs)).permute(0, 3, 1, 2))
    return torch.cat([level.flatten() for level in maps])


def test_nothing_cut_is_the_full_net_and_equal_widths_are_slim_ones(slim: Slim, seen: tuple[list[F32], list[F32]]) -> None:
    assert Subnet().whole
    assert torch.equal(out(cut(slim, Subnet()), seen[1]), out(slim.net, seen[1]))
    assert torch.equal(out(cut(slim, Subnet((0.75,) * 6)), seen[1]), out(narrow(slim, 0.75), seen[1]))


@pytest.mark.parametrize("subnet", CUTS, ids=str)
def test_a_cut_is_smaller_and_found_anew_it_comes_near_the_full_net(
    subnet: Subnet, slim: Slim, memory: Memory, seen: tuple[list[F32], list[F32]], tmp_path: Path
) -> None:
    net = cut(slim, subnet)
    assert macs(net) < 0.95 * macs(slim.net)
    found = refit(net, memory)
    wanted = out(slim.net, seen[1])
    before, after = (float((out(n, seen[1]) - wanted).pow(2).mean() / wanted.var()) for n in (net, found))
    assert after < min(0.05, 0.3 * before), (before, after)
    path = tmp_path / "cut.safetensors"
    path.write_bytes(weights.pack(found, {}))
    kept = load_detector(str(path), IMGSZ).net
    assert (out(kept, seen[1]) - out(found, seen[1])).abs().max() < 0.05 * wanted.abs().max(), "float16 in the file"


def test_what_is_cut_in_one_place_only_is_made_up_for_by_what_comes_after(slim: Slim, memory: Memory, seen: tuple[list[F32], list[F32]]) -> None:
    wanted = out(slim.net, seen[1])
    for part in ("neck",):
        subnet = Subnet(tuple(0.5 if p == part else 1.0 for p in PARTS))
        assert (out(refit(cut(slim, subnet), memory), seen[1]) - wanted).pow(2).mean() < 0.12 * wanted.var(), part


def test_least_squares_finds_the_weights_that_made_the_data() -> None:
    rng = torch.Generator().manual_seed(0)
    conv = torch.nn.Conv2d(4, 3, 1)
    x, true, bias = (torch.randn(*shape, generator=rng) for shape in ((400, 4), (3, 4), (3,)))
    weight, offset = solved(conv, x, x @ true.T + bias, 0.0)
    torch.testing.assert_close(weight.flatten(1), true, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(offset, bias, atol=1e-4, rtol=1e-4)
    stiff, _ = solved(conv, x, x @ true.T + bias, 1e6)
    torch.testing.assert_close(stiff, conv.weight.detach(), atol=1e-4, rtol=1e-4)


def test_the_full_net_found_anew_is_itself(slim: Slim, memory: Memory) -> None:
    again = refit(slim.net, memory)
    for (name, mine), (_, wanted) in zip(convolutions(again), convolutions(slim.net), strict=True):
        assert (mine.weight - wanted.weight).norm() < 0.02 * wanted.weight.norm(), name
