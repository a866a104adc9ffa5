"""The rank of a matrix that is seen through noise, with nothing to choose.

Nakajima, Sugiyama, Babacan and Tomioka, Global Analytic Solution of Fully-observed Variational Bayesian Matrix Factorization (JMLR 14,
2013), in its empirical form: variances of both factors and of the noise are found from the matrix itself. What is left is a
threshold on singular values, and one search along a line for the noise. Deviation: only the rank is given, not the shrunken
factors, for weights are to stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

F64 = NDArray[np.float64]
TAU = 2.5129
"""Times the square root of the shape's ratio: where keeping a component begins to pay."""


def vbmf_rank(matrix: NDArray[Any]) -> int:
    """How many components of a matrix (rows, columns) of finite numbers stand out of its noise: 0 where none does."""
    short = np.asarray(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T, np.float64)
    rows, columns = short.shape
    squares = np.linalg.eigvalsh(short @ short.T)[::-1].clip(0)  # of the singular values
    if squares[0] <= 0:
        return 0
    ratio = rows / columns
    tau = TAU * np.sqrt(ratio)
    least = (1 + tau) * (1 + ratio / tau)  # below this share of the noise a component is noise
    noise = _noise(squares / columns, ratio, least)
    return int((squares > columns * noise * least).sum())


def _noise(x: F64, ratio: float, least: float) -> float:
    """Variance of the noise: that of least free energy. x: squared singular values a column, falling."""
    most = min(int(np.ceil(len(x) / (1 + ratio))) - 1, len(x) - 1)  # components that there can be at all
    upper = float(x.mean())
    tail = x[most:]
    lower = max(float(tail[0]) / least if most < len(x) else 0.0, float(tail.mean()), upper * 1e-12)
    if lower >= upper:
        return upper
    found = minimize_scalar(lambda log: _energy(x / np.exp(log), ratio, least), bounds=(np.log(lower), np.log(upper)), method="bounded")
    return float(np.exp(found.x))


def _energy(x: F64, ratio: float, least: float) -> float:
    """Free energy up to constants, of squared singular values in units of the noise."""
    total = float((x - np.log(x.clip(1e-300))).sum())
    above = x[x > least]
    half = above - (1 + ratio)
    tau = 0.5 * (half + np.sqrt((half**2 - 4 * ratio).clip(0)))
    return total + float((np.log(tau + 1) + ratio * np.log(tau / ratio + 1) - tau).sum())
