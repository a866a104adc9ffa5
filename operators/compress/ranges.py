"""Weights and activations in 8 bits within a second: for nets that are compared and thrown away. `quantize` is for those that are kept.

Values are rounded where NNCF rounds them in this net: the picture, what the activations give, the neck's maps and their sums; what lies
side by side in one concatenation has one range. Ranges are the means of each picture's lowest and highest value (Jacob et al., CVPR
2018), scales hold the largest weight. Nothing corrects the biases.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from everyframe.operators.detectors.nanodet import NanoDet, Quantized, convolutions
from everyframe.operators.detectors.runtimes import Whole
from everyframe.operators.types import F32


def rounded(net: NanoDet, inputs: Sequence[F32]) -> NanoDet:
    """A copy of the net that knows how it is computed in int8, its weights on their levels. inputs: prepared pictures (1, h, w, 3)
    float32 of one size."""
    made: NanoDet = copy.deepcopy(net)
    made.quantized = None
    scales: dict[str, Tensor] = {}
    for name, conv in convolutions(made):
        scale = conv.weight.detach().abs().amax((1, 2, 3)).clamp(min=1e-6) / 127
        whole = scale.view(-1, 1, 1, 1)
        conv.weight.data = torch.round(conv.weight.detach() / whole) * whole
        scales[name] = scale
    seen = _Seen(fx.symbolic_trace(Whole(net)))
    with torch.inference_mode():
        seen.run(torch.from_numpy(np.concatenate(inputs)))
    made.quantized = Quantized(scales, seen.unified())
    return made


class _Seen(fx.Interpreter):
    """Computes a net and keeps the ranges of what is to be rounded."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self._nodes = list(traced.graph.nodes)
        self._ranges: dict[str, tuple[float, float]] = {}

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if _is_rounded(n):
            values = out.flatten(1)
            self._ranges[n.name] = (float(values.amin(1).mean()), float(values.amax(1).mean()))
        return out

    def unified(self) -> dict[str, tuple[float, float]]:
        """One range for what is concatenated, also over several concatenations."""
        group: dict[str, set[str]] = {name: {name} for name in self._ranges}
        for node in self._nodes:
            if node.target is torch.cat:
                beside = [part.name for part in node.args[0] if part.name in group]
                together = set[str]().union(*(group[name] for name in beside))
                group |= dict.fromkeys(together, together)
        return {
            name: (min(self._ranges[m][0] for m in mine), max(self._ranges[m][1] for m in mine)) for name, mine in group.items()
        }


def _is_rounded(node: fx.Node) -> bool:
    lateral = node.op == "call_module" and "lateral" in str(node.target)
    return lateral or node.op == "placeholder" or node.target is F.leaky_relu or node.name.split("_")[0] in ("interpolate", "add")
