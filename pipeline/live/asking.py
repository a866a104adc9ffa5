"""When a camera may ask for a look, and how: not too often under load, again where a look was lost."""

from __future__ import annotations

from dataclasses import replace

from everyframe.operators.types import U8
from everyframe.pipeline.live.overload import Overload
from everyframe.pipeline.live.pending import Asked, Pending
from everyframe.pipeline.live.picture import shrunk
from everyframe.pipeline.live.types import Camera, LookAnswer, Looker, LookRequest
from everyframe.policies.base import Decision

RETRY_FRAMES = 5
"""After a look was lost, the next is asked for no sooner."""
FIRST_COST_MS = 60.0
"""Of a look, until one has told."""
SMOOTH = 0.2


class Asker:
    """Asks for one camera. asked_at: the frame asked for last, whose look is to be counted on; -1 for none. pending: looks
    under way."""

    def __init__(self, camera: Camera, looker: Looker) -> None:
        self.asked_at = -1
        self.pending = Pending()
        self._camera = camera
        self._looker = looker
        self._owed = ""
        self._not_before = 0
        self._part_at = -1
        prices = camera.labels.prices.rungs
        self._cost = prices.get("detect", FIRST_COST_MS)

    def owe(self, why: str) -> None:
        """The next frame that can be is to be looked at, whatever the policy says."""
        self._owed = self._owed or why

    def begin(self, why: str) -> int:
        """What is under way says nothing of the next frame, which is to be looked at; returns how many looks are let go."""
        gone = len(self.pending.clear())
        self._owed, self.asked_at, self._not_before, self._part_at = why, -1, 0, -1
        return gone

    def decide(
        self, decision: Decision, index: int, fps: float, overload: Overload, is_clean: bool
    ) -> tuple[Decision, bool]:
        """What is done about a decision, and whether to ask for a look at this frame."""
        if decision.rung != "detect" and not self._owed:
            return decision, False
        if decision.rung != "detect":
            decision = Decision("detect", self._owed)
        if not is_clean:
            self.owe(decision.reason)
            return Decision("propagate", "the picture may be damaged"), False
        gap = overload.gap_s * (fps or 25.0)
        if index < self._not_before or (self.asked_at >= 0 and index - self.asked_at < gap):
            self.owe(decision.reason)
            return replace(decision, rung="propagate", reason="looks wait"), False
        audit = self.pending.audit
        if audit is not None:  # it would take that one's place in the queue: its answer serves as well
            audit.is_look = True
            self._owed, self.asked_at = "", audit.number
            return replace(decision, rung="propagate"), False
        return decision, True

    def ask(self, asked: Asked, picture: U8, value: float, since: float) -> None:
        """Sends a picture of the frame, BGR (height, width, 3) uint8."""
        small, scale = shrunk(picture, self._camera.labels.model.imgsz)
        if asked.is_look:
            self._owed, self.asked_at = "", asked.number
        elif asked.part is not None:
            self._part_at = asked.number
        elif self.pending.has_look:  # which this one takes the place of
            asked.is_look = True
        self.pending.add(asked)
        weighted, part = value * self._camera.weight, asked.part
        cost, crops = (self._cost, None) if part is None else (self._cost * part.share, part.crops_in(scale))
        self._looker.ask(LookRequest(self._camera.name, asked.number, small, scale, weighted, cost, since, crops))

    def may_ask_for_part(self, index: int, fps: float, overload: Overload) -> bool:
        """Whether a part of this frame may be looked at: no look is owed, and none was lost or, under load, asked for lately."""
        gap = overload.gap_s * (fps or 25.0)
        last = max(self.asked_at, self._part_at)
        return overload.audits and not self._owed and index >= self._not_before and index - last >= gap

    @property
    def cost(self) -> float:
        """CPU ms of a look, as far as is known."""
        return self._cost

    def answers(self) -> list[LookAnswer]:
        return self._looker.answers(self._camera.name)

    def paid(self, cnn_ms: float) -> None:
        """What a look has cost."""
        if cnn_ms > 0:
            self._cost += SMOOTH * (cnn_ms - self._cost)

    def lost(self, asked: Asked, why: str, index: int) -> None:
        """A look that will not come. Where no later one is under way, the policy is as if it had not asked, and it is asked
        for again."""
        if asked.is_look and not self.pending.has_look:
            self.asked_at = min(asked.before, self.asked_at)
            self._not_before = index + RETRY_FRAMES
            self.owe(f"a look was lost ({why})")
