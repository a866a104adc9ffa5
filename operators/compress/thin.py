"""Rows and columns out of kernels, so that 3x3 convolutions become 1x3 or 3x1 ones with a third of the work.

Vector-level sparsity of Mao et al. (Exploring the Regularity of Sparse Structure in Convolutional Neural Networks, 2017): what goes is
not single weights but whole rows or columns of kernels. Deviations: the same ones of all kernels of a convolution, for only then
does it get smaller (kernels that each lack another row are a mask, and take as long as before); and both outer rows or both
outer columns, so that what is left stays in the middle. The convolutions that lose least are changed first; how much they lose is told
by magnitude, as in the paper, or by taylor (`importance`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from everyframe.operators.compress.importance import Importance, products
from everyframe.operators.compress.prune import macs_of
from everyframe.operators.detectors.nanodet import NanoDet, convolutions
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32

MOST = 0.66
"""A 3x3 kernel has three rows, of which one stays."""
Axis = Literal["rows", "columns"]


def thin(
    net: NanoDet, share: float, importance: Importance = "magnitude", inputs: Sequence[F32] = ()
) -> tuple[NanoDet, dict[str, Axis]]:
    """A copy of the net in which rows or columns of 3x3 kernels with at least `share` of these kernels' work are gone, and which
    of them went where.

    share: of the multiplications of a look, 0 to .66. importance: "magnitude" or "taylor", the latter found on inputs, prepared
    pictures (1, h, w, 3) float32. Accuracy is lost until it is trained again (`distil`). Raises `OperatorError`.
    """
    if not 0 <= share <= MOST:
        raise OperatorError(f"A share of {share} of the rows of kernels cannot go: give 0 to {MOST}.")
    if importance == "scale":
        raise OperatorError("Rows and columns have no scale of their own: take magnitude or taylor.")
    made = copy.deepcopy(net)
    made.quantized = None
    wide = {name: conv for name, conv in convolutions(made) if conv.kernel_size == (3, 3) and conv.groups == 1}
    changed: dict[str, Axis] = {}
    if share == 0:
        return made, changed
    work = {name: macs for name, macs in macs_of(made).items() if name in wide}
    left = sum(work.values())
    most = (1 - share) * left
    for name, axis in _by_loss(net, work, importance, inputs):
        if left <= most:
            break
        parent, _, last = name.rpartition(".")
        setattr(made.get_submodule(parent), last, without(wide[name], axis))
        left -= work[name] * 2 / 3
        changed[name] = axis
    return made, changed


def without(conv: nn.Conv2d, axis: Axis) -> nn.Conv2d:
    """The middle row or column alone of a 3x3 convolution; what comes out has the same size."""
    kept = conv.weight.detach()[:, :, 1:2] if axis == "rows" else conv.weight.detach()[:, :, :, 1:2]
    py, px = (int(p) for p in conv.padding)
    made = nn.Conv2d(
        conv.in_channels, conv.out_channels, (kept.shape[2], kept.shape[3]), (conv.stride[0], conv.stride[1]),
        (py if kept.shape[2] > 1 else 0, px if kept.shape[3] > 1 else 0),
    )  # fmt: skip
    made.weight.data = kept.clone()
    assert made.bias is not None and conv.bias is not None
    made.bias.data = conv.bias.detach().clone()
    return made.requires_grad_(False)


def _by_loss(
    net: NanoDet, work: Mapping[str, float], importance: Importance, inputs: Sequence[F32]
) -> list[tuple[str, Axis]]:
    """Convolutions with the axis along which they lose less, those that lose least first. work: multiplications of each."""
    convs = dict(convolutions(net))
    if importance == "taylor":
        # Both outer rows go at once, so their products are summed before they are squared; then for the work that is saved.
        found = products(net, inputs, lambda weight, _: _outer_sums(weight))
        loss = {name: found[name].square().mean(0) / work[name] for name in work}
    else:
        loss = {name: _outer_sums(w.square()) / w.square().sum() for name in work for w in [convs[name].weight.double()]}
    order = sorted(work, key=lambda name: (float(loss[name].min()), name))
    return [(name, "rows" if loss[name][0] <= loss[name][1] else "columns") for name in order]


def _outer_sums(values: Tensor) -> Tensor:
    """Of a kernel's numbers (outputs, inputs, 3, 3) those of the outer rows and of the outer columns, summed: (2,)."""
    if tuple(values.shape[2:]) != (3, 3):
        return torch.zeros(2, dtype=values.dtype)
    return torch.stack((values[:, :, ::2].sum(), values[:, :, :, ::2].sum()))
