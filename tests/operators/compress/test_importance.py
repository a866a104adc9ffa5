"""Channels are left out by what they matter for: what says nothing goes first, whichever way importance is found."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from everyframe.operators.compress.distil import flat, loss_of
from everyframe.operators.compress.importance import IMPORTANCES, Importance, contributions, spreads
from everyframe.operators.compress.prune import macs, prune
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.letterbox import fit, to_input
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32
from everyframe.pipeline.compression.pictures import read_pictures

pytest.importorskip("torch_pruning")


@pytest.fixture(scope="module")
def full() -> NanoDet:
    return weights.load_nanodet(weights.read("full"), "full")


@pytest.fixture(scope="module")
def shown(data_dir: Path) -> list[F32]:
    """Prepared pictures of a street and of a campus."""
    clips = [str(data_dir / name) for name in ("street/street.mp4", "pets_s2l1/pets_s2l1_ip.mp4")]
    return [to_input(p, fit(p.shape[1], p.shape[0], 320)) for video in read_pictures(clips, 4) for p in video]


def away(net: NanoDet, teacher: NanoDet, inputs: list[F32]) -> float:
    """Mean loss of the net against the teacher's maps."""
    with torch.inference_mode():
        x = [torch.from_numpy(one).permute(0, 3, 1, 2) for one in inputs]
        return float(np.mean([float(loss_of(flat(net(one)), flat(teacher(one)), torch.ones(80))) for one in x]))


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_channels_that_say_nothing_go_first(importance: Importance, full: NanoDet, shown: list[F32]) -> None:
    """A third of the channels of one convolution are made silent; pruning a quarter takes none of the others."""
    net = copy.deepcopy(full)
    conv = net.stage3.block0.conv_b  # type: ignore[union-attr]
    assert isinstance(conv, torch.nn.Conv2d) and conv.bias is not None
    silent = torch.from_numpy(np.random.default_rng(0).permutation(64)[:21])
    conv.weight.data[silent] = 0
    conv.bias.data[silent] = 0
    kept = prune(net, 0.25, 8, importance, shown).stage3.block0.conv_b.weight  # type: ignore[union-attr]
    assert kept.shape[0] == 48  # type: ignore[index]
    assert int((kept.abs().amax((1, 2, 3)) > 0).sum()) == 64 - 21  # type: ignore[union-attr, operator]


def test_the_spread_of_a_channel_is_its_gain(full: NanoDet, shown: list[F32]) -> None:
    """What batch normalisation would do: a filter times five has five times the spread, a shift of it none."""
    before = spreads(full, shown)["stage4.exit"]
    net = copy.deepcopy(full)
    net.stage4.exit.weight.data[3] *= 5
    assert net.stage4.exit.bias is not None
    net.stage4.exit.bias.data[4] += 7
    after = spreads(net, shown)["stage4.exit"]
    wanted = before.clone()
    wanted[3] *= 5
    torch.testing.assert_close(after, wanted, rtol=1e-4, atol=1e-6)


def test_what_pictures_say_keeps_more_than_the_size_of_weights(full: NanoDet, shown: list[F32]) -> None:
    learned, held = shown[::2], shown[1::2]
    small = {kind: prune(full, 0.25, 8, kind, learned) for kind in IMPORTANCES}
    assert len({round(macs(net), 6) for net in small.values()}) == 1, "equal size, whatever the importance"
    lost = {kind: away(net, full, held) for kind, net in small.items()}
    assert lost["taylor"] < 0.2 * lost["magnitude"] and lost["scale"] < lost["magnitude"]


def test_channels_come_in_blocks(full: NanoDet) -> None:
    for block in (8, 32):
        net = prune(full, 0.3, block)
        found = [conv.out_channels for name, conv in net.named_modules() if isinstance(conv, torch.nn.Conv2d) and not name.endswith("out")]
        assert all(n % min(block, n) == 0 for n in found) and macs(net) < macs(full)


@pytest.mark.parametrize("block", [8, 16, 32])
def test_a_larger_share_leaves_a_smaller_net(block: int, full: NanoDet) -> None:
    found = [macs(prune(full, share, block)) for share in (0.3, 0.5, 0.7, 0.9)]
    assert found == sorted(found, reverse=True) and found[-1] < found[0] < macs(full)
    assert prune(full, 0.9, block).stage1.entry.out_channels == block, "one block stays"


def test_faults_are_one_sentence(full: NanoDet) -> None:
    black = [np.zeros((1, 64, 64, 3), np.float32)]
    with pytest.raises(OperatorError, match="give some, or take magnitude"):
        prune(full, 0.2, importance="taylor")
    with pytest.raises(OperatorError, match="finds nothing in these pictures"):
        contributions(full, black)
    with pytest.raises(OperatorError, match="use magnitude, scale, taylor"):
        prune(full, 0.2, importance="luck", inputs=black)  # type: ignore[arg-type]
    with pytest.raises(OperatorError, match="give 1 to 64"):
        prune(full, 0.2, 0)
    with pytest.raises(OperatorError, match=r"give 0 to 0\.9"):
        prune(full, 0.95)
