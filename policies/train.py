"""Training of the policy `learned`, from tables of recorded clips to weights. Read it from top to bottom.

The game is known (`training.graph`): what every choice would have cost and missed. So nothing is estimated from samples:

1. *Draw* a clip, a stretch of it, a price of error and a machine.
2. *Imitate*: raise the likelihood of the looks of the optimum in hindsight. A warm start, and a baseline.
3. *Reinforce*: the chances that the networks give to every edge of the graph make the value of each node (Bellman) and how
   often it is visited; the gradient of the expected return is the sum over nodes of visits times the gradient of the chances
   times the value of each edge (the policy gradient theorem, Sutton et al. 1999, with all actions and exact values in place
   of samples and a critic).
4. *Judge* on validation clips in the game itself, and keep the best.

The paper's gradient is for one return; here each stretch counts in units of its own expected return, so that cheap and dear
prices and empty and busy cameras weigh alike.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from everyframe.policies.base import F32
from everyframe.policies.brain import Brain
from everyframe.policies.features import FEATURES
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.training import graph as g
from everyframe.policies.training.judge import Judge
from everyframe.policies.training.net import Net, chances

LEAST = 0.005
"""Dense frames for each frame that a stretch's return is taken to be at least."""
Told = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """lookahead: which game. steps: gradient steps, of which the first `imitation` imitate. stretches: windows a step, of
    `frames` each. price, decode: ranges, log-uniform; decode: cost of decoding in looks, one draw in two being that of the
    machine that recorded. noise: shift of standardised features, drawn for each stretch. sleeps: False decodes every
    frame. judge_every: steps."""

    lookahead: bool = False
    steps: int = 1200
    imitation: int = 200
    stretches: int = 4
    frames: tuple[int, int] = (60, 220)
    price: tuple[float, float] = (0.02, 10.0)
    decode: tuple[float, float] = (1 / 40, 1 / 3)
    width: int = 40
    rate: float = 3e-3
    decay: float = 1e-4
    noise: float = 0.2
    sleeps: bool = True
    judge_every: int = 100
    seed: int = 0


