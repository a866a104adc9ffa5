"""Gradients and updates of few bits, for learning in whole numbers.

After Wu et al., Training and Inference with Integers in Deep Neural Networks (WAGE, ICLR 2018): gradients are brought onto a grid by
their largest magnitude, weights live on a fixed grid of steps that are a power of two, and what an update would move them is rounded at
random so that it is right on the mean (Gupta et al., Deep Learning with Limited Numerical Precision, ICML 2015). Deviations: the update
is that of the optimizer in use (AdamW, whose own state stays in floating point), not plain gradient descent, and errors between layers
are not rounded. On a CPU it saves no time: it says what such training would cost in accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from everyframe.operators.errors import OperatorError

FEWEST, MOST = 4, 16


@dataclass(frozen=True, slots=True)
class Grid:
    """parameters: of the net, on the grid. steps: of each, a power of two. bits: of gradients and of weights."""

    parameters: tuple[nn.Parameter, ...]
    steps: tuple[float, ...]
    bits: int
    random: torch.Generator

    def round_gradients(self) -> None:
        """In place, each tensor by its largest magnitude."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                step = float(parameter.grad.abs().max()) / (2 ** (self.bits - 1) - 1)
                if step > 0:
                    parameter.grad = stochastic(parameter.grad, step, self.random)

    def values(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    def round_updates(self, before: Iterable[Tensor]) -> None:
        """Parameters go from where they were, on the grid, to a point of the grid near where the optimizer has put them."""
        for parameter, was, step in zip(self.parameters, before, self.steps, strict=True):
            most = step * (2 ** (self.bits - 1) - 1)
            parameter.data = (was + stochastic(parameter.detach() - was, step, self.random)).clamp(-most, most)


def on_grid(net: nn.Module, bits: int, seed: int) -> Grid:
    """Rounds the net's parameters, in place, to grids that hold their largest values. Raises `OperatorError`."""
    if not FEWEST <= bits <= MOST:
        raise OperatorError(f"Updates of {bits} bits cannot be made: give {FEWEST} to {MOST}.")
    parameters = tuple(net.parameters())
    steps = tuple(_step(parameter, bits) for parameter in parameters)
    for parameter, step in zip(parameters, steps, strict=True):
        parameter.data = torch.round(parameter.detach() / step) * step
    return Grid(parameters, steps, bits, torch.Generator().manual_seed(seed))


def stochastic(x: Tensor, step: float, random: torch.Generator) -> Tensor:
    """Whole multiples of step below or above x, so that the mean is x."""
    return torch.floor(x / step + torch.rand(x.shape, generator=random)) * step


def _step(parameter: Tensor, bits: int) -> float:
    """One bit of room above the largest value, to grow into."""
    largest = float(parameter.detach().abs().max())
    return float(2.0 ** (math.ceil(math.log2(max(largest, 1e-8))) + 1 - (bits - 1)))
