"""What a look is worth: about how many labels of a frame it puts right; and what a camera has cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from everyframe.operators.base import Prices
from everyframe.operators.types import Bool
from everyframe.policies.base import Observation

HALF_LIFE = 60.0
"""Frames of propagation after which half of what is known is taken for wrong, also what is known of an empty picture."""
NOT_SEEN = 4.0
"""Of a picture that was never looked at."""
CELLS, MOST_STRAY = 40.0, 4.0
"""Moving cells outside of all tracks that are taken for one object, and the most objects that they are taken for."""
MOVING_PX = 1.0


@runtime_checkable
class Valuing(Protocol):
    """A policy with an estimate of its own. value: labels of the frame chosen last that a look at it puts right."""

    value: float


def value_of(policy: object, observation: Observation, conf: float, is_first: bool) -> float:
    """Wrong labels that a look at this frame is expected to put right: the policy's own estimate where it has one.

    conf: the score from which on a track is shown. is_first: the picture was never looked at.
    """
    if isinstance(policy, Valuing) and math.isfinite(policy.value):
        return float(policy.value)
    if is_first:
        return NOT_SEEN
    forgotten = 1 - 0.5 ** (observation.frames_since_detect / HALF_LIFE)
    shown = observation.scores >= conf
    aged = float((1 - 0.5 ** (observation.ages[shown] / HALF_LIFE)).sum())
    return float(0.5 * forgotten) + aged + stray_objects(observation)


def stray_objects(observation: Observation) -> float:
    """About how many objects move where there is no track."""
    speed = np.abs(observation.motion).max(-1)
    usual = float(np.median(speed[observation.known])) if observation.known.any() else 0.0
    moving: Bool = observation.known & (speed > usual + MOVING_PX)
    for x1, y1, x2, y2 in (observation.boxes / observation.cell).astype(int).tolist():
        moving[max(y1 - 1, 0) : y2 + 2, max(x1 - 1, 0) : x2 + 2] = False
    return min(float(moving.sum()) / CELLS, MOST_STRAY)


def prices_so_far(spent: Mapping[str, float], frames: int, decoded: int, look_ms: float) -> Prices:
    """What a camera's frames have cost so far, CPU ms: a goal in cost is reckoned by it. Nobody could know before it came. spent: by
    step."""
    plain = spent.get("decode", 0.0) / max(decoded, 1)
    own = sum(spent.get(step, 0.0) for step in ("motion", "propagate", "policy")) / max(decoded, 1)
    rest = sum(spent.get(step, 0.0) for step in ("demux", "convert", "track")) / frames
    return Prices({"detect": look_ms, "plain": plain, "decode": plain + own, "frame": rest})
