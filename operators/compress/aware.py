"""Learning with the rounding that the net will be computed with.

Jacob et al. (CVPR 2018): weights and activations are rounded on the way forward, and the gradient passes as if they were not
(straight-through, Bengio et al., 2013); outside an activation's range it is 0. Weights have a scale for each output channel, found
anew at every step; activations the ranges that calibration found, which stay (deviation: not learned).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from everyframe.operators.compress.distil import Course, Progress, distil
from everyframe.operators.compress.lowbit import project, settle
from everyframe.operators.detectors.bits import FULL
from everyframe.operators.detectors.nanodet import Maps, NanoDet
from everyframe.operators.detectors.runtimes import Whole
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import U8

RATE = 1e-4
"""Of learning: the net is nearly there."""
STEPS_OF_8_BITS = 255


def learn(
    net: NanoDet, teacher: NanoDet, pictures: Sequence[Sequence[U8]], course: Course, tell: Progress | None = None
) -> NanoDet:
    """The rounded net (`quantize` or `low_bit` made it), trained further from the teacher; its weights are rounded again.

    pictures, course, tell: as `distil` has them. Raises `OperatorError`.
    """
    if net.quantized is None:
        raise OperatorError("There is nothing to round while it learns: quantize the net first.")
    return settle(distil(net, teacher, pictures, course, tell, rounded))


def rounded(net: NanoDet) -> Callable[[Tensor], Maps]:
    """The net as it is computed with its weights and activations rounded: (n, 3, h, w) to three maps; gradients reach its weights."""
    run = _Rounded(net)
    return lambda x: run.run(x.permute(0, 2, 3, 1))


class _Rounded(fx.Interpreter):
    """Nodes are called as in the graph that the ranges were found in."""

    def __init__(self, net: NanoDet) -> None:
        whole = Whole(net)
        super().__init__(fx.GraphModule(whole, fx.Tracer().trace(whole)))
        assert net.quantized is not None
        self._ranges, self._states = net.quantized.ranges, net.quantized.states

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        ends = self._ranges.get(n.name)
        return made if ends is None else round_between(made, *ends)

    def call_module(self, target: fx.node.Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        conv = self.fetch_attr(str(target))
        assert isinstance(conv, nn.Conv2d)
        states = self._states.get(str(target).removeprefix("net."), FULL)
        return conv._conv_forward(args[0], round_weight(conv.weight, states), conv.bias)


def round_weight(weight: Tensor, states: int) -> Tensor:
    """The weight on its levels, float32; its gradient is that of the weight."""
    with torch.no_grad():
        levels, scale = project(weight, states)
        away = levels * scale.view(-1, 1, 1, 1) - weight
    return weight + away


def round_between(x: Tensor, low: float, high: float) -> Tensor:
    """x on 256 levels from low to high, as OpenVINO rounds; the gradient is 0 outside."""
    step = max(high - low, 1e-12) / STEPS_OF_8_BITS
    inside = x.float().clamp(low, high)
    with torch.no_grad():
        away = torch.round((inside - low) / step) * step + low - inside
    return inside + away
