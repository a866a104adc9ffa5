"""Convolutions as chains of smaller ones; `factors` has the methods and their papers.

Ranks are the least that keep a share of the energy, or those that stand out of the noise (`vbmf`), as Kim et al. (ICLR 2016) choose
them. A layer whose chain would not need a tenth fewer multiplications is left alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence

from torch import nn

from everyframe.operators.compress import factors
from everyframe.operators.compress.factors import METHODS, VBMF, Keep, Method
from everyframe.operators.detectors.nanodet import NanoDet, convolutions
from everyframe.operators.errors import OperatorError

__all__ = ["METHODS", "VBMF", "Keep", "Method", "decompose", "work"]

WORTH = 0.9


def decompose(
    net: NanoDet, method: Method, keep: Keep = 0.9, layers: Collection[str] | None = None
) -> tuple[NanoDet, dict[str, tuple[int, ...]]]:
    """A copy of the net with its 3x3 convolutions as chains, and the ranks of each that was replaced.

    keep: share of the squared singular values, more than 0 and at most 1, or "vbmf". layers: names of the convolutions to replace, None
    for all; CP takes minutes for the large ones. Raises `OperatorError`.
    """
    if method not in METHODS:
        raise OperatorError(f'Unknown decomposition "{method}": use {", ".join(METHODS)}.')
    if keep == VBMF and method == "btd":
        raise OperatorError("Ranks by vbmf are those of one matrix, which block terms (btd) have not: give a share of the energy.")
    if isinstance(keep, str) and keep != VBMF:
        raise OperatorError(f'Ranks by "{keep}" are unknown: give a share of the energy, or {VBMF}.')
    if not isinstance(keep, str) and not 0 < keep <= 1:
        raise OperatorError(f"A share of {keep} of the energy cannot be kept: give more than 0 and at most 1.")
    try:
        import tensorly
    except ImportError as error:
        raise OperatorError('Decomposing needs tensorly: run pip install "everyframe[compress]".') from error
    tensorly.set_backend("numpy")
    made = copy.deepcopy(net)
    made.quantized = None
    ranks: dict[str, tuple[int, ...]] = {}
    for name, conv in convolutions(made):
        if conv.kernel_size != (3, 3) or conv.groups > 1 or (layers is not None and name not in layers):
            continue
        chain, rank = factors.MAKERS[method](conv, keep)
        if work(chain) > WORTH * work([conv]):
            continue
        parent, _, last = name.rpartition(".")
        setattr(made.get_submodule(parent), last, nn.Sequential(*chain))
        ranks[name] = rank
    return made, ranks


def work(chain: Sequence[nn.Conv2d]) -> float:
    """Multiplications for each pixel that comes out: links before a stride see more pixels."""
    total, pixels = 0.0, 1
    for conv in reversed(chain):
        total += conv.weight.numel() * pixels
        pixels *= math.prod(conv.stride)
    return total
