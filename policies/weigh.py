"""One stream's turn of the networks of `policies.brain`, compiled: a run asks for it at every packet and frame."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def standard(features, mean, scale, seen, most):  # type: ignore[no-untyped-def]
    """(features,) float32 in spreads of training, cut at `most`; 0 where not seen."""
    out = np.zeros(features.shape[0], np.float32)
    for i in range(features.shape[0]):
        if seen[i]:
            out[i] = min(max((features[i] - mean[i]) / scale[i], -most), most)
    return out


@njit(cache=True, nogil=True)
def forward(x, layers, skip):  # type: ignore[no-untyped-def]
    """(states, outputs): (layers, widest) float32 what each layer but the last gives, after its ReLU; and the logits."""
    widest = 1
    for weights, _ in layers:
        widest = max(widest, weights.shape[1])
    states = np.zeros((len(layers), widest), np.float32)
    last = len(layers) - 1
    for k in range(len(layers)):
        weights, bias = layers[k]
        for j in range(weights.shape[1]):
            states[k, j] = bias[j]
        for i in range(weights.shape[0]):
            value = x[i] if k == 0 else states[k - 1, i]
            if value != 0:
                for j in range(weights.shape[1]):
                    states[k, j] += value * weights[i, j]
        if k < last:
            for j in range(weights.shape[1]):
                states[k, j] = max(states[k, j], np.float32(0))
    out = states[last, : skip.shape[1]].copy()
    for i in range(x.shape[0]):
        if x[i] != 0:
            for j in range(skip.shape[1]):
                out[j] += x[i] * skip[i, j]
    return states, out


@njit(cache=True, nogil=True)
def weighed(x, layers, skip, at, group, groups):  # type: ignore[no-untyped-def]
    """(logits, added): added (groups,) float32: gradient of output `at` times input, summed by the inputs' `group` (features,),
    which is -1 where it is of none."""
    states, out = forward(x, layers, skip)
    slope = layers[len(layers) - 1][0][:, at].copy()
    for k in range(len(layers) - 2, -1, -1):
        weights = layers[k][0]
        before = np.zeros(weights.shape[0], np.float32)
        for j in range(weights.shape[1]):
            if states[k, j] > 0:
                for i in range(weights.shape[0]):
                    before[i] += weights[i, j] * slope[j]
        slope = before
    added = np.zeros(groups, np.float32)
    for i in range(x.shape[0]):
        if group[i] >= 0:
            added[group[i]] += (slope[i] + skip[i, at]) * x[i]
    return out, added


@njit(cache=True, nogil=True)
def outside(features, lowest, highest, counts, least):  # type: ignore[no-untyped-def]
    """How far outside of [lowest, highest] the strangest feature that counts lies, in its range, which is `least` at least."""
    most = 0.0
    for i in range(features.shape[0]):
        if counts[i]:
            span = max(highest[i] - lowest[i], least)
            most = max(most, max(lowest[i] - features[i], features[i] - highest[i]) / span)
    return most
