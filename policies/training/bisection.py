"""The network that halves gaps (`simulation.bisection`): fitted to their errors, then trained on what halving comes to.

A tree of halves is a game whose outcome is known for every choice, so that its expected value is a smooth function of the network
and is descended itself: policy gradient without samples (Sutton et al., 2000, with the exact sum in place of rollouts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from everyframe.policies.base import F32
from everyframe.policies.simulation.bisection import LATELY, LEAST_USUAL, Gaps, Halves, Ints

LEVELS = (2, 4, 8, 16, 32, 64, 128, 256)
"""Frame steps of the gaps that are trained on."""
LEAST_ROOT, SPARE = 16, 20
SHARPNESS = 2.0
"""Of the choice between halving and leaving, in the logarithm of what speaks for it."""
FREE = 0.01
"""Dense frames for each frame that a stretch's value is taken to be at least."""


@dataclass(frozen=True, slots=True)
class Settings:
    """fitting: gradient steps towards errors; steps: on the value, `stretches` of `roots` gaps each. price: range of the price of
    error in looks for F1 from 0 to 1, log-uniform. samples: gaps of each clip that errors are fitted to."""

    fitting: int = 500
    steps: int = 1200
    stretches: int = 3
    roots: int = 64
    price: tuple[float, float] = (0.05, 15.0)
    samples: int = 1500
    width: int = 16
    rate: float = 3e-3
    seed: int = 0


