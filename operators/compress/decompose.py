"""Convolutions as chains of smaller ones.

- Tucker-2 (Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications, ICLR 2016): 1x1 to a few channels, k x k
  among few, 1x1 back.
- Tensor train over (inputs, rows, columns, outputs) (Oseledets, Tensor-Train Decomposition, 2011; as convolutions: Garipov et al.,
  2016): 1x1, k x 1, 1 x k, 1x1.
- CP (Lebedev et al., Speeding-up CNNs Using Fine-tuned CP-Decomposition, ICLR 2015): 1x1, k x 1 and 1 x k channel by channel, 1x1.

tensorly finds the factors. Deviation: ranks are the least that keep a share of the energy (squared singular values) instead of
VBMF, and a layer that would not get cheaper by at least a tenth is left alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError

Method = Literal["tucker", "tt", "cp"]
METHODS: tuple[Method, ...] = ("tucker", "tt", "cp")
WORTH = 0.9
CP_ITERATIONS = 60
TUCKER_ITERATIONS = 3  # from the singular vectors: further ones change little


def decompose(
    net: NanoDet, method: Method, energy: float = 0.9, layers: Collection[str] | None = None
) -> tuple[NanoDet, dict[str, tuple[int, ...]]]:
    """A copy of the net with its 3x3 convolutions as chains, and the ranks of each that was replaced.

    energy: share of the squared singular values to keep, 0 to 1. layers: names of the convolutions to replace, None for all; CP
    takes minutes for the large ones. Raises `OperatorError`.
    """
    if method not in METHODS:
        raise OperatorError(f'Unknown decomposition "{method}": use {", ".join(METHODS)}.')
    if not 0 < energy <= 1:
        raise OperatorError(f"A share of {energy} of the energy cannot be kept: give more than 0 and at most 1.")
    try:
        import tensorly
    except ImportError as error:
        raise OperatorError('Decomposing needs tensorly: run pip install "everyframe[compress]".') from error
    tensorly.set_backend("numpy")
    made = copy.deepcopy(net)
    made.quantized = None
    ranks: dict[str, tuple[int, ...]] = {}
    for name, conv in list(made.named_modules()):
        if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (3, 3) or (layers is not None and name not in layers):
            continue
        chain, rank = _MAKERS[method](conv, energy)
        if sum(c.weight.numel() for c in chain) > WORTH * conv.weight.numel():
            continue
        parent, _, last = name.rpartition(".")
        setattr(made.get_submodule(parent), last, nn.Sequential(*chain))
        ranks[name] = rank
    return made, ranks


def rank_of(matrix: np.ndarray, energy: float) -> int:
    """The least rank that keeps a share of the energy of a matrix, a multiple of 8 where it is larger than that."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    values = np.linalg.eigvalsh(short @ short.T)[::-1].clip(0)  # squared singular values, at a tenth of the time
    rank = int(np.searchsorted(np.cumsum(values), energy * values.sum() - 1e-9)) + 1
    rounded = -(-rank // 8) * 8
    return int(min(rounded, *matrix.shape))


def _weight(conv: nn.Conv2d) -> np.ndarray:
    """(outputs, inputs, k, k)."""
    found: np.ndarray = conv.weight.detach().double().numpy()
    return found


def _conv(weight: np.ndarray, like: nn.Conv2d, at: Literal["none", "rows", "cols", "both"], groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution of this weight that does the part of `like`'s striding and padding which its axes have."""
    (sy, sx), (py, px) = like.stride, (int(like.padding[0]), int(like.padding[1]))
    y, x = at in ("rows", "both"), at in ("cols", "both")
    kernel = (weight.shape[2], weight.shape[3])
    made = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], kernel, (sy if y else 1, sx if x else 1),
        (py if y else 0, px if x else 0), groups=groups,
    )  # fmt: skip
    made.weight.data = torch.from_numpy(np.ascontiguousarray(weight, np.float32))
    assert made.bias is not None and like.bias is not None
    made.bias.data = like.bias.detach().clone() if bias else torch.zeros(weight.shape[0])
    return made.requires_grad_(False)


def _tucker(conv: nn.Conv2d, energy: float) -> tuple[list[nn.Conv2d], tuple[int, ...]]:
    from tensorly.decomposition import partial_tucker

    w = _weight(conv)
    o, i = w.shape[:2]
    ranks = (rank_of(w.reshape(o, -1), energy), rank_of(w.transpose(1, 0, 2, 3).reshape(i, -1), energy))
    (core, (left, right)), _ = partial_tucker(w, rank=list(ranks), modes=[0, 1], n_iter_max=TUCKER_ITERATIONS)
    chain = [
        _conv(right.T[:, :, None, None], conv, "none"),
        _conv(core, conv, "both"),
        _conv(left[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, ranks


def _tt(conv: nn.Conv2d, energy: float) -> tuple[list[nn.Conv2d], tuple[int, ...]]:
    from tensorly.decomposition import tensor_train

    w = _weight(conv).transpose(1, 2, 3, 0)  # inputs, rows, columns, outputs
    i, k = w.shape[:2]
    ranks = tuple(rank_of(w.reshape(n, -1), energy) for n in (i, i * k, i * k * k))
    first, second, third, last = tensor_train(w, rank=[1, *ranks, 1]).factors
    chain = [
        _conv(first[0].T[:, :, None, None], conv, "none"),
        _conv(second.transpose(2, 0, 1)[:, :, :, None], conv, "rows"),
        _conv(third.transpose(2, 0, 1)[:, :, None, :], conv, "cols"),
        _conv(last[:, :, 0].T[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, ranks


def _cp(conv: nn.Conv2d, energy: float) -> tuple[list[nn.Conv2d], tuple[int, ...]]:
    from tensorly.decomposition import parafac

    w = _weight(conv)
    o, i = w.shape[:2]
    rank = max(rank_of(w.reshape(o, -1), energy), rank_of(w.transpose(1, 0, 2, 3).reshape(i, -1), energy))
    factors: list[Any] = parafac(w, rank=rank, n_iter_max=CP_ITERATIONS, init="random", random_state=0, tol=1e-5).factors
    out, inner, rows, cols = factors
    chain = [
        _conv(inner.T[:, :, None, None], conv, "none"),
        _conv(rows.T[:, None, :, None], conv, "rows", groups=rank),
        _conv(cols.T[:, None, None, :], conv, "cols", groups=rank),
        _conv(out[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, (rank,)


_MAKERS: dict[Method, Callable[[nn.Conv2d, float], tuple[list[nn.Conv2d], tuple[int, ...]]]] = {
    "tucker": _tucker, "tt": _tt, "cp": _cp,
}  # fmt: skip
