"""`region` on every frame: the rung itself weighs what a look at a part, at the whole or at nothing is worth."""

from __future__ import annotations

from everyframe.policies.base import Decision, EveryFrame, Observation, Traits


class Region(EveryFrame):
    """Every frame is decoded and offered to the rung `region`.

    every: frames from one look at the whole to the next at most; None leaves also those to the rung.
    """

    traits = Traits(rungs=("region",))

    def __init__(self, every: int | None = None) -> None:
        self.name = "region" if every is None else f"region:{every}"
        self._every = every

    def choose(self, observation: Observation) -> Decision:
        if self._every is not None and observation.frames_since_detect >= self._every:
            return Decision("detect", f"every {self._every}")
        return Decision("region", "where it is worth it")
