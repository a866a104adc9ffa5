"""`residual` on every frame: the CNN is computed where the picture changed, the rest is known."""

from __future__ import annotations

from everyframe.policies.base import Decision, EveryFrame, Observation, Traits


class Residual(EveryFrame):
    """Every frame is decoded and gets the rung `residual`."""

    name = "residual"
    traits = Traits(rungs=("residual",))

    def choose(self, observation: Observation) -> Decision:
        return Decision("residual", "where it changed")
