"""`lattice:N`: sparse key frames, refined between them where their two sides disagree."""

from __future__ import annotations

from everyframe.policies.base import Decision, EveryFrame, Observation, Traits

PRICE = 1.0
"""Wrong labels, relative to the objects usual for a stream, that a look at a whole picture must put right."""


class Lattice(EveryFrame):
    """The CNN on every `every`-th frame; in lookahead mode then on parts of frames between, while a look is expected to save
    enough wrong labels (scale-time lattice, Chen et al., CVPR 2018). Causal, it is `stride`."""

    traits = Traits(look_back=PRICE, look_back_rung="region")

    def __init__(self, every: int) -> None:
        self.name = f"lattice:{every}"
        self._every = every

    def choose(self, observation: Observation) -> Decision:
        if observation.frames_since_detect >= self._every:
            return Decision("detect", f"every {self._every}")
        return Decision("propagate", "between key frames")
