"""Policies without eyes: the baselines. Read this file first when you add one."""

from __future__ import annotations

import numpy as np

from everyframe.policies.base import Decision, EveryFrame, Observation, PacketFacts, Traits


class Dense(EveryFrame):
    """The CNN on every frame."""

    name = "dense"

    def choose(self, observation: Observation) -> Decision:
        return Decision("detect", "every frame")


class Stride(EveryFrame):
    """The CNN on every `every`-th frame, motion vectors between. kind: how a user calls the policy; between: the rung of the
    frames between; others differ in these alone."""

    kind = "stride"
    between = "propagate"

    def __init__(self, every: int) -> None:
        self.name = f"{self.kind}:{every}"
        self._every = every

    def choose(self, observation: Observation) -> Decision:
        if observation.frames_since_detect >= self._every:
            return Decision("detect", f"every {self._every}")
        return Decision(self.between, "between key frames")


class IFrames:
    """Key packets only: nothing else is decoded."""

    name = "iframes"
    traits = Traits(keys_only=True)

    def reset(self, seed: int) -> None:
        pass

    def gate(self, packet: PacketFacts) -> bool:
        return packet.is_key

    def choose(self, observation: Observation) -> Decision:
        if observation.packet.is_key:
            return Decision("detect", "key packet")
        return Decision("propagate", "decoded with its group")


class Random(EveryFrame):
    """The CNN on each frame with probability `share`, seeded."""

    def __init__(self, share: float) -> None:
        self.name = f"random:{share:g}"
        self._share = share
        self._draw = np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)

    def choose(self, observation: Observation) -> Decision:
        if self._draw.random() < self._share:
            return Decision("detect", "drawn")
        return Decision("propagate", "not drawn")
