"""Training of the policy `learned`, from tables of recorded clips to weights. Read it from top to bottom.

The game is known (`training.graph`): what every choice would have cost and missed. So nothing is estimated from samples:

1. *Draw* a clip, a stretch of it, a price of error and a machine.
2. *Estimate*: fit what errors will cost at some place after a look to what they did cost: a warm start.
   Or *imitate* the looks of the optimum in hindsight: a baseline.
3. *Reinforce*: policy iteration. Under the networks' present policy, dynamic programming gives what every action at every
   place costs more than its alternative; the networks are moved to take the better one, each place weighing by how much
   better (classification as in Lagoudakis and Parr, 2003, and Lazaric et al., 2010, with exact values in place of rollouts,
   and a step of gradient in place of a whole fit).
4. *Judge* on validation clips in the game itself, and keep the best.

Deviations: each stretch counts in units of its own value, so that cheap and dear prices and empty and busy cameras weigh
alike; places that the policy hardly reaches count a little too.
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
from torch.nn.functional import softplus

from everyframe.policies.base import F32
from everyframe.policies.brain import SLEEPS, Brain
from everyframe.policies.features import FEATURES
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.training import graph as g
from everyframe.policies.training.judge import Judge
from everyframe.policies.training.net import Net, logits_of

READINESS = "gate_net.4.bias"
CAUTIONS = (0.0, 1.5, 4.0, 20.0)
"""Judged is what the gate learned, and the same with its logit of falling asleep lowered by so much."""
ESTIMATED = 1500
"""Places of a stretch by which errors are fitted."""
EXPLORED, FADING = 0.2, 0.98
"""Weight of places that the policy does not reach, right after a look, and its decay from frame to frame."""
LEAST = 0.005
"""Dense frames for each frame that a stretch's return is taken to be at least."""
Told = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """lookahead: which game. steps: gradient steps, of which the first `estimation` fit errors and the next `imitation` imitate
    the optimum. stretches: windows a step, of
    `frames` each. price, decode: ranges, log-uniform; decode: cost of decoding in looks, one draw in two being that of the
    machine that recorded. tuning: share of the
    rate at which reinforcement still moves the network that looks. noise: shift of standardised features, drawn for each stretch. sleeps: False decodes every
    frame. judge_every: steps."""

    lookahead: bool = False
    steps: int = 400
    estimation: int = 200
    imitation: int = 0
    stretches: int = 4
    frames: tuple[int, int] = (60, 220)
    price: tuple[float, float] = (0.02, 10.0)
    decode: tuple[float, float] = (1 / 40, 1 / 3)
    width: int = 16
    rate: float = 5e-3
    tuning: float = 0.0
    decay: float = 0.05
    noise: float = 0.5
    sleeps: bool = True
    judge_every: int = 50
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
        self._optimiser = torch.optim.AdamW(self._groups(), settings.rate, weight_decay=settings.decay)
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
        lessons = (s.estimation, s.steps - s.estimation)
        done = state.step / lessons[0] if state.step < s.estimation else (state.step - s.estimation) / lessons[1]
        rate = s.rate * min(1.0, (state.step + 1) / 20) * max(0.05, 1 - done)
        lesson = self._reinforce
        if state.step < s.estimation + s.imitation:
            lesson = self._estimate if state.step < s.estimation else self._imitate
        tuning = s.tuning if lesson == self._reinforce else 1.0
        for group, share in zip(self._optimiser.param_groups, (tuning, 1.0), strict=True):
            group["lr"] = rate * share
        self.net.train()
        self._optimiser.zero_grad()
        regret = 0.0
        for _ in range(s.stretches):
            window = self._draw()
            self.net.disturb()
            loss, excess = lesson(window)
            (loss / s.stretches).backward()  # type: ignore[no-untyped-call]
            regret += excess / s.stretches
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self._optimiser.step()
        state.step += 1
        return {"step": state.step, "lesson": lesson.__name__.strip("_"), "excess": regret}

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters of the network that looks, and of the gate."""
        net = self.net
        looks = [*net.look_net.parameters(), *net.look_skip.parameters()]
        return [{"params": looks}, {"params": [*net.gate_net.parameters(), *net.gate_skip.parameters()]}]

    def _draw(self) -> g.Window:
        rng, s = self._rng, self.settings
        graph = self.graphs[int(rng.choice(len(self.graphs), p=self._share))]
        frames = min(int(rng.integers(s.frames[0], s.frames[1] + 1)), len(graph))
        start = int(rng.integers(0, len(graph) - frames + 1))
        price = float(np.exp(rng.uniform(*np.log(s.price))))
        decode = float(np.exp(rng.uniform(*np.log(s.decode)))) if rng.random() < 0.5 else None
        return g.window_of(graph, start, start + frames, price, decode, rng)

    def _estimate(self, window: g.Window) -> tuple[Tensor, float]:
        """Poisson regression of what errors at some place after a look cost beyond those of a look there, in looks."""
        table = window.graph.table
        w = len(window.outcome)
        rows = self._rng.integers(0, w, ESTIMATED)
        steps = np.minimum(self._rng.geometric(1 / 25, ESTIMATED), table.horizon)
        at = window.start + rows
        rows, steps, at = (part[at + steps < len(table)] for part in (rows, steps, at))
        extra = beyond_looks(window.graph, at, steps, self.settings.lookahead)
        price, look = float(np.exp(window.prices[0])), float(np.exp(window.prices[2]))
        target = torch.from_numpy(np.clip(price * extra / table.normaliser / look, 0.0, None).astype(np.float32))
        log_doubt = self.net.look(g.awake(window, rows, steps))
        return (torch.exp(torch.clamp(log_doubt, max=5.0)) - target * log_doubt).mean() / (price + 0.1), 0.0

    def _imitate(self, window: g.Window) -> tuple[Tensor, float]:
        """The loss of telling the actions of the optimum from their alternatives: what it does until its next look, from every
        frame of the window."""
        logits = logits_of(self.net, window, self._rng, self.settings.sleeps)
        steps = torch.arange(1, logits.look.shape[1] + 1)[None]
        step = torch.from_numpy(window.best[:, 0])[:, None]
        kind = window.best[:, 1]
        awake = torch.from_numpy(np.append(SLEEPS[: window.outcome.shape[2] - 1], 1 << 30)[kind])[:, None]
        weight = ((steps <= step) & (steps <= awake)).float()
        loss = (weight * softplus(torch.where(steps == step, -logits.look, logits.look))).sum()
        rows, kinds = logits.at[:, 0], logits.at[:, 1]
        ages = np.array(SLEEPS)[kinds]
        falls = torch.from_numpy(kind[rows] == kinds)
        arrives = torch.from_numpy((ages <= window.best[rows, 0]) & (ages <= awake.numpy()[rows, 0])).float()
        loss = loss + (arrives * softplus(torch.where(falls, -logits.sleep, logits.sleep))).sum()
        frames = torch.arange(1, logits.wake.shape[1] + 1)[None]
        wakes, asleep = frames == step[rows], (frames <= step[rows]) & (frames >= torch.from_numpy(ages)[:, None] + 2)
        weight = (falls[:, None] & asleep).float()
        loss = loss + (weight * softplus(torch.where(wakes, -logits.wake, logits.wake))).sum()
        return loss / len(window.best), 0.0

    def _reinforce(self, window: g.Window) -> tuple[Tensor, float]:
        """The cost of taking the worse action, by how much worse it is, relative to the window's value; and how far that is from
        the optimum's, as a share of it."""
        logits = logits_of(self.net, window, self._rng, self.settings.sleeps)
        chances = logits.chances(window)
        found = g.advantages(chances, window)
        unit = max(float(found.value[0]), window.optimum, 0.0) + LEAST * len(found.value)
        reached = np.cumprod(np.concatenate([np.ones((len(chances.look), 1)), 1 - chances.look[:, :-1]], 1), 1)
        reached = np.maximum(reached, EXPLORED * FADING ** np.arange(reached.shape[1])).astype(np.float32)
        loss = _worse(logits.look, found.look * reached)
        if len(logits.at):
            rows, kinds = logits.at[:, 0], logits.at[:, 1]
            share = len(chances.look) * len(np.unique(kinds)) / len(logits.at)  # of places that are followed
            ages = np.minimum(np.array(SLEEPS)[kinds], reached.shape[1]) - 1
            here = reached[rows, ages] * share
            asleep = 1 - chances.wake
            slept = np.cumprod(np.concatenate([np.ones((len(asleep), 1)), asleep[:, :-1]], 1), 1, dtype=np.float32)
            slept = np.maximum(slept, EXPLORED * np.float32(FADING) ** np.arange(slept.shape[1]))
            fallen = np.maximum(chances.sleep[rows, kinds], EXPLORED)[:, None]
            loss = loss + _worse(logits.sleep, found.sleep[rows, kinds] * here)
            loss = loss + _worse(logits.wake, found.wake * slept * fallen * here[:, None])
        return loss / unit, float((found.value[0] - window.optimum) / unit)

    def _judge(self) -> dict[str, Any]:
        if self.judge is None:
            self.state.best = self._copied()
            return {}
        state = self._copied()
        found = []
        for caution in CAUTIONS if self.settings.sleeps else CAUTIONS[:1]:
            less = {**state, READINESS: state[READINESS] - torch.tensor([caution, 0.0])}
            self.net.load_state_dict(less)
            ratio, regret, _ = self.judge.score(self._brain())
            found.append((ratio, regret, caution))
            if ratio < self.state.best_score:
                self.state.best_score, self.state.best = ratio, less
        self.net.load_state_dict(state)
        ratio, regret, caution = min(found)
        return {"ratio": ratio, "regret": regret, "caution": caution, "best": self.state.best_score}

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
        rng = np.random.default_rng(0)  # the same for all seeds
        seen = []
        for graph in self.graphs:
            for _ in range(3):
                n = len(graph)
                frames = min(200, n)
                start = int(rng.integers(0, n - frames + 1))
                price = float(np.exp(rng.uniform(*np.log(self.settings.price))))
                decode = float(np.exp(rng.uniform(*np.log(self.settings.decode))))
                window = g.window_of(graph, start, start + frames, price, decode, rng)
                rows = rng.integers(0, frames, 600)
                steps = np.minimum(rng.geometric(1 / 25, 600), graph.table.horizon)
                keep = start + rows + steps < n
                rows, steps = rows[keep], steps[keep]
                since = np.minimum(steps, rng.choice([1, 4, 16, 300], len(steps)))
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


def beyond_looks(graph: g.Graph, at: np.ndarray, steps: np.ndarray, lookahead: bool) -> np.ndarray:
    """(n,): errors `steps` frames after looks at frames `at` beyond those of a look there. Looking ahead, the frames between two
    looks have theirs together: they are shared out as if they grew steadily."""
    c, table = graph.table.carried, graph.table
    fresh = c.shown[:, 0] - 2.0 * c.right[:, 0]
    if not lookahead:
        out: np.ndarray = c.shown[at, steps] - 2.0 * c.right[at, steps] - fresh[at + steps]
        return out
    summed = np.concatenate([[0.0], np.cumsum(fresh)])
    between = graph.error[at, steps, -1] - (summed[np.minimum(at + steps, len(table) - 1) + 1] - summed[at + 1])
    shared: np.ndarray = 2 * between / steps
    return shared


def _worse(logits: Tensor, advantage: np.ndarray) -> Tensor:
    """Weighted logistic loss: raises the logit of an action where its advantage (a cost) is below 0."""
    a = torch.from_numpy(np.ascontiguousarray(advantage, np.float32))
    return (a.abs() * softplus(torch.where(a > 0, logits, -logits))).sum()
