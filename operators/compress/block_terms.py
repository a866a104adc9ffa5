"""A kernel as a sum of a few small Tucker-2 terms.

De Lathauwer, Decompositions of a Higher-Order Tensor in Block Terms, Part II (SIAM J. Matrix Anal. Appl., 2008). Deviations: terms are
fitted in the subspace of one larger Tucker-2 term of the kernel, which makes it a hundred times faster and costs what that one leaves out;
they are fitted in turns, each to what the others leave (block coordinate descent, which never gets worse); of the numbers and
sizes of terms that are tried, the cheapest that keeps enough is taken.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
COUNTS = (8, 4, 2)
"""Of terms."""
SIZES = (1.0, 1.25, 1.5, 2.0, 2.5)
"""Of all terms together, against the one that they are to replace."""
SWEEPS = 6
MULTIPLE = 4
"""Of the sizes of terms, in channels."""


def block_terms(w: F64, energy: float, ranks: tuple[int, int]) -> tuple[F64, F64, F64]:
    """w (outputs, inputs, k, k) as the sum of left[g] core[g] right[g]^T over g terms: left (g, outputs, a), core (g, a, b, k, k), right
    (g, inputs, b). energy: share of w's squared norm that is kept. ranks: of the term that all lie in; it has to keep that much
    itself, and stands for them where no sum of smaller ones does."""
    outer, core, inner = tucker2(w, *ranks)
    total = float((w**2).sum())
    lost = total - float((core**2).sum())
    for count, a, b in candidates(w.shape[:2], ranks, w[0, 0].size):
        terms = fitted(core, count, a, b)
        away = core - sum(_expanded(term) for term in terms)
        if lost + float((away**2).sum()) <= (1 - energy) * total + 1e-12 * total:
            return (
                np.stack([outer @ left for left, _, _ in terms]),
                np.stack([middle for _, middle, _ in terms]),
                np.stack([inner @ right for _, _, right in terms]),
            )
    return outer[None], core[None], inner[None]


def candidates(shape: tuple[int, ...], ranks: tuple[int, int], kernel: int) -> list[tuple[int, int, int]]:
    """Numbers and sizes (count, a, b) of terms that are cheaper than the one of these ranks, the cheapest first."""

    def cost(count: int, a: int, b: int) -> int:
        return count * (shape[0] * a + shape[1] * b + kernel * a * b)

    found = set()
    for count, size in product(COUNTS, SIZES):
        a, b = (min(rank, -(-round(rank * size) // (count * MULTIPLE)) * MULTIPLE) for rank in ranks)
        if cost(count, a, b) < cost(1, *ranks):
            found.add((count, a, b))
    return sorted(found, key=lambda term: (cost(*term), term))


Term = tuple[F64, F64, F64]
"""left (m, a), core (a, b, k, k), right (n, b)."""


def fitted(w: F64, count: int, a: int, b: int, sweeps: int = SWEEPS) -> list[Term]:
    """Terms whose sum is near w (m, n, k, k): at first each fits what is left of w, then again with the others in place."""
    terms: list[Term] = []
    left_over = w.copy()
    for _ in range(count):
        terms.append(tucker2(left_over, a, b))
        left_over -= _expanded(terms[-1])
    for _ in range(sweeps):
        for g, term in enumerate(terms):
            left_over += _expanded(term)
            terms[g] = tucker2(left_over, a, b, term[2])
            left_over -= _expanded(terms[g])
    return terms


def tucker2(w: F64, a: int, b: int, right: F64 | None = None) -> Term:
    """The best term of these ranks, nearly: one round of alternation, from the singular vectors or from a `right` that was near before.
    Never farther from w than any term with that `right`."""
    m, n = w.shape[:2]
    if right is None:
        right = _vectors(w.transpose(1, 0, 2, 3).reshape(n, -1), b)
    for _ in range(2):
        seen = np.tensordot(w, right, ([1], [0]))  # m, k, k, b
        left = _vectors(seen.reshape(m, -1), a)
        shrunk = np.tensordot(w, left, ([0], [0]))  # n, k, k, a
        right = _vectors(shrunk.reshape(n, -1), b)
    core = np.tensordot(shrunk, right, ([0], [0])).transpose(2, 3, 0, 1)
    return left, core, right


def _vectors(matrix: F64, rank: int) -> F64:
    """The first left singular vectors."""
    found: F64 = np.linalg.eigh(matrix @ matrix.T)[1][:, ::-1][:, :rank]
    return found


def _expanded(term: Term) -> F64:
    left, core, right = term
    found: F64 = np.einsum("ma,abyx,nb->mnyx", left, core, right, optimize=True)
    return found
