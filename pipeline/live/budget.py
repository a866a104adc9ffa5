"""One CPU budget for the machine: what cameras leave of it is the CNN's; where they leave too little, they must get cheaper.

Pure. The CNN gives way first: a late look costs a little accuracy, a frame that is not decoded in time costs its label.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SHARE = 0.1
"""Of the budget: what the CNN always may use, for without looks no label is worth anything."""
MARGIN = 0.03
"""Of the budget, left unused: rates are means of the past."""


@dataclass(frozen=True, slots=True)
class Shares:
    """cnn: cores that the CNN may use. over: what cameras use of what they may, above 1 where they must get cheaper."""

    cnn: float
    over: float


def shares(cpus: float, cameras: float) -> Shares:
    """cpus: cores that all may use, above 0. cameras: cores that everything but the CNN uses now.

    Raises ValueError for a budget of 0 or less.
    """
    if not cpus > 0:
        raise ValueError(f"The CPU budget is {cpus:g} cores: give more than 0.")
    used = max(cameras, 0.0)
    least = LEAST_SHARE * cpus
    left = cpus * (1 - MARGIN) - used
    return Shares(min(max(left, least), cpus), used / (cpus - least))
