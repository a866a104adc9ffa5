"""A 3x3 convolution as a chain of smaller ones, in five ways.

- tucker, Tucker-2 (Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications, ICLR 2016): 1x1 to a few
  channels, k x k among few, 1x1 back.
- tt, tensor train over (inputs, rows, columns, outputs) (Oseledets, Tensor-Train Decomposition, 2011; as convolutions: Garipov et al.,
  2016): 1x1, k x 1, 1 x k, 1x1.
- tr, tensor ring (Zhao et al., Tensor Ring Decomposition, 2016; as convolutions: Wang et al., Wide Compression: Tensor Ring Nets, CVPR
  2018): as a train, but several side by side whose first and last links are joined. The middle convolutions are grouped; groups begin
  with equal weights and learn apart (deviation). Own code by successive singular vectors: tensorly's wants the ranks beforehand.
- cp (Lebedev et al., Speeding-up CNNs Using Fine-tuned CP-Decomposition, ICLR 2015): 1x1, k x 1 and 1 x k channel by channel, 1x1.
- btd, block terms (De Lathauwer, Decompositions of a Higher-Order Tensor in Block Terms, 2008; as a grouped convolution between 1x1 ones:
  Chen et al., Sharing Residual Units Through Collective Tensor Factorization, IJCAI 2018): `block_terms`.

tensorly finds the factors of tucker, tt and cp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from everyframe.operators.compress.block_terms import block_terms
from everyframe.operators.compress.vbmf import vbmf_rank

F64 = NDArray[np.float64]
Method = Literal["tucker", "tt", "tr", "cp", "btd"]
METHODS: tuple[Method, ...] = ("tucker", "tt", "tr", "cp", "btd")
VBMF: Final = "vbmf"
Keep = float | Literal["vbmf"]
"""How ranks are found: by the share of the energy (squared singular values) to keep, or by what stands out of the noise."""
Chain = tuple[list[nn.Conv2d], tuple[int, ...]]
"""The convolutions, and their ranks."""
CP_ITERATIONS = 60
TUCKER_ITERATIONS = 3  # from the singular vectors: further ones change little
RINGS = (2, 4)
"""Trains side by side in a ring; with one it were a train."""


def rank_of(matrix: np.ndarray, keep: Keep) -> int:
    """The least rank that keeps a share of the energy of a matrix, or that of `vbmf_rank`; a multiple of 8 where it is larger."""
    if keep == "vbmf":
        rank = max(1, vbmf_rank(matrix))
    else:
        short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        values = np.linalg.eigvalsh(short @ short.T)[::-1].clip(0)  # squared singular values, at a tenth of the time
        rank = int(np.searchsorted(np.cumsum(values), keep * values.sum() - 1e-9)) + 1
    rounded = -(-rank // 8) * 8
    return int(min(rounded, *matrix.shape))


def _weight(conv: nn.Conv2d) -> F64:
    """(outputs, inputs, k, k)."""
    found: F64 = conv.weight.detach().double().numpy()
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


def _tucker_ranks(w: F64, keep: Keep) -> tuple[int, int]:
    o, i = w.shape[:2]
    return rank_of(w.reshape(o, -1), keep), rank_of(w.transpose(1, 0, 2, 3).reshape(i, -1), keep)


def _tucker(conv: nn.Conv2d, keep: Keep) -> Chain:
    from tensorly.decomposition import partial_tucker

    w = _weight(conv)
    ranks = _tucker_ranks(w, keep)
    (core, (left, right)), _ = partial_tucker(w, rank=list(ranks), modes=[0, 1], n_iter_max=TUCKER_ITERATIONS)
    chain = [
        _conv(right.T[:, :, None, None], conv, "none"),
        _conv(core, conv, "both"),
        _conv(left[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, ranks


def _tt(conv: nn.Conv2d, keep: Keep) -> Chain:
    from tensorly.decomposition import tensor_train

    w = _weight(conv).transpose(1, 2, 3, 0)  # inputs, rows, columns, outputs
    i, k = w.shape[:2]
    ranks = tuple(rank_of(w.reshape(n, -1), keep) for n in (i, i * k, i * k * k))
    first, second, third, last = tensor_train(w, rank=[1, *ranks, 1]).factors
    chain = [
        _conv(first[0].T[:, :, None, None], conv, "none"),
        _conv(second.transpose(2, 0, 1)[:, :, :, None], conv, "rows"),
        _conv(third.transpose(2, 0, 1)[:, :, None, :], conv, "cols"),
        _conv(last[:, :, 0].T[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, ranks


def ring_of(w: F64, keep: Keep, trains: int) -> tuple[F64, F64, F64, F64]:
    """Factors (trains, inputs, a), (a, rows, b), (b, columns, c), (c, outputs, trains) whose ring is near w (inputs, rows, columns,
    outputs): each cut keeps its share of the energy. a may be rounded up to fill all trains."""
    i, k, _, o = w.shape
    left, rest = _cut(w.reshape(i, -1), keep, trains)
    first = left.reshape(i, trains, -1).transpose(1, 0, 2)
    a = first.shape[2]
    rest = rest.reshape(trains, a, -1).transpose(1, 2, 0)
    left, rest = _cut(rest.reshape(a * k, -1), keep)
    second = left.reshape(a, k, -1)
    b = second.shape[2]
    left, rest = _cut(rest.reshape(b * k, -1), keep)
    third = left.reshape(b, k, -1)
    return first, second, third, rest.reshape(third.shape[2], o, trains)


def _cut(matrix: F64, keep: Keep, multiple: int = 1) -> tuple[F64, F64]:
    """Left singular vectors, and what the matrix is in their terms; where there are too few for a multiple, zeros are added."""
    rank = -(-rank_of(matrix, keep) // multiple) * multiple
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    left, rest = u[:, :rank], s[:rank, None] * v[:rank]
    lack = rank - left.shape[1]
    return np.pad(left, ((0, 0), (0, lack))), np.pad(rest, ((0, lack), (0, 0)))


def _tr(conv: nn.Conv2d, keep: Keep) -> Chain:
    w = _weight(conv).transpose(1, 2, 3, 0)
    found = [ring_of(w, keep, trains) for trains in RINGS]
    return min((_ring_chain(conv, ring) for ring in found), key=lambda made: sum(c.weight.numel() for c in made[0]))


def _ring_chain(conv: nn.Conv2d, ring: tuple[F64, F64, F64, F64]) -> Chain:
    first, second, third, last = ring
    trains, i, a = first.shape
    chain = [
        _conv(first.transpose(0, 2, 1).reshape(trains * a, i)[:, :, None, None], conv, "none"),
        _conv(np.tile(second.transpose(2, 0, 1)[:, :, :, None], (trains, 1, 1, 1)), conv, "rows", groups=trains),
        _conv(np.tile(third.transpose(2, 0, 1)[:, :, None, :], (trains, 1, 1, 1)), conv, "cols", groups=trains),
        _conv(last.transpose(1, 2, 0).reshape(last.shape[1], -1)[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, (trains, a, second.shape[2], third.shape[2])


def _cp(conv: nn.Conv2d, keep: Keep) -> Chain:
    from tensorly.decomposition import parafac

    w = _weight(conv)
    rank = max(_tucker_ranks(w, keep))
    factors: list[Any] = parafac(w, rank=rank, n_iter_max=CP_ITERATIONS, init="random", random_state=0, tol=1e-5).factors
    out, inner, rows, cols = factors
    chain = [
        _conv(inner.T[:, :, None, None], conv, "none"),
        _conv(rows.T[:, None, :, None], conv, "rows", groups=rank),
        _conv(cols.T[:, None, None, :], conv, "cols", groups=rank),
        _conv(out[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, (rank,)


def _btd(conv: nn.Conv2d, keep: Keep) -> Chain:
    assert not isinstance(keep, str)
    w = _weight(conv)
    ranks = _tucker_ranks(w, (1 + keep) / 2)  # a part of what may be lost is the blocks'
    left, core, right = block_terms(w, keep, ranks)
    groups, r_out, r_in = core.shape[:3]
    chain = [
        _conv(right.transpose(0, 2, 1).reshape(groups * r_in, -1)[:, :, None, None], conv, "none"),
        _conv(core.reshape(groups * r_out, r_in, *core.shape[3:]), conv, "both", groups=groups),
        _conv(left.transpose(1, 0, 2).reshape(left.shape[1], -1)[:, :, None, None], conv, "none", bias=True),
    ]
    return chain, (groups, r_out, r_in)


MAKERS: dict[Method, Callable[[nn.Conv2d, Keep], Chain]] = {
    "tucker": _tucker, "tt": _tt, "tr": _tr, "cp": _cp, "btd": _btd,
}  # fmt: skip
