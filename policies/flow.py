"""`flow` between key frames: the rung itself weighs which part of the picture is worth computing anew."""

from __future__ import annotations

from everyframe.policies.base import Traits
from everyframe.policies.fixed import Stride


class Flow(Stride):
    """A key frame, the whole CNN, every `every` frames; the rung `flow` on those between."""

    kind = between = "flow"
    traits = Traits(rungs=("flow",))
