"""`learned`: looks where a look buys most accuracy for its cost, by two small networks.

What it sees is `policies.features`, what it weighs is `policies.brain`, when it acts `policies.pace`; how it was trained,
`policies.train`. It never takes the run down: weights that cannot be used, and a camera unlike anything seen in training,
leave the stream to `motion`, and each record's reason says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.policies.base import F32, LOOK, Decision, Mode, Observation, PacketFacts, Rung, Traits
from everyframe.policies.brain import GROUPS, MODES, Brain, BrainError, load
from everyframe.policies.capacity import FULL, Capacities, look_of
from everyframe.policies.features import FEATURES
from everyframe.policies.motion import Motion
from everyframe.policies.pace import Pace
from everyframe.policies.watch import Watch

WEIGHTS = Path(__file__).parent / "data" / "learned.safetensors"
DEFAULT_F1 = 0.9
COSTS = (0.04, 0.97)
"""Cost of decoding and of a look in dense frames, where no one says: 720p on an ordinary CPU."""
FORWARD, BACK = 0.1, 4.0
"""In lookahead mode: the share of the price at which frames are looked at as they come, and what the price times the wrong
labels, relative to the usual objects, that a look back must be expected to put right comes to. A look back is better placed:
both sides of it are known."""
STRANGE = 0.5
"""Ranges of training by which a feature must lie outside of them to be strange."""
NOTABLE = -2.0
"""Logarithm of a doubt from which on a reason says what speaks for a look, not against."""
PATIENCE = 100.0
"""Strange frames, less ordinary ones, after which the stream is left to `motion`."""
_CALM = (
    "looked just now", "tracks agreed", "nothing new", "tracks rest", "still around tracks", "little coded anew",
    "high scores", "number of objects", "tracks apart", "tracks inside", "size of objects", "picture rests",
    "packets as usual", "place in the group", "decoded just now", "frame rate",
)  # fmt: skip
_log = logging.getLogger("everyframe")


@lru_cache(maxsize=8)
def brains_of(path: Path) -> Mapping[Mode, Brain]:
    """Weights by mode; a file is read once. Raises BrainError."""
    brains = load(path)[0]
    return {mode: brains[mode] for mode in MODES if mode in brains}


@lru_cache(maxsize=8)
def _warn(text: str) -> None:
    _log.warning("policy learned: %s; motion decides instead.", text)


class Learned:
    """The policy; see the module's docstring.

    price: dense frames worth paying for F1 from 0 to 1; may be set at any frame. costs: of decoding a frame and of a look,
    in dense frames on this machine; to be set before the first packet. price None: what reaches `DEFAULT_F1` in the mean
    of the training's cameras. weights: a file of `everyframe train`.

    Where the ladder has several capacities of the detector, `policies.capacity` says which one looks. A cheaper look is worth
    taking for fewer errors: to the networks, errors are dearer by as much as it is cheaper.
    """

    def __init__(self, price: float | None = None, mode: Mode = "lookahead", weights: Path = WEIGHTS) -> None:
        self.name = "learned" if price is None else f"learned:{price:g}"
        self.mode: Mode = mode
        self.costs: tuple[float, float] = COSTS
        self.capacities = Capacities(mode)
        self._brain: Brain | None = None
        self._unusable = ""
        try:
            self._brain = brains_of(weights).get(mode)
            self._unusable = "" if self._brain is not None else f"{weights} has no weights for the mode {mode}"
        except BrainError as e:
            self._unusable = str(e)
        if self._unusable:
            _warn(self._unusable)
        self.traits = Traits() if self._brain is not None else Motion(mode).traits
        self.price = self.price_for(DEFAULT_F1) if price is None else price
        self.reset(0)

    @property
    def price(self) -> float:
        """Dense frames worth paying for F1 from 0 to 1."""
        return self._price

    @price.setter
    def price(self, price: float) -> None:
        self._price = price
        if self._brain is not None:
            self.capacities.expected = 1 - self._brain.curve.f1_at(price)
        self._look_back_with(self.capacities.current)

    def _look_back_with(self, rung: Rung) -> None:
        if self._brain is not None and self.mode == "lookahead":
            self.traits = replace(self.traits, look_back=BACK * rung.cost / self._price, look_back_rung=rung.name)

    def offer(self, rungs: Sequence[Rung]) -> None:
        """Capacities of the detector, as `policies.base.Choosing` says."""
        self.capacities.offer(rungs)

    def compared(self, rung: str, right: int, shown: int) -> None:
        """What a comparison gave, as `policies.base.Choosing` says."""
        if self._fallback is not None:
            self._fallback.compared(rung, right, shown)
        else:
            self.capacities.compared(rung, right, shown)

    def price_for(self, target_f1: float) -> float:
        """The price at which the cameras of the training reach a pooled F1 in the mean, in the policy's mode; 1 where there
        are no weights."""
        return 1.0 if self._brain is None else self._brain.curve.price_for(target_f1)

    def price_for_cost(self, cost: float) -> float:
        """The price that came to so many dense frames for each frame there; 1 where there are no weights."""
        return 1.0 if self._brain is None else self._brain.curve.price_for_cost(cost)

    def reset(self, seed: int) -> None:
        self._seed = seed
        self.capacities.reset()
        self._look_back_with(self.capacities.current)
        self._watch = Watch()
        self._priced: tuple[float, ...] = ()
        self._pace = Pace(1)
        self._strange = 0.0
        self._woke = ""
        self._last: dict[str, Any] = {}
        self._fallback: Motion | None = None
        self.note = ""
        if self._brain is None:
            self._give_up("no usable weights", self.mode)

    def gate(self, packet: PacketFacts) -> bool:
        if self._fallback is not None:
            return self._fallback.gate(packet)
        brain = self._brain
        assert brain is not None
        self._tell_price()
        features = self._watch.gate(packet)
        logits = brain.gate_one(features)[None]
        if not (math.isfinite(logits[0, 0]) and math.isfinite(logits[0, 1])):
            self._give_up("numbers that are none", "lookahead")
            return True
        slept = bool(self._pace.asleep[0])
        decodes = bool(self._pace.decodes(logits)[0])
        if slept and decodes:
            self._woke = self._reason(features, brain, 1)[1]
        elif not slept and not decodes:
            self._last = {"rung": "hold", "features": features, "logits": (None, *logits[0].tolist())}
        if not decodes:
            self._pace.since += 1
        self._watch.passed(packet, decodes)
        return decodes

    def left(self, packet: PacketFacts) -> None:
        """As `policies.leap.Leaping` says."""
        if self._fallback is not None:
            self._fallback.left(packet)
            return
        self._watch.gate(packet)
        self._watch.passed(packet, False)
        self._pace.since += 1

    def choose(self, observation: Observation) -> Decision:
        if self._fallback is not None:
            decision = self._fallback.choose(observation)
            return replace(decision, reason=f"{self.note}: {decision.reason}")
        brain = self._brain
        assert brain is not None
        self._tell_price()
        pace = self._pace
        if observation.frames_since_detect < pace.since[0]:  # someone else had this stream looked at
            pace.looked(np.ones(1, np.bool_))
            self._watch.looked()
        features = self._watch.choose(observation)
        pace.asleep[:] = False
        pace.since[:] = observation.frames_since_detect
        logit, reason = self._reason(features, brain, None)
        if not math.isfinite(logit):
            self._give_up("numbers that are none", "lookahead")
            return self.choose(observation)
        looks = bool(pace.look(np.array([logit], np.float32))[0])
        if looks:
            reason = self._woke or reason
            self._woke = ""
            pace.looked(np.ones(1, np.bool_))
            self._watch.looked()
        self._notice(brain, features)
        decision = self._look(observation, reason) if looks else Decision("propagate", reason)
        self._last = {"rung": decision.rung, "features": features, "logits": (logit, None, None)}
        return decision

    def _look(self, observation: Observation, reason: str) -> Decision:
        """A look with the capacity that was expected, and what looks next; now and then all of them look."""
        capacities = self.capacities
        if capacities.is_alone:
            return Decision(LOOK, reason)
        capacities.looked(observation.agreement, observation.frames_since_detect)
        due = capacities.due()
        rung = FULL if due else capacities.current
        self._look_back_with(capacities.choose())
        return look_of(rung, reason, due)

    def explain(self) -> dict[str, Any]:
        """What the newest decision was made of: `features` by name, `chances` of rungs (of a look on this frame alone; of
        falling asleep and of waking where the gate was asked), `weighed`: what kinds of features added to the look's
        logit, `price`, `costs`, `rung`. Empty before the first decision and where `motion` decides."""
        if not self._last or self._brain is None or self._fallback is not None:
            return {"fallback": self.note} if self.note else {}
        features: F32 = self._last["features"]
        logit, parts = self._brain.weighed(features)
        gate = self._brain.gate(features[None])[0]
        return {
            "rung": self._last["rung"],
            "features": dict(zip(FEATURES, features.tolist(), strict=True)),
            "chances": {"detect": _chance(logit), "propagate": _chance(-logit), "hold": _chance(float(gate[0])),
                        "wake": _chance(float(gate[1]))},
            "weighed": dict(zip(GROUPS, parts.tolist(), strict=True)),
            "price": self.price,
            "costs": {"decode": self.costs[0], "look": self.costs[1]},
        }  # fmt: skip

    def _tell_price(self) -> None:
        share = FORWARD if self.mode == "lookahead" else 1.0
        wanted = (self._price * share / self.capacities.current.cost, *self.costs)
        if wanted != self._priced:
            self._priced = wanted
            self._watch.price(*wanted)

    def _reason(self, features: F32, brain: Brain, gate: int | None) -> tuple[float, str]:
        logit, parts = brain.weighed(features, gate)
        if gate is not None or logit > NOTABLE or bool(self._pace.woken[0]):
            return logit, GROUPS[int(parts.argmax())]
        least = int(parts.argmin())
        return logit, _CALM[least]

    def _notice(self, brain: Brain, features: F32) -> None:
        """Counts frames that are unlike any of training."""
        is_strange = brain.strangeness(features) > STRANGE
        self._strange = max(0.0, self._strange + (1.0 if is_strange else -1.0))
        if self._strange > PATIENCE:
            self._give_up("unlike any camera of training", "lookahead")

    def _give_up(self, why: str, mode: Mode) -> None:
        self._fallback = Motion(mode)
        self._fallback.offer(self.capacities.offered)
        self._fallback.reset(self._seed)
        self.note = f"motion, {why}"


def _chance(logit: float) -> float:
    return 1 / (1 + math.exp(-max(min(logit, 60.0), -60.0)))
