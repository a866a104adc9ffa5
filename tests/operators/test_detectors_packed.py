"""Packed convolutions: the same computation, at any size; a net that can't be packed is left as it is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from everyframe.operators.detectors import load_detector
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.packed import PackedConv, Packer


@pytest.fixture(scope="module")
def net() -> NanoDet:
    return load_detector().net


@pytest.fixture(scope="module")
def packed(net: NanoDet) -> nn.Module:
    return Packer().pack(net, torch.zeros(1, 3, 64, 96))


def test_every_convolution_is_packed(net: NanoDet, packed: nn.Module) -> None:
    plain = sum(isinstance(module, nn.Conv2d) for module in net.modules())
    assert sum(isinstance(module, PackedConv) for module in packed.modules()) == plain
    assert not any(isinstance(module, nn.Conv2d) for module in packed.modules())


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 8), columns=st.integers(1, 8), pictures=st.integers(1, 2), seed=st.integers(0, 99))
def test_any_size_gives_what_the_net_gives(
    net: NanoDet, packed: nn.Module, rows: int, columns: int, pictures: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(pictures, 3, 32 * rows, 32 * columns, generator=generator)
    with torch.inference_mode():
        for ours, theirs in zip(packed(x), net(x), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_traced_is_left_as_it_is() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y if y.sum() > 0 else -y

    module = Branching()
    assert Packer().pack(module, torch.zeros(1, 3, 8, 8)) is module


def test_parts_share_their_packed_convolutions() -> None:
    conv = nn.Conv2d(3, 4, 3)
    packer = Packer()
    one, two = (packer.pack(nn.Sequential(conv), torch.zeros(1, 3, 8, 8)) for _ in range(2))
    assert next(iter(one.children())) is next(iter(two.children()))
