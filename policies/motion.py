"""`motion`: the rule. Looks when something moves that no track explains, when a track is in doubt, and now and then.

Where the ladder has a cheaper capacity of the detector, that takes the routine looks on cameras on which it is good enough; what
is new, and tracks that it did not confirm, the full one sees.

Causal, it leaves frames in which something moves to the rung `region`, which weighs by price what a look at parts of the
picture is worth. Looking ahead, it looks at the whole, and looks back, at parts of pictures.

Nothing here is set for a camera: packet sizes and stray motion are measured against what is usual for this one, and
the time between looks grows while looks confirm the tracks and shrinks when they don't.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from everyframe.policies.base import F32, LOOK, Decision, Mode, Observation, PacketFacts, Rung, Traits
from everyframe.policies.capacity import FULL, Capacities, look_of
from everyframe.policies.stray import moving_tracks, stray_motion

DRIFT, ALARM, WAKE = 0.6, 16.0, 1.0  # of the cumulative sums (Page, 1954) that tell lasting change from outliers
MOST_EXCESS = 3.0  # spreads that one frame or packet may add to them
MOST_CAUTION = 4.0
WINDOW = 256
LEAST_SPREAD = 0.15  # of a logarithm: within 15 % is usual on any camera
SMALLEST = 1.5  # cells that move as one: a thing worth a look
DROWSY = 16  # still frames before packets are skipped
LEARNING = 16  # packets of a kind, or frames, before "usual" means anything
IDLE_PACE = 0.05  # how fast the clock of looks runs while nothing moves
SHORTEST, FIRST, LONGEST = 12.0, 8.0, 90.0  # frames in motion between looks
LONGEST_SLEEP = 300  # packets
DISAGREES = 0.7  # agreement of a look with the tracks below which they were in error
LOOK_BACK = 2.0  # wrong labels, by the objects usual here, that a look back at a whole picture must put right
PROVEN = 3  # events that packet sizes announced, before they are trusted to wake


class Normal:
    """What is usual for a quantity: quantiles of its logarithm over the last `WINDOW` values.

    Busy spells of up to half of the window don't shift it: the lower half alone counts.
    """

    def __init__(self) -> None:
        self._values: deque[float] = deque()
        self._sorted: list[float] = []
        self._base = self._spread = 0.0

    @property
    def count(self) -> int:
        return len(self._values)

    def unusual(self, value: float) -> float:
        """How many spreads of the usual `value` lies above the base."""
        return (math.log1p(value) - self._base) / max(self._spread, LEAST_SPREAD)

    def learn(self, value: float) -> None:
        if self.count == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]
        log = math.log1p(value)
        self._values.append(log)
        insort(self._sorted, log)
        if self.count <= 16 or self.count % 8 == 0:
            self._base = _quantile(self._sorted, 0.4)
            self._spread = self._base - _quantile(self._sorted, 0.1)


def _quantile(values: list[float], q: float) -> float:
    """Of sorted values, between neighbours in proportion, to the last bit as `numpy.quantile`, which takes 40 times as long."""
    at = (len(values) - 1) * q
    low = int(at)
    share = at - low
    a, b = values[low], values[min(low + 1, len(values) - 1)]
    return a + (b - a) * share if share < 0.5 else b - (b - a) * (1 - share)


class Motion:
    """The rule-based policy; see the module's docstring.

    Packets are skipped only on cameras where packet sizes have announced what motion then showed: on others a small
    walker drowns in the encoder's noise.
    """

    name = "motion"

    def __init__(self, mode: Mode = "lookahead") -> None:
        self._looks_at_parts = mode == "causal"
        self.capacities = Capacities(mode)
        back = Traits(look_back=LOOK_BACK, look_back_rung="region")
        self.traits = Traits(rungs=("region",)) if self._looks_at_parts else back
        self.reset(0)

    def offer(self, rungs: Sequence[Rung]) -> None:
        """Capacities of the detector, as `policies.base.Choosing` says: the cheaper one takes routine looks."""
        self.capacities.offer(rungs)
        self._look_back_with(self.capacities.current)

    def compared(self, rung: str, right: int, shown: int) -> None:
        """What a comparison gave, as `policies.base.Choosing` says."""
        self.capacities.compared(rung, right, shown)

    def reset(self, seed: int) -> None:
        self.capacities.reset()
        self._look_back_with(self.capacities.current)
        self._sizes: dict[str, Normal] = {}
        self._stray = Normal()
        self._restless: F32 | None = None
        self._interval = FIRST
        self._clock = 0.0
        self._alarm = 0.0  # cumulative sum of stray motion
        self._stir = 0.0  # cumulative sum of packet sizes
        self._doubt = 1.0
        self._still = 0
        self._slept = 0
        self._patience = self._caution = 1.0
        self._looked_for_stray = self._looked_cheaply = self._is_doubtful = False
        self._is_announced = False
        self._announced = self._unannounced = 0

    # -- before decoding

    def gate(self, packet: PacketFacts) -> bool:
        excess = self._learn_size(packet)
        if not packet.is_key:
            self._stir = max(0.0, self._stir + min(excess, MOST_EXCESS) - DRIFT)
        wakes = self._stir > WAKE
        self._is_announced |= wakes
        if self._still < DROWSY or self._announced < PROVEN or self._unannounced > self._announced // 3:
            self._slept = 0
            return True
        self._slept += 1
        if wakes:
            self._still = 0
        return wakes or (packet.is_key and self._slept >= LONGEST_SLEEP)

    def _learn_size(self, packet: PacketFacts) -> float:
        """How unusual the packet's size is among those of its kind so far."""
        normal = self._sizes.setdefault("key" if packet.is_key else packet.picture, Normal())
        excess = normal.unusual(packet.size) if normal.count >= LEARNING else 0.0
        normal.learn(packet.size)
        return excess

    def left(self, packet: PacketFacts) -> None:
        """As `policies.leap.Leaping` says."""
        self._learn_size(packet)

    # -- after decoding

    def choose(self, observation: Observation) -> Decision:
        self._take_result(observation)
        moving = moving_tracks(observation.motion, observation.boxes, observation.scores, observation.cell)
        self._settle(self._stray_cells(observation), moving)
        if self._clock >= self._interval or self._slept >= LONGEST_SLEEP:
            reason = "longest interval"
        elif self._alarm > ALARM * self._patience * self._caution and not self._looks_at_parts:
            reason = "new motion"
        elif self._looks_at_parts and (moving > 0 or self._alarm > 0):
            return Decision("region", "something moves")
        else:
            return Decision("propagate", "tracks explain it" if len(observation.boxes) else "nothing new")
        self._looked_for_stray = reason == "new motion"
        self._clock = self._alarm = 0.0
        self._slept = 0
        return self._look(observation, reason)

    def _look(self, observation: Observation, reason: str) -> Decision:
        """The full capacity looks at what is new, and after a cheaper one that did not agree with the tracks."""
        capacities = self.capacities
        if capacities.is_alone:
            return Decision(LOOK, reason)
        capacities.looked(observation.agreement, observation.frames_since_detect)
        due = capacities.due()
        rung = capacities.choose()
        self._look_back_with(rung)
        if due or reason == "new motion" or self._is_doubtful:
            rung = FULL
        self._is_doubtful = False
        self._looked_cheaply = rung is not FULL
        return look_of(rung, reason, due)

    def _look_back_with(self, rung: Rung) -> None:
        """At parts of pictures, or with the capacity that looks, where there are several, at whole ones."""
        if self.traits.look_back:
            alone = self.capacities.is_alone
            price, name = (LOOK_BACK, "region") if alone else (rung.cost, rung.name)
            self.traits = replace(self.traits, look_back=price, look_back_rung=name)

    def _take_result(self, observation: Observation) -> None:
        """Right after a look: confirmed tracks earn a longer interval, stray motion that was nothing more patience."""
        agreement = observation.agreement
        if observation.frames_since_detect != 1:
            return
        self._clock = self._alarm = 0.0  # also after a look that was not asked for
        if math.isnan(agreement):
            return
        self._interval *= 1.5 if agreement >= 0.9 else 0.6 if agreement < DISAGREES else 1.0
        self._interval = min(max(self._interval, SHORTEST), LONGEST)
        self._doubt = 0.6 * self._doubt if agreement >= 0.9 else 1.0
        self._is_doubtful = self._looked_cheaply and agreement < DISAGREES
        if not self._looked_for_stray:
            return
        self._looked_for_stray = False
        if agreement >= 0.99:
            self._patience *= 2.0
            self._caution = min(1.2 * self._caution, MOST_CAUTION)
            return
        self._caution = max(0.7 * self._caution, 1.0)

    def _settle(self, stray: float, moving: int) -> None:
        learnt = stray >= SMALLEST and self._stray.count >= LEARNING
        excess = self._stray.unusual(stray) if learnt else 0.0
        before = self._alarm
        self._alarm = max(0.0, before + min(excess, MOST_EXCESS) - DRIFT)
        if self._looks_at_parts:  # the rung decides by itself, as long as something moves
            self._alarm = min(self._alarm, ALARM)
        if before <= ALARM / 2 < self._alarm:
            self._announced += self._is_announced
            self._unannounced += not self._is_announced
        self._stray.learn(stray)
        stirring = moving > 0 or self._alarm > 0
        if self._alarm == 0:
            self._patience = 1.0
        if moving > 0 or self._alarm > ALARM / 4:
            self._still = 0
        else:
            self._still += 1
            self._is_announced = self._stir > WAKE
        self._clock += 1.0 if stirring or self._stray.count < LEARNING else max(IDLE_PACE, self._doubt)

    def _stray_cells(self, observation: Observation) -> float:
        known = observation.known
        if not known.any():
            return 0.0
        if self._restless is None or self._restless.shape != known.shape:
            self._restless = np.zeros(known.shape, np.float32)
        return stray_motion(observation.motion, known, observation.boxes, observation.cell, self._restless)
