"""The networks of `policies.brain` in torch, and the chances that they give to the edges of a window."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from everyframe.policies.base import F32
from everyframe.policies.brain import CLIP, SLEEPS, Brain, Curve, Layers
from everyframe.policies.features import FEATURES, GATE_ONLY, PRICES
from everyframe.policies.training import graph as g

NEGLIGIBLE = 1e-3
"""Share of the streams that are still without a look from which on they are not followed."""
MOST_ASLEEP = 96
"""Places of a window from which sleep is followed, drawn at random."""
_EXACT = frozenset({*PRICES, "since_look", "undecoded", "is_key", "next_is_key", "is_b", "next_is_b"})
"""Features that are the same thing on any camera."""
_FIRST_LOOK, _FIRST_SLEEP, _FIRST_WAKE = -2.5, -2.5, -3.0


def _layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


class Net(nn.Module):
    """mean, scale (features,): to standardise by."""

    def __init__(self, mean: F32, scale: F32, width: int = 40, noise: float = 0.0) -> None:
        super().__init__()
        self.look_net = _layers(len(FEATURES), width, 1)
        self.gate_net = _layers(len(FEATURES), width, 2)
        self.noise = noise
        self._shift = torch.zeros(len(FEATURES))
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("scale", torch.from_numpy(scale))
        shaken = [0.0 if name in _EXACT else 1.0 for name in FEATURES]
        self.register_buffer("shaken", torch.tensor(shaken), persistent=False)
        self.register_buffer("seen", torch.from_numpy(~GATE_ONLY).float())
        with torch.no_grad():
            for net, bias in ((self.look_net, [_FIRST_LOOK]), (self.gate_net, [_FIRST_SLEEP, _FIRST_WAKE])):
                last = cast(nn.Linear, net[-1])
                last.weight.mul_(0.1)
                last.bias.copy_(torch.tensor(bias))

    def disturb(self) -> None:
        """Another camera: shifts all features by a little while training, so that none is known by its exact numbers."""
        self._shift = self.noise * torch.randn(len(FEATURES)) * self.get_buffer("shaken")

    def standard(self, features: F32) -> Tensor:
        """(B, features)."""
        x = torch.clamp((torch.from_numpy(features) - self.get_buffer("mean")) / self.get_buffer("scale"), -CLIP, CLIP)
        return x + self._shift if self.training else x

    def look(self, features: F32) -> Tensor:
        """(B,) logits."""
        return cast(Tensor, self.look_net(self.standard(features) * self.get_buffer("seen")))[:, 0]

    def gate(self, features: F32) -> Tensor:
        """(B, 2) logits of falling asleep and of waking."""
        return cast(Tensor, self.gate_net(self.standard(features)))

    def brain(self, lowest: F32, highest: F32, curve: Curve | None = None) -> Brain:
        """The same in numpy."""
        return Brain(
            self.get_buffer("mean").numpy().copy(), self.get_buffer("scale").numpy().copy(), lowest, highest,
            _plain(self.look_net), _plain(self.gate_net), curve or Curve(),
        )  # fmt: skip


def _plain(net: nn.Sequential) -> Layers:
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    return tuple(
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in linear
    )


def chances(net: Net, window: g.Window, rng: np.random.Generator, sleeps: bool = True) -> Tensor:
    """(w, horizon, kinds) float32, differentiable: how likely each edge of a window is. Sleep is followed from at most
    `MOST_ASLEEP` places, elsewhere the stream stays awake."""
    w, horizon, kinds = window.outcome.shape
    followed = _followed(net, window, horizon)
    ends = np.minimum(len(window.graph) - window.start - np.arange(w), horizon)  # steps to the clip's end
    rows, steps = np.repeat(np.arange(w), followed), np.tile(np.arange(1, followed + 1), w)
    logits = net.look(g.awake(window, rows, steps)).reshape(w, followed)
    must = torch.from_numpy(np.arange(1, followed + 1)[None] >= np.minimum(ends, followed)[:, None])
    log_wait = logsigmoid(-logits)
    asleep: list[tuple[int, NDArray[np.int64], Tensor]] = []
    if sleeps:
        log_wait = log_wait.clone()
        for m, (at, log_sleep, log_stay) in _sleeps(net, window, followed, ends, rng).items():
            asleep.append((m, at, log_sleep))
            column = torch.zeros(w, followed)
            column[torch.from_numpy(at), SLEEPS[m] - 1] = log_stay
            log_wait = log_wait + column
    alive = torch.cat([torch.zeros(w, 1), torch.cumsum(log_wait, 1)[:, :-1]], 1)
    out = torch.zeros(w, horizon, kinds)
    here = torch.where(must, alive, alive + logsigmoid(logits))
    beyond = torch.from_numpy(np.arange(1, followed + 1)[None] > ends[:, None])
    out[:, :followed, kinds - 1] = torch.where(beyond, torch.zeros(()), torch.exp(here))
    for m, at, log_sleep in asleep:
        a = SLEEPS[m]
        rows_ = torch.from_numpy(at)
        before = alive[rows_, a - 1] + logsigmoid(-logits[rows_, a - 1]) + log_sleep
        out[rows_, :, m] = torch.exp(before)[:, None] * _waking(net, window, at, a, ends)
    return out


def _followed(net: Net, window: g.Window, horizon: int) -> int:
    """Frames after which hardly any stream of a window is still without a look."""
    w = window.outcome.shape[0]
    some = np.unique(np.linspace(0, w - 1, 24).astype(np.int64))
    rows, steps = np.repeat(some, horizon), np.tile(np.arange(1, horizon + 1), len(some))
    with torch.no_grad():
        log_wait = logsigmoid(-net.look(g.awake(window, rows, steps))).reshape(len(some), horizon)
        alive = torch.exp(torch.cumsum(log_wait, 1)).max(0).values
    return int(min(horizon, max((alive > NEGLIGIBLE).sum().item() + 1, 4)))


def _sleeps(
    net: Net, window: g.Window, followed: int, ends: NDArray[np.int64], rng: np.random.Generator
) -> dict[int, tuple[NDArray[np.int64], Tensor, Tensor]]:
    """By kind: the rows from which sleep is followed, and the logarithms of the chances to fall asleep there and not to."""
    out = {}
    usable = [m for m, a in enumerate(SLEEPS) if a < followed]
    for m in usable:
        a = SLEEPS[m]
        rows = np.flatnonzero(ends > a + 2)
        at = np.sort(rng.choice(rows, min(len(rows), max(MOST_ASLEEP // len(usable), 1)), replace=False))
        if not len(at):
            continue
        logit = net.gate(g.awake(window, at, np.full(len(at), a)))[:, 0]
        out[m] = at, logsigmoid(logit), logsigmoid(-logit)
    return out


def _waking(net: Net, window: g.Window, rows: NDArray[np.int64], since: int, ends: NDArray[np.int64]) -> Tensor:
    """(rows, horizon): chances of the first look after falling asleep `since` frames after one, each frame on."""
    horizon = window.outcome.shape[1]
    n = len(rows)
    first = since + 2  # the frame after falling asleep is not decoded
    steps = np.arange(first, horizon + 1)
    at, gates = np.repeat(rows, len(steps)), np.tile(steps - 1, n)
    logits = net.gate(g.asleep(window, at, np.full(len(at), since), gates))[:, 1].reshape(n, len(steps))
    end = ends[rows][:, None]
    must, beyond = torch.from_numpy(steps[None] >= end), torch.from_numpy(steps[None] > end)
    alive = torch.cat([torch.zeros(n, 1), torch.cumsum(logsigmoid(-logits), 1)[:, :-1]], 1)
    woken = torch.exp(torch.where(must, alive, alive + logsigmoid(logits)))
    woken = torch.where(beyond, torch.zeros(()), woken)
    return torch.cat([torch.zeros(n, first - 1), woken], 1)
