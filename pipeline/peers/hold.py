"""peer:stride-hold:N: the CNN on every N-th frame, its boxes kept until the next.

At its best: the frames between are decoded, since later ones need them, but neither converted nor asked for vectors.
"""

from __future__ import annotations

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.peers.base import Labelled
from everyframe.pipeline.records import Slot
from everyframe.pipeline.settings import Mode
from everyframe.policies.base import PacketFacts


class StrideHold:
    mode: Mode = "causal"

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._last = Objects.empty()

    def decodes(self, facts: PacketFacts) -> bool:
        return True

    def looks(self, index: int, slot: Slot) -> bool:
        return index % self._stride == 0

    def advance(self, slot: Slot, seen: Objects | None) -> list[Labelled]:
        if seen is None:
            return [Labelled(self._last.with_origin(Origin.HELD), Origin.HELD)]
        self._last = seen
        return [Labelled(seen, Origin.DETECTED)]

    def finish(self) -> list[Labelled]:
        return []
