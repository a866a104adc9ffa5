"""Whole channels out of a net, so that it is really smaller.

Fang et al., DepGraph: Towards Any Structural Pruning (CVPR 2023): channels that only go together (through concatenations and
additions) are one group. torch-pruning finds the groups; `importance` says which of their channels matter.

Blocks: what is kept of each layer is a multiple of `round_to` channels, so that inputs and outputs come in blocks as wide as the
CPU computes them. Channels have no order of their own, so the best ones make up the blocks, not those that happen to be side by side
(Mao et al., Exploring the Regularity of Sparse Structure in Convolutional Neural Networks, 2017, take fixed blocks). Rows and columns of
kernels: `thin`. Single weights are not offered: a net with 90 % of its weights at zero takes as long on a CPU as the full
one (docs/compression.md has the number).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from everyframe.operators.compress.importance import Importance, scorer
from everyframe.operators.detectors.nanodet import NanoDet, convolutions
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32

ROUND_TO = 16
"""Channels are kept in whole vectors of the CPU."""
EXAMPLE = 320


def prune(
    net: NanoDet, share: float, round_to: int = ROUND_TO, importance: Importance = "magnitude", inputs: Sequence[F32] = ()
) -> NanoDet:
    """A copy of the net without `share` of the channels of every layer, those that matter least; the outputs stay.

    share: 0 to .9. round_to: channels kept are a multiple of it, 1 to 64. inputs: prepared pictures (1, h, w, 3) float32, for an
    importance that is found on pictures. Accuracy is lost until it is trained again (`distil`). Raises `OperatorError`.
    """
    if not 0 <= share <= 0.9:
        raise OperatorError(f"A share of {share} channels cannot be pruned: give 0 to 0.9.")
    if not 1 <= round_to <= 64:
        raise OperatorError(f"Blocks of {round_to} channels cannot be kept: give 1 to 64.")
    try:
        import torch_pruning as tp
    except ImportError as error:
        raise OperatorError('Pruning needs torch-pruning: run pip install "everyframe[compress]".') from error
    made = copy.deepcopy(net).requires_grad_(True)
    made.quantized = None
    judged = scorer(made, importance, inputs)
    if share == 0:
        return made.requires_grad_(False)
    class InBlocks(tp.pruner.BasePruner):  # type: ignore[misc]
        def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
            # One block stays: torch-pruning would round to none, which it then leaves whole.
            kept = max(round_to, (current_channels - n_pruned) // round_to * round_to)
            return max(0, current_channels - kept)

    pruner = InBlocks(
        made,
        torch.zeros(1, 3, EXAMPLE, EXAMPLE),
        importance=judged,
        pruning_ratio=share,
        ignored_layers=[head.out for head in made.heads.values()],
        round_to=round_to,
    )
    pruner.step()
    return made.requires_grad_(False)


def zero_least(net: NanoDet, share: float) -> NanoDet:
    """A copy of the net with `share` of the single weights of every convolution at zero, those of least magnitude (Han et
    al., NeurIPS 2015). For measuring only: nothing gets faster."""
    made = copy.deepcopy(net)
    for conv in made.modules():
        if isinstance(conv, torch.nn.Conv2d):
            size = conv.weight.abs().flatten()
            least = size.kthvalue(max(1, round(share * len(size)))).values
            conv.weight.data = torch.where(conv.weight.abs() <= least, 0.0, conv.weight)
    return made


def macs(net: NanoDet, height: int = 384, width: int = 640) -> float:
    """Multiplications and additions of one look, in units of 1e9."""
    return sum(macs_of(net, height, width).values())


def macs_of(net: NanoDet, height: int = 384, width: int = 640) -> dict[str, float]:
    """The same for each convolution."""
    found: dict[str, float] = {}

    def count(name: str, conv: nn.Conv2d, out: torch.Tensor) -> None:
        found[name] = out.shape[2] * out.shape[3] * conv.weight.numel() / 1e9

    hooks = [
        conv.register_forward_hook(lambda conv, _, out, name=name: count(name, conv, out)) for name, conv in convolutions(net)
    ]
    with torch.inference_mode():
        net(torch.zeros(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    return found
