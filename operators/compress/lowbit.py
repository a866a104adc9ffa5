"""Weights on few levels with a scale for each output channel: 8 and 4 bit, ternary, binary.

- 4 bit: 15 levels; of some scales below the largest weight's, the one of least squared error is taken (as Banner et al., Post
  Training 4-bit Quantization of Convolutional Networks, NeurIPS 2019, clip; by trial, not by their formula).
- Ternary (Li & Liu, Ternary Weight Networks, 2016): 0 below 0.7 of the mean magnitude, and the mean magnitude of the others.
- Binary (Rastegari et al., XNOR-Net, ECCV 2016, Binary-Weight-Networks): the signs, times the mean magnitude.

Deviations: the first convolution and those that give the outputs keep 8 bits, as in those papers they keep floating point;
activations are not binary. It is a form to store weights in: a CPU computes with them in int8 or float32, no faster than with others.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor

from everyframe.operators.detectors.bits import FULL, top
from everyframe.operators.detectors.nanodet import NanoDet, Quantized, convolutions
from everyframe.operators.errors import OperatorError

Bits = Literal["8", "4", "ternary", "binary"]
STATES: dict[Bits, int] = {"8": FULL, "4": 15, "ternary": 3, "binary": 2}
SPARED = ("stem", "heads.")
CLIPS = tuple(0.5 + 0.05 * i for i in range(11))
ZERO_BELOW = 0.7
_TINY = 1e-12


def low_bit(net: NanoDet, bits: Bits) -> NanoDet:
    """A copy of the net whose weights are whole multiples of a scale for each output channel.

    Much accuracy is lost below 8 bits until the net learns again with these weights (`aware.learn`). Raises `OperatorError`.
    """
    if bits not in STATES:
        raise OperatorError(f'Weights of "{bits}" bits are not known: use {", ".join(STATES)}.')
    made = copy.deepcopy(net)
    states = {} if bits == "8" else {name: STATES[bits] for name, _ in convolutions(made) if not _spared(name)}
    made.quantized = Quantized({}, {} if net.quantized is None else net.quantized.ranges, states)
    return settle(made)


def settle(net: NanoDet) -> NanoDet:
    """The net with the weights that its `quantized` can hold, and their scales; in place."""
    assert net.quantized is not None
    scales = {}
    for name, conv in convolutions(net):
        levels, scale = project(conv.weight.detach(), net.quantized.states.get(name, FULL))
        conv.weight.data = levels * scale.view(-1, 1, 1, 1)
        scales[name] = scale
    net.quantized = Quantized(scales, net.quantized.ranges, net.quantized.states)
    return net


def project(weight: Tensor, states: int) -> tuple[Tensor, Tensor]:
    """Whole levels (o, i, h, w) float32 from -top to top, and the scale (o,) float32 of each output."""
    flat = weight.float().flatten(1)
    size = flat.abs()
    if states == FULL:
        scale = size.amax(1) / top(states)
    elif states == 3:
        big = size > ZERO_BELOW * size.mean(1, keepdim=True)
        scale = (size * big).sum(1) / big.sum(1).clamp(min=1)
        return (flat.sign() * big).reshape(weight.shape), scale.clamp(min=_TINY)
    elif states == 2:
        signs = torch.where(flat >= 0, 1.0, -1.0)
        return signs.reshape(weight.shape), size.mean(1).clamp(min=_TINY)
    else:
        scale = _clipped(flat, top(states))
    scale = scale.clamp(min=_TINY)
    return _levels(flat, scale, top(states)).reshape(weight.shape), scale


def _clipped(flat: Tensor, highest: int) -> Tensor:
    """Of each row the scale of least squared error among `CLIPS` of its largest magnitude."""
    tried = torch.stack([flat.abs().amax(1) * clip / highest for clip in CLIPS]).clamp(min=_TINY)
    errors = torch.stack([(_levels(flat, scale, highest) * scale[:, None] - flat).square().sum(1) for scale in tried])
    return tried.gather(0, errors.argmin(0)[None])[0]


def _levels(flat: Tensor, scale: Tensor, highest: int) -> Tensor:
    return torch.round(flat / scale[:, None]).clamp(-highest, highest)


def _spared(name: str) -> bool:
    return name.split(".")[0] == SPARED[0] or (name.startswith(SPARED[1]) and ".out" in name)
