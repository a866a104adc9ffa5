"""The table of operators: every rung by its name, and what it needs. Policies name rungs, they don't know them."""

from __future__ import annotations

from collections.abc import Callable

from everyframe.operators.base import Detector, Operator, Prices
from everyframe.operators.detect import Detect
from everyframe.operators.hold import Hold
from everyframe.operators.propagate import Propagate
from everyframe.operators.region.operator import Region


def _flow(detector: Detector, prices: Prices) -> Operator:
    from everyframe.operators.flow.operator import Flow  # with PyTorch, which a camera's process does without

    return Flow(detector, prices)


def _residual(detector: Detector, prices: Prices) -> Operator:
    from everyframe.operators.residual.operator import Residual

    return Residual(detector, prices)


OPERATORS: dict[str, Callable[[Detector, Prices], Operator]] = {
    "hold": lambda detector, prices: Hold(),
    "propagate": lambda detector, prices: Propagate(),
    "flow": _flow,
    "region": Region,
    "residual": _residual,
    "detect": lambda detector, prices: Detect(detector),
}
"""In the order of rising cost. Each is made from the stream's detector, which the cheap ones leave alone."""


def make_operator(name: str, detector: Detector, prices: Prices | None = None) -> Operator:
    """The operator of that name; of "detect@fast" the look with that capacity, whose detector is then given. Raises KeyError
    where there is none."""
    kind, _, capacity = name.partition("@")
    if kind == "detect" and capacity:
        return Detect(detector, capacity)
    return OPERATORS[name](detector, prices or Prices())