class Net(nn.Module):
    """From (..., len(bisection.GAP) + 1) features of gaps and the logarithm of the price / 3 to (...) logarithms of wrong labels for each
    frame, in objects usual for the stream."""

    def __init__(self, mean: Tensor, scale: Tensor, width: int) -> None:
        super().__init__()
        self.mean, self.scale = mean, scale
        self.hidden, self.out, self.skip = nn.Linear(len(mean), width), nn.Linear(width, 1), nn.Linear(len(mean), 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.clamp((x - self.mean) / self.scale, -4, 4)
        out: Tensor = (self.skip(z) + self.out(torch.relu(self.hidden(z))))[..., 0]
        return out

    def halves(self, price: float) -> Halves:
        """The rule at a price, in looks."""
        own = float(np.log(price))

        @torch.no_grad()
        def halves(k: int, d: int, x: F32) -> bool:
            return float(self(_priced(x, own))) + _own(own, d) > 0

        return halves


def _priced(x: F32, price: float) -> Tensor:
    return torch.from_numpy(np.concatenate([x, np.full((*x.shape[:-1], 1), price / 3, np.float32)], -1))


def _own(price: float, d: int) -> float:
    """What is known without the network: wrong labels count with their number and the price of each; a look costs 1."""
    return price + float(np.log((d - 1) / 2))


def train(clips: Sequence[Gaps], settings: Settings | None = None, weights: Sequence[float] | None = None) -> Net:
    """weights: how likely each clip is drawn. Equal clips, settings and weights give equal networks."""
    s = settings or Settings()
    torch.manual_seed(s.seed)
    rng = np.random.default_rng(s.seed)
    share = np.ones(len(clips)) if weights is None else np.asarray(weights, np.float64)
    share = share / share.sum()
    net = _fitted(clips, share, s, rng)
    optimiser = torch.optim.Adam(net.parameters(), s.rate)
    for step in range(s.steps):
        _slow(optimiser, s.rate, step / s.steps)
        optimiser.zero_grad()
        for _ in range(s.stretches):
            value = _value(net, clips[rng.choice(len(clips), p=share)], s, rng)
            (value / (value.detach() + FREE)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return net


def _levels(gaps: Gaps) -> list[int]:
    return [d for d in LEVELS if d <= gaps.table.horizon]


def _slow(optimiser: torch.optim.Optimizer, rate: float, done: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * max(0.05, 1 - done)


def _fitted(clips: Sequence[Gaps], share: np.ndarray, s: Settings, rng: np.random.Generator) -> Net:
    """Poisson regression of the errors of drawn gaps."""
    xs, ys, ws = [], [], []
    for gaps, weight in zip(clips, share, strict=True):
        k = rng.integers(0, len(gaps) - LEVELS[0] - 1, s.samples)
        levels = np.array(_levels(gaps))
        d = levels[rng.integers(0, len(levels), s.samples)]
        k, d = k[k + d < len(gaps)], d[k + d < len(gaps)]
        seen = gaps.features(k, d, _lately(gaps, k, rng), _whole(gaps, k, d, rng.random(len(k)) < 0.5))
        low, high = np.log(s.price)
        price = rng.uniform(low, high, len(k)).astype(np.float32)
        xs.append(np.concatenate([seen, price[:, None] / 3], -1))
        ys.append(gaps.error[k, d] / gaps.mean / (d - 1))
        ws.append(np.full(len(k), weight * len(clips) * s.samples / max(len(k), 1)))
    x, y, w = (torch.from_numpy(np.concatenate(part).astype(np.float32)) for part in (xs, ys, ws))
    net = Net(x.mean(0), torch.clamp(x.std(0), min=0.05), s.width)
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3, weight_decay=0.02)
    for step in range(s.fitting):
        _slow(optimiser, 5e-3, step / s.fitting)
        j = torch.randint(0, len(x), (1024,))
        found = torch.clamp(net(x[j]), -8, 5)
        optimiser.zero_grad()
        (w[j] * (torch.exp(found) - y[j] * found)).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net


def _value(net: Net, gaps: Gaps, s: Settings, rng: np.random.Generator) -> Tensor:
    """Looks and priced errors for each frame, of neighbouring gaps of one length and all of their halves, in looks."""
    n = len(gaps)
    levels = _levels(gaps)
    root = int(rng.choice([d for d in levels if LEAST_ROOT <= d < n - SPARE] or levels[:1]))
    count = min(s.roots, n - root)
    start = int(rng.integers(0, n - root - count + 1))
    price = float(rng.uniform(*np.log(s.price)))
    each = np.exp(price) / (2 * gaps.mean)
    k = np.arange(start, start + count + root)
    lately = _lately(gaps, np.minimum(k, n - 1), rng)
    sides: list[Tensor] = []
    for d in levels[: levels.index(root) + 1]:
        m = count + root - d
        errors = torch.from_numpy(each * gaps.error[k[:m], d])
        halved = torch.ones(m) if d == 2 else 1 + sides[0][:m] + sides[1][d // 2 : d // 2 + m]
        steps = np.full(m, d)
        now = []
        for is_second in (False, True):
            x = gaps.features(k[:m], steps, lately[:m], _whole(gaps, k[:m], steps, np.full(m, is_second)))
            chance = torch.sigmoid(SHARPNESS * torch.clamp(net(_priced(x, price)) + _own(price, d), -12, 12))
            now.append(chance * halved + (1 - chance) * errors)
        sides = now
    return sides[0][:count].mean() / root + 1 / root


def _whole(gaps: Gaps, k: Ints, d: Ints, is_second: np.ndarray) -> F32:
    """`relative` of the gaps whose first halves these are, or whose second."""
    start = np.maximum(np.where(is_second, k - d, k), 0)
    steps = np.minimum(2 * d, np.minimum(len(gaps) - 1 - start, gaps.table.horizon))
    out: F32 = gaps.apart[start, steps] / np.maximum(gaps.usual[k], LEAST_USUAL).astype(np.float32)
    return out


def _lately(gaps: Gaps, k: Ints, rng: np.random.Generator) -> F32:
    """(m, 2) running means as they may be at frames k: of four gaps of any length before."""
    lengths = rng.integers(3, 33, (len(k), 4))
    start = k[:, None] - np.cumsum(lengths[:, ::-1], 1)[:, ::-1]
    is_there = start >= 0
    start = np.maximum(start, 0)
    steps = np.minimum(lengths, len(gaps) - 1 - start)
    share = gaps.apart[start, steps] / np.maximum(gaps.count[start] + gaps.count[start + steps], 1)
    weight = LATELY * (1 - LATELY) ** np.arange(4)[::-1] * is_there
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-9)
    return np.stack([(share * weight).sum(1), (gaps.relative(start, steps) * weight).sum(1)], -1).astype(np.float32)
