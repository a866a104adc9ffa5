"""What users would otherwise take: each peer is a small state machine between the decoder and the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from everyframe.operators.boxes import LEAST_INSIDE, clip, share_inside
from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.records import Slot
from everyframe.pipeline.settings import Mode
from everyframe.policies.base import PacketFacts


@dataclass(frozen=True, slots=True)
class Labelled:
    """The objects of one frame, scored and classed as the detector's, and how the frame got them."""

    objects: Objects
    origin: Origin


class Peer(Protocol):
    """mode: causal if every frame is labelled as soon as it comes, else lookahead."""

    mode: Mode

    def decodes(self, facts: PacketFacts) -> bool:
        """Whether a packet is to be decoded."""
        ...

    def looks(self, index: int, slot: Slot) -> bool:
        """Whether the CNN sees this decoded frame; index from 0 in display order."""
        ...

    def advance(self, slot: Slot, seen: Objects | None) -> list[Labelled]:
        """Takes the next frame, with the objects found in it where the CNN saw it. Returns the labels of the frames
        that are ready, in order."""
        ...

    def finish(self) -> list[Labelled]:
        """Labels of the frames that still wait."""
        ...


def in_picture(objects: Objects, width: int, height: int) -> Objects:
    """Boxes cut at the picture's border, those that have left it dropped."""
    stay = share_inside(objects.xyxy, width, height) >= LEAST_INSIDE
    kept = objects[stay]
    xyxy = clip(kept.xyxy, width, height)
    return Objects(xyxy, kept.score, kept.class_id, kept.track_id, kept.origin)
