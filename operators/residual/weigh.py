"""How much a change of each channel of each map matters: what it comes to at the net's outputs.

DeltaCNN cuts off by one threshold for each layer, found by trial. Here there is one for the whole net, in units of its outputs
(class logits): the squared effect of a small change is carried back through the squared weights, from the outputs to
each layer, as if the signs of the paths were random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from everyframe.operators.detectors.nanodet import CLASSES
from everyframe.operators.residual.steps import Conv, Map, Pool, Step
from everyframe.operators.types import F32

BIN = 0.1
"""A bin of a box's side against a class logit."""
FLOOR = 1e-3
"""Of the mean of a map's channels: what matters least still counts, or changes could hide in it."""
EARLY, EARLY_STRIDE = 4.0, 4
"""How much more a squared change counts in maps up to this stride: what is cut off there is missing in all that follows.
Found on the training clips, as `BIN`."""
RESIZED_UP, RESIZED_DOWN = 1.25**2, 0.25**2
"""Squared weights of a bilinear resize by 2 and by 1/2, summed over the cells that one cell reaches."""


def weigh(steps: Sequence[Step], maps: Mapping[str, Map], outputs: Sequence[str]) -> dict[str, F32]:
    """For each step the weights (channels of its target,) of squared changes in logits squared.

    steps: in the order of running. outputs: names of the maps of class logits, then bins.
    """
    total = {name: np.zeros(m.channels) for name, m in maps.items()}
    for name in outputs:
        total[name][:] = BIN
        total[name][:CLASSES] = 1
    found = {}
    for step in reversed(steps):
        if isinstance(step, Conv):
            target, source = step.target, step.source
            here = total[target.map][target.first : target.first + target.channels]
            passed = here * (1 + step.slope**2) / 2  # half of the values are below zero
            total[source.map][source.first : source.first + source.channels] += passed @ step.power / step.stride**2
        elif isinstance(step, Pool):
            here = total[step.target]
            total[step.source] += here / 4
        else:
            here = total[step.target]
            total[step.own] += here
            total[step.other] += here * (RESIZED_UP if step.finer else RESIZED_DOWN)
        stride = maps[step.target.map if isinstance(step, Conv) else step.target].stride
        factor = EARLY if stride <= EARLY_STRIDE else 1.0
        found[step.name] = (factor * np.maximum(here, FLOOR * here.mean())).astype(np.float32)
    return found
