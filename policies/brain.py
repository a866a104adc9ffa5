"""The networks of the policy `learned`, in numpy: weights from a file, logits, and what weighed most in them.

Two small perceptrons over some of `features.FEATURES`: one says whether to look at a decoded frame, and does not see the next
packet (`features.GATE_ONLY`); the other whether to fall asleep (decode nothing until something stirs) and whether to wake.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from everyframe.policies import weigh
from everyframe.policies.base import F32, Mode
from everyframe.policies.features import FEATURES, PRICES

VERSION = 1
SLEEPS = (1, 4, 16, 64)
"""Frames after a look at which a stream may fall asleep."""
MODES: tuple[Mode, ...] = ("causal", "lookahead")
CLIP = 4.0
"""Standard deviations from the mean that a feature is cut at."""
Layers = tuple[tuple[F32, F32], ...]

_GROUPS: dict[str, Sequence[str]] = {
    "long ago": ("since_look", "interval"),
    "tracks disagreed": ("agreement", "agreements"),
    "new motion": ("stray", "alarm", "stray_raw"),
    "tracks moved": ("inside", "fastest", "travelled", "moving"),
    "motion near tracks": ("around",),
    "coded anew": ("anew", "anew_since", "intra"),
    "low scores": ("score", "weakest"),
    "number of objects": ("count", "usual"),
    "crossing tracks": ("touching",),
    "tracks at the edge": ("edge",),
    "size of objects": ("size",),
    "whole picture moves": ("global", "restless"),
    "packet jump": ("excess", "stir", "next_excess", "next_stir"),
    "place in the group": (
        "is_key", "is_b", "since_key", "to_key", "behind", "next_is_key", "next_is_b", "next_since_key", "next_to_key",
    ),
    "not decoded for long": ("undecoded",),
    "frame rate": ("rate", "next_rate"),
}  # fmt: skip
GROUPS = tuple(_GROUPS)
"""What a reason can be: the features of a kind together."""
LOOK_SEES = (
    "since_look", "interval", "agreement", "agreements", "usual", "stray", "alarm", "stray_raw", "inside", "fastest", "travelled",
    "around", "anew", "anew_since", "count", "moving", "score", "weakest", "touching", "edge", "size", *PRICES,
)  # fmt: skip
GATE_SEES = (
    *LOOK_SEES, "restless", "undecoded", "behind", "since_key", "to_key", "stir", "excess", "is_key",
    "next_excess", "next_stir", "next_is_key", "next_to_key", "next_since_key", "rate",
)  # fmt: skip
"""What each network may use. Others told errors no better on cameras that were not trained on, and cameras apart: a network
that sees them remembers cameras."""
SEEN_LOOK = np.array([name in LOOK_SEES for name in FEATURES])
SEEN_GATE = np.array([name in GATE_SEES for name in FEATURES])
_OF_CAMERA = np.array([name not in PRICES for name in FEATURES])
_GROUP_OF = np.array(
    [next((i for i, members in enumerate(_GROUPS.values()) if name in members), -1) for name in FEATURES], np.int64
)
LEAST_RANGE = 0.05


class BrainError(ValueError):
    """The weights cannot be used; the text is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What prices come to, in the median over the cameras that weights were chosen by. price (n,) rising; f1, cost (n,): pooled F1, and dense
    frames for each frame on the machine that recorded."""

    price: tuple[float, ...] = ()
    f1: tuple[float, ...] = ()
    cost: tuple[float, ...] = ()

    def price_for(self, f1: float) -> float:
        """The price at which the median camera reaches an F1, between points by the logarithm."""
        return self._price_at(f1, np.array(self.f1))

    def price_for_cost(self, cost: float) -> float:
        """The price that comes to so many dense frames for each frame, in the median."""
        return self._price_at(math.log(max(cost, 1e-9)), np.log(np.maximum(np.array(self.cost), 1e-9)))

    def f1_at(self, price: float) -> float:
        """What the median camera reaches at a price, between points by its logarithm; 0.9 where nothing is known."""
        return float(np.interp(math.log(price), np.log(self.price), self.f1)) if self.price else 0.9

    def _price_at(self, wanted: float, reached: NDArray[np.float64]) -> float:
        if not self.price:
            return 1.0
        rising = np.maximum.accumulate(reached) + 1e-9 * np.arange(len(reached))
        return float(np.exp(np.interp(wanted, rising, np.log(self.price))))


@dataclass(frozen=True, slots=True)
class Brain:
    """mean, scale, lowest, highest (features,): of training, for standardising and for telling what was never seen.
    look_layers, gate_layers: (weights (in, out), bias (out,)) of each layer, ReLU between; the last of gate has two outputs.
    look_skip (features, 1), gate_skip (features, 2): from the inputs straight to the outputs."""

    mean: F32
    scale: F32
    lowest: F32
    highest: F32
    look_layers: Layers
    gate_layers: Layers
    look_skip: F32
    gate_skip: F32
    curve: Curve = Curve()

    def standard(self, features: F32) -> F32:
        """(..., features) of any, cut at `CLIP`."""
        out: F32 = np.clip((features - self.mean) / self.scale, -CLIP, CLIP)
        return out

    def look(self, features: F32) -> F32:
        """(B,) logits of looking now, for (B, features)."""
        return _forward(self.standard(features) * SEEN_LOOK, self.look_layers, self.look_skip)[..., 0]

    def gate(self, features: F32) -> F32:
        """(B, 2) logits of falling asleep, where awake, and of waking, where asleep."""
        return _forward(self.standard(features) * SEEN_GATE, self.gate_layers, self.gate_skip)

    def gate_one(self, features: F32) -> F32:
        """(2,) of `gate`, for (features,): compiled."""
        x = weigh.standard(features, self.mean, self.scale, SEEN_GATE, CLIP)
        out: F32 = weigh.forward(x, self.gate_layers, self.gate_skip)[1]
        return out

    def weighed(self, features: F32, gate: int | None = None) -> tuple[float, F32]:
        """The logit for (features,), and (len(GROUPS),) what each kind of feature added to it, seen from the mean of training:
        gradient times input. gate: 0 falling asleep, 1 waking; None for looking."""
        layers, skip = (self.look_layers, self.look_skip) if gate is None else (self.gate_layers, self.gate_skip)
        x = weigh.standard(features, self.mean, self.scale, SEEN_LOOK if gate is None else SEEN_GATE, CLIP)
        out = 0 if gate is None else gate
        logits, added = weigh.weighed(x, layers, skip, out, _GROUP_OF, len(GROUPS))
        return float(logits[out]), added

    def strangeness(self, features: F32) -> float:
        """How far outside of what training saw the strangest feature lies, in its range; 0 inside. Prices and costs are no
        matter of the camera."""
        return float(weigh.outside(features, self.lowest, self.highest, _OF_CAMERA, LEAST_RANGE))


def _forward(x: F32, layers: Layers, skip: F32) -> F32:
    straight = x @ skip
    for weights, bias in layers[:-1]:
        x = np.maximum(x @ weights + bias, 0)
    weights, bias = layers[-1]
    out: F32 = x @ weights + bias + straight
    return out


def save(brains: Mapping[str, Brain], path: str | Path, settings: Mapping[str, Any]) -> None:
    """brains: by mode. Writes arrays to a safetensors file; version, feature names, curves and settings to its metadata."""
    arrays: dict[str, F32] = {}
    curves = {}
    for mode, brain in brains.items():
        for name in ("mean", "scale", "lowest", "highest"):
            arrays[f"{mode}.{name}"] = np.ascontiguousarray(getattr(brain, name), np.float32)
        for part in ("look", "gate"):
            arrays[f"{mode}.{part}.skip"] = np.ascontiguousarray(getattr(brain, f"{part}_skip"), np.float32)
            for i, (weights, bias) in enumerate(getattr(brain, f"{part}_layers")):
                arrays[f"{mode}.{part}.{i}.weights"] = np.ascontiguousarray(weights, np.float32)
                arrays[f"{mode}.{part}.{i}.bias"] = np.ascontiguousarray(bias, np.float32)
        curves[mode] = {"price": brain.curve.price, "f1": brain.curve.f1, "cost": brain.curve.cost}
    about = {"version": VERSION, "features": FEATURES, "sleeps": SLEEPS, "curves": curves, "settings": settings}
    save_file(arrays, str(path), {"everyframe": json.dumps(about)})


def load(path: str | Path) -> tuple[dict[str, Brain], dict[str, Any]]:
    """The brains by mode, and the settings they were trained with. Raises BrainError: no such file, no such policy's weights,
    another version or other features, numbers that are none."""
    try:
        with safe_open(str(path), "numpy") as file:
            about = json.loads((file.metadata() or {})["everyframe"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as e:
        raise BrainError(f"there are no weights of the policy learned in {path}") from e
    if about.get("version") != VERSION or tuple(about.get("features", ())) != FEATURES or tuple(about["sleeps"]) != SLEEPS:
        raise BrainError(f"the weights in {path} are of another version of everyframe: train again")
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise BrainError(f"the weights in {path} hold numbers that are none: train again")
    try:
        brains = {mode: _brain(mode, arrays, about["curves"][mode]) for mode in about["curves"]}
    except (KeyError, TypeError, ValueError) as e:
        raise BrainError(f"the weights in {path} are not whole: train again") from e
    return brains, about["settings"]


def _brain(mode: str, arrays: Mapping[str, F32], curve: Mapping[str, Any]) -> Brain:
    parts: dict[str, Layers] = {}
    for part, inputs, outputs in (("look", len(FEATURES), 1), ("gate", len(FEATURES), 2)):
        layers: list[tuple[F32, F32]] = []
        while f"{mode}.{part}.{len(layers)}.weights" in arrays:
            key = f"{mode}.{part}.{len(layers)}"
            layers.append((arrays[f"{key}.weights"], arrays[f"{key}.bias"]))
        sizes = [inputs, *(len(bias) for _, bias in layers)]
        shapes = [weights.shape for weights, _ in layers]
        if arrays[f"{mode}.{part}.skip"].shape != (inputs, outputs):
            raise ValueError(part)
        if not layers or sizes[-1] != outputs or shapes != list(pairwise(sizes)):
            raise ValueError(part)
        parts[part] = tuple(layers)
    mean, scale, lowest, highest = (arrays[f"{mode}.{name}"] for name in ("mean", "scale", "lowest", "highest"))
    if any(value.shape != (len(FEATURES),) for value in (mean, scale, lowest, highest)):
        raise ValueError("features")
    points = Curve(*(tuple(float(v) for v in curve[name]) for name in ("price", "f1", "cost")))
    skips = arrays[f"{mode}.look.skip"], arrays[f"{mode}.gate.skip"]
    return Brain(mean, scale, lowest, highest, parts["look"], parts["gate"], *skips, points)
