"""Weights of a cut net found anew from pictures, without gradients: each convolution is to give what the full net gives there.

He et al., Channel Pruning for Accelerating Very Deep Networks (ICCV 2017): least squares, layer by layer, from what the layers before
really give now, so that later ones make up for what earlier ones lost. Deviations: the penalty draws the weights to those that
they had (to 0 where they had none), as few pictures would not hold so many; half of the places lie in what the full
net found, as those are what counts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from everyframe.operators.detectors.nanodet import NanoDet, convolutions
from everyframe.operators.types import F32

PLACES = 6000
"""Of each map, at most."""
RIDGE = 0.03
"""Of the penalty, in mean squares of the inputs."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the full net gives. x: pictures (n, 3, h, w) as the net takes them. places: by size of map, picture, row and column
    (3, m) int64. wanted: by convolution, before its activation, (m, channels) float32 at the places of its map."""

    x: Tensor
    places: dict[tuple[int, int], Tensor]
    wanted: dict[str, Tensor]


def remember(net: NanoDet, inputs: Sequence[F32], boxes: Sequence[F32], seed: int = 0) -> Memory:
    """inputs: prepared pictures (1, h, w, 3) float32 of one size. boxes: of each, (m, 4) in its pixels: what it shows."""
    x = torch.from_numpy(np.concatenate(inputs)).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    rng = np.random.default_rng(seed)
    places: dict[tuple[int, int], Tensor] = {}
    wanted: dict[str, Tensor] = {}

    def keep(name: str, out: Tensor) -> None:
        size = (out.shape[2], out.shape[3])
        if size not in places:
            places[size] = _places(len(x), size, (x.shape[2], x.shape[3]), boxes, rng)
        n, row, column = places[size]
        wanted[name] = out[n, :, row, column].clone()

    with _watched(net, keep), torch.inference_mode():
        net(x)
    return Memory(x, places, wanted)


def refit(net: NanoDet, memory: Memory, ridge: float = RIDGE) -> NanoDet:
    """A copy of the net, whose convolutions have the names of the full net's and the first of their outputs, with new weights."""
    made: NanoDet = copy.deepcopy(net)
    made.quantized = None
    hooks = []

    def put_right(name: str, conv: nn.Conv2d, x: Tensor, out: Tensor) -> Tensor:
        places = memory.places[(out.shape[2], out.shape[3])]
        assert conv.bias is not None
        wanted = memory.wanted[name][:, : conv.out_channels]
        conv.weight.data, conv.bias.data = solved(conv, _patches(conv, x, places), wanted, ridge)
        again: Tensor = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)
        return again

    for name, conv in convolutions(made):
        hooks.append(conv.register_forward_hook(lambda conv, x, out, name=name: put_right(name, conv, x[0], out)))
    with torch.no_grad():
        made(memory.x)
    for hook in hooks:
        hook.remove()
    return made


def solved(conv: nn.Conv2d, patches: Tensor, wanted: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weights and biases with which `conv` comes nearest to `wanted` (m, outputs). patches: its inputs there, (m, i * h * w)."""
    assert conv.bias is not None
    flat = conv.weight.detach().flatten(1)
    mean_x, mean_y = patches.mean(0), wanted.mean(0)
    x = patches - mean_x
    missing = wanted - mean_y - x @ flat.T
    square = (x.T @ x).double() / len(x)
    square.diagonal().add_(ridge * square.diagonal().mean() + 1e-9)
    change = torch.linalg.solve(square, ((x.T @ missing) / len(x)).double()).float()
    weight = flat + change.T
    return weight.view_as(conv.weight).contiguous(), mean_y - weight @ mean_x


def _patches(conv: nn.Conv2d, x: Tensor, places: Tensor) -> Tensor:
    """What the convolution sees at places of its output: (m, i * h * w)."""
    assert not isinstance(conv.padding, str)
    high, wide = conv.kernel_size
    padded = F.pad(x, (conv.padding[1], conv.padding[1], conv.padding[0], conv.padding[0]))
    n, row, column = places[0], places[1] * conv.stride[0], places[2] * conv.stride[1]
    taps = [padded[n, :, row + dy, column + dx] for dy in range(high) for dx in range(wide)]
    return torch.stack(taps, 2).flatten(1)


def _places(
    pictures: int, size: tuple[int, int], whole: tuple[int, int], boxes: Sequence[F32], rng: np.random.Generator
) -> Tensor:
    """Places of a map; half of them where something is, if there is room."""
    inside = np.zeros((pictures, *size), np.bool_)
    scale = np.array((size[1] / whole[1], size[0] / whole[0]) * 2)
    for i, found in enumerate(boxes):
        for x0, y0, x1, y1 in np.asarray(found).reshape(-1, 4) * scale:
            inside[i, int(max(0, y0)) : int(np.ceil(y1)), int(max(0, x0)) : int(np.ceil(x1))] = True
    every = np.arange(inside.size)
    if len(every) > PLACES:
        shown = np.flatnonzero(inside)
        shown = rng.choice(shown, min(len(shown), PLACES // 2), replace=False)
        every = np.union1d(shown, rng.choice(every, PLACES - len(shown), replace=False))
    return torch.from_numpy(np.stack(np.unravel_index(every, inside.shape)).astype(np.int64))


class _watched:
    """Tells what each convolution gives, while it lasts."""

    def __init__(self, net: NanoDet, tell: object) -> None:
        self._net, self._tell = net, tell
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        for name, conv in convolutions(self._net):
            self._hooks.append(conv.register_forward_hook(lambda _, __, out, name=name: self._tell(name, out)))  # type: ignore[operator]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
