"""Weights of few levels, several in one byte.

A byte holds two weights of 15 levels (4 bit), five of three (ternary: 3 ** 5 = 243 fit, 1.6 bit each) or eight of two (binary).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FULL = 255
"""Levels of plain int8: -127 to 127, one weight in a byte."""
_PLACES = {15: (16, 2), 3: (3, 5), 2: (2, 8)}
"""By number of levels: the base of the digits, and how many digits a byte holds."""
STATES = tuple(_PLACES)


def top(states: int) -> int:
    """The largest level: 127 of 255, 7 of 15, 1 of 3 and of 2."""
    return max(1, states // 2)


def pack(levels: Tensor, states: int) -> Tensor:
    """levels: whole numbers from -top to top, any shape and dtype, none 0 where states is 2. Gives uint8 (bytes,)."""
    base, places = _PLACES[states]
    digits = (levels.reshape(-1).long() + top(states)) // (2 if states == 2 else 1)
    padded = torch.zeros(-(-len(digits) // places) * places, dtype=torch.long)
    padded[: len(digits)] = digits
    powers = base ** torch.arange(places)
    return (padded.reshape(-1, places) * powers).sum(1).to(torch.uint8)


def unpack(data: Tensor, states: int, shape: Sequence[int]) -> Tensor:
    """What `pack` took, int8 of this shape. Raises `ValueError` where the bytes cannot be that."""
    if states not in _PLACES:
        raise ValueError(f"{states} levels")
    base, places = _PLACES[states]
    count = math.prod(shape)
    if data.dtype != torch.uint8 or data.dim() != 1 or len(data) != -(-count // places) or min(shape, default=0) < 1:
        raise ValueError("wrong number of bytes")
    digits = (data.long()[:, None] // base ** torch.arange(places) % base).reshape(-1)[:count]
    if bool((digits >= states).any()) or bool((data >= base**places).any() if base**places < 256 else False):
        raise ValueError("levels out of range")
    levels = digits * (2 if states == 2 else 1) - top(states)
    return levels.to(torch.int8).reshape(tuple(shape))
