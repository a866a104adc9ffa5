"""Nets cut out of one set of weights: any width for each part, fewer blocks, smaller kernels.

Cai et al., Once-for-All (ICLR 2020): width, depth and kernel size of each stage are chosen after the weights are there. Width: the first
channels in the order of importance that `slimmable` brought them into. Depth: this net's blocks have no path around them (both
convolutions' results are kept, not added to what went in), so to leave one out is no small change: what comes after it is found
anew by `refit`. Kernel: the largest is 3x3, and only its centre is smaller; offered where much time goes and no other
convolution would be left without a view of its neighbours. Deviation: nothing is trained for all cuts at once; `refit` and learning mend the one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from everyframe.operators.detectors import weights
from everyframe.operators.detectors.nanodet import BLOCKS, NanoDet, convolutions
from everyframe.operators.detectors.slim import Slim, kept

PARTS = ("stage1", "stage2", "stage3", "stage4", "neck", "heads")
"""What has a width of its own; the stem goes with the first stage."""
SMALLER = ("stage1", "stage2", "stage3", "stage4", "heads")
"""What may have a kernel of 1x1: the last convolution of each stage, the first of the heads."""
_LATERALS = {"8": "stage2", "16": "stage3", "32": "stage4"}


@dataclass(frozen=True, slots=True)
class Subnet:
    """widths: share of the channels of each of `PARTS`, among those of the weights. blocks: of each stage, the first ones. kernels:
    3 or 1 for each of `SMALLER`."""

    widths: tuple[float, ...] = (1.0,) * len(PARTS)
    blocks: tuple[int, int, int, int] = BLOCKS
    kernels: tuple[int, ...] = (3,) * len(SMALLER)

    @property
    def whole(self) -> bool:
        """Whether nothing is cut away."""
        return self == Subnet()

    def __str__(self) -> str:
        same = len(set(self.widths)) == 1
        widths = f"{self.widths[0]:g}" if same else " ".join(f"{w:g}" for w in self.widths)
        text = f"widths {widths}"
        if self.blocks != BLOCKS:
            text += f", blocks {' '.join(map(str, self.blocks))}"
        if 1 in self.kernels:
            text += f", 1x1 in {' '.join(p for p, k in zip(SMALLER, self.kernels, strict=True) if k == 1)}"
        return text


def cut(slim: Slim, subnet: Subnet) -> NanoDet:
    """The subnet with its share of the weights, in inference mode. slim: in order of importance, with gains and biases for all
    widths that the subnet has. What lost its input has weights of 0: `refit` finds them."""
    made = NanoDet(subnet.blocks)
    state: dict[str, Tensor] = {}
    for name, _ in convolutions(made):
        state[f"{name}.weight"], state[f"{name}.bias"] = _taken(slim, subnet, name)
    weights.fit_channels(made, {key.replace("heads.", "head."): value for key, value in state.items()})
    made.load_state_dict(state, assign=True)
    return made.requires_grad_(False).eval()


def _taken(slim: Slim, subnet: Subnet, name: str) -> tuple[Tensor, Tensor]:
    """Weights and biases of one convolution of the subnet."""
    conv = slim.net.get_submodule(name)
    weight, bias = conv.get_parameter("weight").detach(), conv.get_parameter("bias").detach()
    width = _width(subnet, name)
    outputs = len(weight) if name in slim.whole else kept(len(weight), width)
    gain = torch.ones(outputs)
    if width != 1:
        gain, bias = slim.own[width][name]
    weight = weight[:outputs] * gain.view(-1, 1, 1, 1)
    if _kernel(subnet, name) == 1:
        weight = weight[:, :, 1:2, 1:2]
    before = _sources(name, subnet.blocks)
    if before != _sources(name, BLOCKS):
        inputs = sum(kept(slim.net.get_submodule(s).get_parameter("weight").shape[0], _width(subnet, s)) for s in before)
        return torch.zeros(outputs, inputs, *weight.shape[2:]), bias[:outputs].clone()
    if before:
        pieces = torch.split(weight, list(slim.inputs[name]), 1)
        weight = torch.cat([p[:, : kept(p.shape[1], _width(subnet, s))] for p, s in zip(pieces, before, strict=True)], 1)
    return weight.clone().contiguous(), bias[:outputs].clone()


def _width(subnet: Subnet, name: str) -> float:
    head = name.split(".")[0]
    part = {"stem": "stage1", "lateral": "neck"}.get(head, head)
    return subnet.widths[PARTS.index(part)]


def _kernel(subnet: Subnet, name: str) -> int:
    head, _, rest = name.partition(".")
    smaller = rest == "exit" or (head == "heads" and rest.endswith("conv"))
    return subnet.kernels[SMALLER.index(head)] if smaller else 3


def _sources(name: str, blocks: tuple[int, ...]) -> list[str]:
    """Convolutions whose results, side by side, are the input of one; none for the first."""
    head, *rest = name.split(".")
    if head == "stem":
        return []
    if head == "lateral":
        return [f"{_LATERALS[rest[0]]}.exit", f"{_LATERALS[rest[0]]}.entry"]
    if head == "heads":
        return [f"lateral.{rest[0]}"] if rest[1] == "conv" else [f"heads.{rest[0]}.conv"]
    at = int(head.removeprefix("stage"))
    if rest[0] == "entry":
        return ["stem"] if at == 1 else [f"stage{at - 1}.exit", f"stage{at - 1}.entry"]
    if rest[-1] == "conv_b":
        return [f"{head}.{rest[0]}.conv_a"]
    last = blocks[at - 1] if rest[0] == "exit" else int(rest[0].removeprefix("block"))
    return [f"{head}.block{last - 1}.conv_b", f"{head}.block{last - 1}.conv_a"] if last else [f"{head}.entry"]