@dataclass(slots=True)
class State:
    """Where a training stands. best: score, brain of the best judgement so far."""

    step: int = 0
    best_score: float = float("inf")
    best: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """One training. clips: tables to train on; weights: how likely each is drawn. judge: on clips that are not."""

    def __init__(
        self, clips: Sequence[ClipTable], judge: Judge | None, settings: Settings, weights: Sequence[float] | None = None
    ) -> None:
        self.settings = settings
        self.judge = judge
        self.graphs = [g.Graph.of(table, settings.lookahead) for table in clips]
        share = np.ones(len(clips)) if weights is None else np.asarray(weights, np.float64)
        self._share = share / share.sum()
        self._rng = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        mean, scale, self.lowest, self.highest = self._ranges()
        self.net = Net(mean, scale, settings.width, settings.noise)
        self._optimiser = torch.optim.AdamW(self.net.parameters(), settings.rate, weight_decay=settings.decay)
        self.state = State()

    def run(self, until: float = float("inf"), told: Told | None = None, kept: Path | None = None) -> Brain:
        """Trains to the last step or to `time.monotonic() == until`; returns the best brain. kept: checkpoint file."""
        s, state = self.settings, self.state
        began = time.monotonic()
        while state.step < s.steps and time.monotonic() < until:
            news = self.step()
            if state.step % s.judge_every == 0 or state.step == s.steps:
                news |= self._judge()
                news["seconds"] = time.monotonic() - began
                state.history.append(news)
                if told is not None:
                    told(news)
                if kept is not None:
                    self.save(kept)
        return self.best()

    def step(self) -> dict[str, Any]:
        """One gradient step."""
        s, state = self.settings, self.state
        imitates = state.step < s.imitation
        rate = s.rate * min(1.0, (state.step + 1) / 20) * max(0.05, 1 - state.step / s.steps)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self.net.train()
        self._optimiser.zero_grad()
        regret = 0.0
        for _ in range(s.stretches):
            window = self._draw()
            self.net.disturb()
            loss, excess = self._imitate(window) if imitates else self._reinforce(window)
            (loss / s.stretches).backward()  # type: ignore[no-untyped-call]
            regret += excess / s.stretches
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self._optimiser.step()
        state.step += 1
        return {"step": state.step, "imitates": imitates, "excess": regret}

    def _draw(self) -> g.Window:
        rng, s = self._rng, self.settings
        graph = self.graphs[int(rng.choice(len(self.graphs), p=self._share))]
        frames = min(int(rng.integers(s.frames[0], s.frames[1] + 1)), len(graph))
        start = int(rng.integers(0, len(graph) - frames + 1))
        price = float(np.exp(rng.uniform(*np.log(s.price))))
        decode = float(np.exp(rng.uniform(*np.log(s.decode)))) if rng.random() < 0.5 else None
        return g.window_of(graph, start, start + frames, price, decode, rng)

    def _imitate(self, window: g.Window) -> tuple[Tensor, float]:
        """Minus the log-likelihood of the optimum's next look, from every frame of the window."""
        p = chances(self.net, window, self._rng, self.settings.sleeps)
        rows = torch.arange(len(p))
        step, kind = (torch.from_numpy(window.best[:, i]) for i in (0, 1))
        return -torch.log(p[rows, step - 1, kind] + 1e-4).mean(), 0.0

    def _reinforce(self, window: g.Window) -> tuple[Tensor, float]:
        """The surrogate whose gradient is that of the expected cost and price, relative to it; and its excess over the
        optimum's, as a share of it."""
        p = chances(self.net, window, self._rng, self.settings.sleeps)
        plain = p.detach().numpy()
        outcome = np.where(np.isfinite(window.outcome), window.outcome, np.float32(0))
        value, visits = g.evaluate(plain, outcome, window.beyond)
        edge = outcome + _arrivals(value, window.beyond, outcome.shape[1])[..., None]
        weight = visits[:, None, None] * (edge - value[:, None, None])
        unit = max(value[0], window.optimum, 0.0) + LEAST * len(value)
        surrogate = (p * torch.from_numpy(weight.astype(np.float32))).sum() / unit
        return surrogate, float((value[0] - window.optimum) / unit)

    def _judge(self) -> dict[str, Any]:
        if self.judge is None:
            self.state.best = self._copied()
            return {}
        ratio, regret, _ = self.judge.score(self._brain())
        if ratio < self.state.best_score:
            self.state.best_score, self.state.best = ratio, self._copied()
        return {"ratio": ratio, "regret": regret, "best": self.state.best_score}

    def _copied(self) -> dict[str, Any]:
        return {key: value.clone() for key, value in self.net.state_dict().items()}

    def _brain(self) -> Brain:
        self.net.eval()
        return self.net.brain(self.lowest, self.highest)

    def best(self) -> Brain:
        """The brain of the best judgement; the newest where there was none."""
        if self.state.best is not None:
            self.net.load_state_dict(self.state.best)
        return self._brain()

    def _ranges(self) -> tuple[F32, F32, F32, F32]:
        """Mean, spread, least and most of each feature over draws, looks at about the optimum's distances."""
        seen = []
        for graph in self.graphs:
            for _ in range(3):
                n = len(graph)
                frames = min(200, n)
                start = int(self._rng.integers(0, n - frames + 1))
                price = float(np.exp(self._rng.uniform(*np.log(self.settings.price))))
                decode = float(np.exp(self._rng.uniform(*np.log(self.settings.decode))))
                window = g.window_of(graph, start, start + frames, price, decode, self._rng)
                rows = self._rng.integers(0, frames, 600)
                steps = np.minimum(self._rng.geometric(1 / 25, 600), graph.table.horizon)
                keep = start + rows + steps < n
                rows, steps = rows[keep], steps[keep]
                since = np.minimum(steps, self._rng.choice([1, 4, 16, 300], len(steps)))
                seen.append(g.asleep(window, rows, since, steps))
        x = np.concatenate(seen)
        mean, scale = x.mean(0), np.maximum(x.std(0), 0.05)
        return mean.astype(np.float32), scale.astype(np.float32), x.min(0), x.max(0)

    # -- what outlives a kill

    def save(self, path: Path) -> None:
        """A checkpoint, whole or not at all."""
        state = {
            "net": self.net.state_dict(), "optimiser": self._optimiser.state_dict(), "torch": torch.get_rng_state(),
            "best": self.state.best or {}, "ranges": [torch.from_numpy(v) for v in (self.lowest, self.highest)],
            "plain": json.dumps({
                "settings": asdict(self.settings), "step": self.state.step, "best_score": self.state.best_score,
                "history": self.state.history, "rng": self._rng.bit_generator.state, "features": FEATURES,
            }),
        }  # fmt: skip
        beside = path.with_suffix(".part")
        torch.save(state, beside)
        os.replace(beside, path)

    def resume(self, path: Path) -> bool:
        """Goes on from a checkpoint of the same settings; False where there is none. Raises ValueError for another's."""
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        plain = json.loads(state["plain"])
        ours = json.loads(json.dumps({"settings": asdict(self.settings), "features": FEATURES}))
        if plain["settings"] != ours["settings"] or plain["features"] != ours["features"]:
            raise ValueError(f"the checkpoint {path} is of a training with other settings: remove it, or use another folder")
        self.net.load_state_dict(state["net"])
        self._optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch"])
        self._rng.bit_generator.state = plain["rng"]
        self.lowest, self.highest = (v.numpy() for v in state["ranges"])
        self.state = State(plain["step"], plain["best_score"], state["best"] or None, plain["history"])
        return True


def _arrivals(value: np.ndarray, beyond: np.ndarray, horizon: int) -> np.ndarray:
    """(w, horizon): value of the node that each edge leads to."""
    w = len(value)
    whole = np.concatenate([value, beyond[: horizon + 1]])
    out: np.ndarray = whole[np.minimum(np.arange(w)[:, None] + np.arange(1, horizon + 1)[None], len(whole) - 1)]
    return out
