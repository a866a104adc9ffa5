"""`hold`: the last labels again. The cheapest rung: the frame need not be decoded."""

from __future__ import annotations

from everyframe.operators.base import Needs
from everyframe.operators.types import Objects, Origin, View


class Hold:
    """The rung: every object stays where it was."""

    name = "hold"
    needs = Needs()
    outcome = Origin.HELD

    def apply(self, view: View, objects: Objects) -> Objects:
        return objects.with_origin(Origin.HELD)
