"""`flow` between key frames: the rung itself weighs which part of the picture is worth computing anew."""

from __future__ import annotations

from everyframe.policies.base import Decision, EveryFrame, Observation, Traits


class Flow(EveryFrame):
    """A key frame, the whole CNN, every `every` frames; the rung `flow` on those between."""

    traits = Traits(rungs=("flow",))

    def __init__(self, every: int) -> None:
        self.name = f"flow:{every}"
        self._every = every

    def choose(self, observation: Observation) -> Decision:
        if observation.frames_since_detect >= self._every:
            return Decision("detect", f"every {self._every}")
        return Decision("flow", "between key frames")
