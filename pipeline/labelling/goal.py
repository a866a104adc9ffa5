"""Holds a policy to what the user asked for: an accuracy, a cost, or a speedup.

A policy that can be steered has one price: how much cost an error is worth to it. A cost is reached by a slow
integral control of that price by what the run has cost so far, reckoned in the prices of this machine and not by the
clock, so that labels stay the same from run to run; what was overspent is saved over the frames to come. An accuracy
is reached by the price that reached it on the cameras of training, corrected as audits show what the run really has.
"""

from __future__ import annotations

import math

from everyframe.operators.base import Prices
from everyframe.pipeline.labelling.audits import AuditSums, estimate
from everyframe.pipeline.settings import Goal
from everyframe.policies.base import Policy, Steerable

EVERY = 25  # frames from one correction to the next
HORIZON = 250.0  # frames over which what was overspent or saved is made up for
GAIN = 0.35  # of the logarithm of the price, for each of the logarithm of the cost
MOST_STEP = 0.7
MOST = math.log(64.0)  # the price stays within this factor of where it began
BELIEF = 12.0  # audited frames that weigh as much as the training's curve
BELIEF_OBJECTS = 20.0  # the same in objects, published and found ones
FROM_ERROR = 2.0  # of the logarithm of the price, for each of the logarithm of the error
LEAST_ERROR = 0.01


class Pilot:
    """Steers one stream's policy; does nothing where there is no goal or the policy can't be steered.

    prices: CPU ms of `detect` (the CNN with its preparation), `decode` (with motion, tracks and policy), `plain` (decoding
    alone) and `frame` (what every frame costs besides), as `pipeline.costs.prices` gives them.
    """

    def __init__(self, policy: Policy, goal: Goal, prices: Prices) -> None:
        self._policy = policy if isinstance(policy, Steerable) else None
        self._goal = goal
        look, decode, plain, frame = (prices.rungs.get(name, 0.0) for name in ("detect", "decode", "plain", "frame"))
        self._look, self._decode, self._frame, self._dense = look, decode, frame, look + plain
        self._frames = self._decoded = self._audited = 0
        self._looks = 0.0
        self._spent = 0.0
        self._recent = 0.0
        self._begin()

    def _begin(self) -> None:
        if self._policy is None:
            return
        if self._decode > 0 and self._look > 0:
            self._policy.costs = (self._decode / self._dense, self._look / self._dense)
        self._wanted = self._wanted_ms()
        if self._wanted is not None:
            self._policy.price = self._policy.price_for_cost(self._wanted / self._dense)
        elif self._goal.target_f1 is not None:
            self._policy.price = self._policy.price_for(self._goal.target_f1)
        self._start = math.log(self._policy.price)
        self._shift = 0.0

    def _wanted_ms(self) -> float | None:
        if self._dense <= 0:
            return None
        if self._goal.budget_ms is not None:
            return self._goal.budget_ms
        return None if self._goal.speedup is None else self._dense / self._goal.speedup

    def frame(self, frames: int, decoded: int, looks: float, audits: AuditSums) -> None:
        """Told after every frame what the stream has come to: frames, of those decoded, looks (in those of
        the run's model, audits among them)."""
        if self._policy is None or frames - self._frames < EVERY:
            return
        if self._wanted is not None:
            self._by_cost(frames, decoded, looks, self._wanted)
        elif self._goal.target_f1 is not None:
            self._by_audits(audits, self._goal.target_f1)
        self._frames, self._decoded, self._looks = frames, decoded, looks
        self._shift = min(max(self._shift, -MOST), MOST)
        self._policy.price = math.exp(self._start + self._shift)

    def _by_cost(self, frames: int, decoded: int, looks: float, wanted: float) -> None:
        spent = (decoded - self._decoded) * self._decode + (looks - self._looks) * self._look
        spent += (frames - self._frames) * self._frame
        self._spent += spent
        share = min((frames - self._frames) / HORIZON * 2, 1.0)
        now = spent / (frames - self._frames)
        self._recent = now if self._frames == 0 else (1 - share) * self._recent + share * now
        ahead = (wanted * (frames + HORIZON) - self._spent) / HORIZON
        ahead = min(max(ahead, wanted / 4), wanted * 4)
        step = GAIN * math.log(ahead / max(self._recent, 0.05 * wanted))
        self._shift += min(max(step, -MOST_STEP), MOST_STEP)

    def _by_audits(self, audits: AuditSums, target: float) -> None:
        found = estimate(audits)
        if found is None or found.frames == self._audited:
            return
        # Ever smaller steps, as in stochastic approximation (Robbins and Monro, 1951): one audit says little.
        step = (found.frames - self._audited) / (found.frames + BELIEF)
        step *= audits.y / (audits.y + BELIEF_OBJECTS)  # empty frames say nothing
        self._audited = found.frames
        self._shift += FROM_ERROR * step * math.log(max(1 - found.f1, LEAST_ERROR) / (1 - target))
