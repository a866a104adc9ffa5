"""Many streams at once over recorded clips: the environment that training uses, one array call a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.features import FEATURES
from everyframe.policies.simulation import game
from everyframe.policies.simulation.arena import Arena, arena_of
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.stray import Bool

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draw:
    """What is drawn anew for each episode. frames: its length; None for whole clips. price: lowest and highest price of
    error, in dense frames for F1 from 0 to 1, log-uniform. decode: lowest and highest cost of decoding in looks,
    log-uniform; None for that of the machine that recorded."""

    frames: int | None = None
    price: tuple[float, float] = (0.02, 5.0)
    decode: tuple[float, float] | None = (1 / 40, 1 / 3)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step gives, for each of B streams.

    observation (B, len(FEATURES)) float32, of a new episode where over. reward (B,). over (B,): the episode ended.
    cost (B,): dense frames. right, shown, truth (B,): true positives, reports and the dense detector's objects of the
    frames that were settled. clip (B,): index of the clip that the step was in.
    """

    observation: F32
    reward: NDArray[np.float64]
    over: Bool
    cost: NDArray[np.float64]
    right: NDArray[np.float64]
    shown: NDArray[np.float64]
    truth: NDArray[np.float64]
    clip: Ints


class VectorKeyFrame:
    """B streams, each in a clip drawn at random (or, with `order`, given). `reset`, then `step` for every frame.

    The first frame of an episode is looked at whatever is asked, as in the product; so is one `horizon` frames after the
    last look.

    tables: the clips; lookahead: labels wait for the next look, and the reward of their error with them. draw: what
    differs between episodes. weights (clips,): how likely each clip is drawn; in proportion to its length if not given.
    """

    def __init__(
        self,
        tables: Sequence[ClipTable] | Arena,
        batch: int = 64,
        lookahead: bool = False,
        draw: Draw | None = None,
        seed: int = 0,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.arena = tables if isinstance(tables, Arena) else arena_of(tables, lookahead)
        self.lookahead = lookahead
        self.batch = batch
        self._draw = draw or Draw()
        self._rng = np.random.default_rng(seed)
        share = np.asarray(self.arena.clips.length if weights is None else weights, np.float64)
        self._share = share / share.sum()
        self.whole = np.zeros((batch, game.WHOLES), np.int64)
        self.real = np.zeros((batch, game.REALS), np.float64)
        self._shift = np.zeros((batch, self.arena.most, 2), np.float64)
        self._told = np.zeros((batch, 5), np.float64)
        self._over = np.zeros(batch, np.bool_)
        self._observation = np.zeros((batch, len(FEATURES)), np.float32)

    def reset(
        self,
        seed: int | None = None,
        clips: Sequence[int] | None = None,
        price: float | Sequence[float] | None = None,
        decode: float | None = None,
    ) -> F32:
        """Begins B episodes; returns (B, len(FEATURES)) float32. clips (B,), price, decode: in place of what is drawn."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        for i in range(self.batch):
            wanted = price if price is None or isinstance(price, float) else float(price[i])
            self._begin(i, None if clips is None else clips[i], wanted, decode)
        return self._observe()

    def step(self, look: Bool, decode_next: Bool) -> Step:
        """Plays a frame in every stream. look (B,): run the CNN on this frame, which does nothing where it was not decoded;
        decode_next (B,): decode the frame after it, with what that needs. An episode that ends begins anew."""
        look, decode_next = np.asarray(look, np.bool_), np.asarray(decode_next, np.bool_)
        clip = self.whole[:, game.CLIP].copy()
        price, norm = self.real[:, game.PRICE].copy(), self.real[:, game.NORM].copy()
        game.play(
            self.arena.clips, self.whole, self.real, self._shift, look, decode_next, self.lookahead, self._told, self._over
        )
        told, over = self._told.copy(), self._over.copy()
        for i in np.flatnonzero(over).tolist():
            self._begin(i, None, None, None)
        reward = -told[:, game.COST] - price * told[:, game.MISSED] / norm
        return Step(
            self._observe(), reward, over, told[:, game.COST], told[:, game.TRUE], told[:, game.REPORTED],
            told[:, game.EXPECTED], clip,
        )  # fmt: skip

    def _observe(self) -> F32:
        game.observe(self.arena.clips, self.whole, self.real, self._observation)
        return self._observation.copy()

    def _begin(self, i: int, clip: int | None, price: float | None, decode: float | None) -> None:
        rng, draw = self._rng, self._draw
        if clip is None:
            clip = int(rng.choice(len(self._share), p=self._share))
        length = int(self.arena.clips.length[clip])
        frames = length if draw.frames is None else min(draw.frames, length)
        start = int(rng.integers(0, length - frames + 1))
        if price is None:
            price = float(np.exp(rng.uniform(*np.log(draw.price))))
        if decode is None and draw.decode is not None:
            decode = float(np.exp(rng.uniform(*np.log(draw.decode))))
        begin(self.arena.tables[clip], clip, start, start + frames, price, decode, self.whole[i], self.real[i])
        self._shift[i] = 0


def begin(
    table: ClipTable, clip: int, start: int, end: int, price: float, decode: float | None, whole: Ints,
    real: NDArray[np.float64],
) -> None:  # fmt: skip
    """Sets a stream (see `game`) to the first frame of an episode [start, end)."""
    costs = table.costs if decode is None else table.costs.with_ratio(decode)
    whole[:] = 0
    whole[[game.CLIP, game.NOW, game.END, game.LOOK, game.SEEN]] = clip, start, end, start, start
    whole[game.FRESH], whole[game.ROW] = 1, -1
    scale = float(costs.decode.mean()) / max(float(table.costs.decode.mean()), 1e-9)
    real[:] = 0.0
    real[[game.AGREE, game.AGREED, game.PRICE, game.NORM]] = 1.0, 1.0, price, table.normaliser
    real[game.FRAME_COST] = costs.frame / costs.dense
    real[game.DECODE] = scale / costs.dense
    real[game.CARRY] = costs.carry / costs.dense
    real[game.LOOK_COST] = costs.look / costs.dense
    of_frame = (float(costs.decode.mean()) + costs.carry) / costs.dense
    real[game.COST_DECODE] = np.clip(np.log(max(of_frame, 1e-9)), -9, 0)
    real[game.COST_LOOK] = np.clip(np.log(max(real[game.LOOK_COST], 1e-9)), -9, 0)
