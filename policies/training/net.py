"""The networks of `policies.brain` in torch, and what they say of every place of a window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from everyframe.policies.base import F32
from everyframe.policies.brain import CLIP, SEEN_GATE, SEEN_LOOK, SLEEPS, Brain, Curve, Layers
from everyframe.policies.features import FEATURES, PRICES
from everyframe.policies.training import graph as g

SHARPNESS = 3.0
"""What logits are multiplied by for the policy that values are of: a run takes the likelier action always, which has no
gradient."""
NO_DOUBT = -20.0
LEAST_FOLLOWED = 24
NEGLIGIBLE = 1e-2
"""Frames after a look that are followed at least; share of the streams that are still without a look from which on they are not."""
MOST_ASLEEP = 96
"""Places of a window from which sleep is followed, drawn at random."""
_EXACT = frozenset({*PRICES, "since_look", "undecoded", "is_key", "next_is_key", "is_b", "next_is_b"})
"""Features that are the same thing on any camera."""
_FIRST_LOOK, _FIRST_SLEEP, _FIRST_WAKE = -3.5, -1.0, -3.5


def _layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


class Net(nn.Module):
    """mean, scale (features,): to standardise by. It begins with doubts in proportion to the price."""

    def __init__(self, mean: F32, scale: F32, width: int = 16, noise: float = 0.0) -> None:
        super().__init__()
        self.look_net = _layers(len(FEATURES), width, 1)
        self.gate_net = _layers(len(FEATURES), width, 2)
        self.look_skip = nn.Linear(len(FEATURES), 1, bias=False)
        self.gate_skip = nn.Linear(len(FEATURES), 2, bias=False)
        self.noise = noise
        self._shift = torch.zeros(len(FEATURES))
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("scale", torch.from_numpy(scale))
        shaken = [0.0 if name in _EXACT else 1.0 for name in FEATURES]
        self.register_buffer("shaken", torch.tensor(shaken), persistent=False)
        self.register_buffer("seen_look", torch.from_numpy(SEEN_LOOK).float(), persistent=False)
        self.register_buffer("seen_gate", torch.from_numpy(SEEN_GATE).float(), persistent=False)
        with torch.no_grad():
            for net, bias in ((self.look_net, [_FIRST_LOOK]), (self.gate_net, [_FIRST_SLEEP, _FIRST_WAKE])):
                last = cast(nn.Linear, net[-1])
                last.weight.mul_(0.1)
                last.bias.copy_(torch.tensor(bias))
            for skip in (self.look_skip, self.gate_skip):
                skip.weight.zero_()
            at = FEATURES.index("price")
            self.look_skip.weight[0, at] = self.gate_skip.weight[1, at] = float(scale[at])

    def disturb(self) -> None:
        """Another camera: shifts all features by a little while training, so that none is known by its exact numbers."""
        self._shift = self.noise * torch.randn(len(FEATURES)) * self.get_buffer("shaken")

    def standard(self, features: F32) -> Tensor:
        """(B, features)."""
        x = torch.clamp((torch.from_numpy(features) - self.get_buffer("mean")) / self.get_buffer("scale"), -CLIP, CLIP)
        return x + self._shift if self.training else x

    def look(self, features: F32) -> Tensor:
        """(B,) logarithms of doubts."""
        x = self.standard(features) * self.get_buffer("seen_look")
        return cast(Tensor, self.look_net(x) + self.look_skip(x))[:, 0]

    def gate(self, features: F32) -> Tensor:
        """(B, 2): logits of falling asleep, logarithms of doubts while asleep."""
        x = self.standard(features) * self.get_buffer("seen_gate")
        return cast(Tensor, self.gate_net(x) + self.gate_skip(x))

    def brain(self, lowest: F32, highest: F32, curve: Curve | None = None) -> Brain:
        """The same in numpy."""
        return Brain(
            self.get_buffer("mean").numpy().copy(), self.get_buffer("scale").numpy().copy(), lowest, highest,
            _plain(self.look_net), _plain(self.gate_net), _turned(self.look_skip), _turned(self.gate_skip), curve or Curve(),
        )  # fmt: skip


def _turned(layer: nn.Linear) -> F32:
    out: F32 = layer.weight.detach().numpy().T.copy()
    return out


def _plain(net: nn.Sequential) -> Layers:
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    return tuple(
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in linear
    )


@dataclass(frozen=True, slots=True)
class Logits:
    """Of a policy on a window, differentiable: the logarithms of doubts added up since the look, or since falling asleep, and the
    logits of falling asleep. Shapes as in `graph.Chances`. at (n, 2): row and kind of each of sleep (n,) and
    wake (n, horizon), which is 0 before the frame after falling asleep and where the clip has ended."""

    look: Tensor
    at: NDArray[np.int64]
    sleep: Tensor
    wake: Tensor

    def chances(self, window: g.Window) -> g.Chances:
        """Of the policy that values are of."""
        w, _, kinds = window.outcome.shape
        look, fall, wake = (torch.sigmoid(SHARPNESS * part.detach()).numpy() for part in (self.look, self.sleep, self.wake))
        sleep, which = np.zeros((w, kinds - 1), np.float32), np.full((w, kinds - 1), -1, np.int64)
        sleep[self.at[:, 0], self.at[:, 1]] = fall
        which[self.at[:, 0], self.at[:, 1]] = np.arange(len(self.at))
        return g.Chances(look, sleep, which, wake)


def logits_of(net: Net, window: g.Window, rng: np.random.Generator, sleeps: bool = True) -> Logits:
    """Sleep is followed from at most `MOST_ASLEEP` places, drawn at random; elsewhere the stream stays awake."""
    w, horizon, kinds = window.outcome.shape
    followed = _followed(net, window, horizon)
    rows, steps = np.repeat(np.arange(w), followed), np.tile(np.arange(1, followed + 1), w)
    look = torch.logcumsumexp(net.look(g.awake(window, rows, steps)).reshape(w, followed), 1)
    ends = np.minimum(len(window.graph) - window.start - np.arange(w), horizon)
    usable = [m for m in range(kinds - 1) if sleeps and SLEEPS[m] + 2 < followed]
    places = [np.stack([rows_, np.full(len(rows_), m)], 1) for m, rows_ in _places(usable, ends, rng)]
    at = np.concatenate([np.zeros((0, 2), np.int64), *places])
    since = np.array(SLEEPS)[at[:, 1]]
    sleep = net.gate(g.awake(window, at[:, 0], since))[:, 0]
    return Logits(look, at, sleep, _waking(net, window, at[:, 0], since, ends))


def _places(usable: list[int], ends: NDArray[np.int64], rng: np.random.Generator) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for m in usable:
        rows = np.flatnonzero(ends > SLEEPS[m] + 2)
        yield m, np.sort(rng.choice(rows, min(len(rows), MOST_ASLEEP // len(usable)), replace=False))


def _followed(net: Net, window: g.Window, horizon: int) -> int:
    """Frames after which hardly any stream of a window is still without a look."""
    w = window.outcome.shape[0]
    some = np.unique(np.linspace(0, w - 1, 24).astype(np.int64))
    rows, steps = np.repeat(some, horizon), np.tile(np.arange(1, horizon + 1), len(some))
    with torch.no_grad():
        doubts = torch.logcumsumexp(net.look(g.awake(window, rows, steps)).reshape(len(some), horizon), 1)
        log_wait = logsigmoid(-SHARPNESS * doubts)
        alive = torch.exp(torch.cumsum(log_wait, 1)).max(0).values
    return int(min(horizon, max((alive > NEGLIGIBLE).sum().item() + 1, LEAST_FOLLOWED)))


def _waking(
    net: Net, window: g.Window, rows: NDArray[np.int64], since: NDArray[np.int64], ends: NDArray[np.int64]
) -> Tensor:
    horizon = window.outcome.shape[1]
    steps = np.arange(1, horizon + 1)[None]
    used = (steps >= since[:, None] + 2) & (steps < ends[rows][:, None])  # the frame after falling asleep is not decoded
    n, at = np.nonzero(used)
    wake = torch.zeros(len(rows), horizon)
    if len(n):
        logits = net.gate(g.asleep(window, rows[n], since[n], at))[:, 1]  # asked at the frame before
        there = torch.from_numpy(used)
        doubts = torch.full_like(wake, NO_DOUBT).index_put((torch.from_numpy(n), torch.from_numpy(at)), logits)
        wake = torch.where(there, torch.logcumsumexp(doubts, 1), wake)
    return wake
