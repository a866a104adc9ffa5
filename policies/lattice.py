"""`lattice:N`: sparse key frames, refined between them where their two sides disagree."""

from __future__ import annotations

from everyframe.policies.base import Traits
from everyframe.policies.fixed import Stride

PRICE = 1.0
"""Wrong labels, relative to the objects usual for a stream, that a look at a whole picture must put right."""


class Lattice(Stride):
    """The CNN on every `every`-th frame; in lookahead mode then on parts of frames between, while a look is expected to save
    enough wrong labels (scale-time lattice, Chen et al., CVPR 2018). Causal, it is `stride`."""

    kind = "lattice"
    traits = Traits(look_back=PRICE, look_back_rung="region")
