"""Builds one motion field for every decoded frame, holding B pictures until the picture they point to is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from everyframe.operators.types import MotionField
from everyframe.pipeline.frames.decoder import VECTOR_CODECS, Decoder
from everyframe.pipeline.frames.motion import (
    OpticalFlow,
    add_spanning,
    field_from_vectors,
    rotate_field,
    unknown_field,
)
from everyframe.pipeline.records import Frame, Slot, SourceInfo
from everyframe.pipeline.sources.file import FileSource
from everyframe.policies.base import PacketFacts

_MOST_HELD = 17  # H.264 reorders at most 16 pictures


@dataclass(frozen=True, slots=True)
class FieldSlot:
    """A slot with its field, None where it was not decoded; late_fields belong to `slot.late`, oldest first."""

    slot: Slot
    field: MotionField | None
    late_fields: tuple[tuple[int | None, MotionField], ...] = ()


@dataclass(slots=True)
class _Picture:
    """What is kept of a decoded picture to find its neighbours' references. steps: display time in frame steps."""

    frame: Frame
    order: int
    steps: float
    is_reference: bool


@dataclass(slots=True)
class FieldBuilder:
    """Slots in display order in; the same slots with fields out, a B picture a few slots later."""

    info: SourceInfo
    _held: deque[tuple[Slot, int]] = field(default_factory=deque)
    _past: deque[_Picture] = field(default_factory=lambda: deque(maxlen=_MOST_HELD))
    _before: MotionField | None = None
    _flow: OpticalFlow | None = None
    _count: int = 0
    _duration: float = 1.0

    def __post_init__(self) -> None:
        if self.info.codec not in VECTOR_CODECS:
            self._flow = OpticalFlow()
        self._duration = max(1.0, float(1 / (self.info.rate * self.info.time_base)))

    @property
    def note(self) -> str | None:
        """What the user should know of where motion comes from, None where it is the usual way."""
        if self._flow is None:
            return None
        return f"{self.info.codec} exports no motion vectors: motion comes from DIS optical flow."

    def push(self, slot: Slot) -> list[FieldSlot]:
        self._held.append((slot, self._count))
        self._count += 1
        out: list[FieldSlot] = []
        while self._held and (len(self._held) > _MOST_HELD or self._is_ready()):
            out.append(self._build())
        return out

    def finish(self) -> list[FieldSlot]:
        out: list[FieldSlot] = []
        while self._held:
            out.append(self._build())
        return out

    def _is_ready(self) -> bool:
        first, _ = self._held[0]
        if first.frame is None or self._flow is not None or first.frame.picture_type != "B":
            return True
        return any(s.frame is None or s.frame.picture_type != "B" for s, _ in self._held)

    def _build(self) -> FieldSlot:
        slot, count = self._held.popleft()
        late = tuple(
            (f.pts, self._field_of(self._late_picture(f, count - len(slot.late) + i), []))
            for i, f in enumerate(slot.late)
        )
        if slot.frame is None:
            self._forget()
            return FieldSlot(slot, None, late)
        ahead = []
        for later, number in self._held:
            if later.frame is None:
                break
            ahead.append(self._picture(later.frame, later.facts, number))
        return FieldSlot(slot, self._field_of(self._picture(slot.frame, slot.facts, count), ahead), late)

    def _forget(self) -> None:
        self._past.clear()
        self._before = None
        if self._flow is not None:
            self._flow = OpticalFlow()

    def _picture(self, frame: Frame, facts: PacketFacts, number: int) -> _Picture:
        return _Picture(frame, facts.index, self._steps(frame, number), facts.is_reference)

    def _late_picture(self, frame: Frame, number: int) -> _Picture:
        """Frames of a catch-up come without facts: their I and P pictures are taken as references."""
        return _Picture(frame, -1, self._steps(frame, number), frame.picture_type != "B")

    def _steps(self, frame: Frame, number: int) -> float:
        return float(number) if frame.pts is None else frame.pts / self._duration

    def _field_of(self, picture: _Picture, ahead: list[_Picture]) -> MotionField:
        frame = picture.frame
        previous = self._past[-1] if self._past else None
        if self._flow is not None:
            built = self._flow.field(frame.luma())
        elif frame.vectors is None:
            built = self._carried(frame)
        else:
            built = rotate_field(self._from_vectors(picture, previous, ahead), self.info.rotation)
        self._past.append(_Picture(_without_pixels(frame), picture.order, picture.steps, picture.is_reference))
        self._before = built
        return built

    def _carried(self, frame: Frame) -> MotionField:
        """An intra picture says nothing of motion: things are taken to move on as before."""
        before = self._before
        if before is not None and (before.width, before.height) == (frame.width, frame.height):
            return before
        return unknown_field(frame.width, frame.height)

    def _from_vectors(
        self, picture: _Picture, previous: _Picture | None, ahead: list[_Picture]
    ) -> MotionField:
        frame = picture.frame
        turned = self.info.rotation % 180 != 0
        width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        step = max(picture.steps - previous.steps, 0.25) if previous is not None else 1.0
        past, future = self._references(picture, ahead)
        to_past = (picture.steps - past.steps) / step if past is not None else 1.0
        to_future = (future.steps - picture.steps) / step if future is not None else 0.0
        built = field_from_vectors(frame.vectors, to_past, to_future, width, height)
        anchor = next((p for p in ahead if p.frame.picture_type != "B"), None)
        if frame.picture_type != "B" or anchor is None or anchor.frame.vectors is None:
            return built
        start, _ = self._references(anchor, [])
        if start is None or anchor.steps <= start.steps:
            return built
        distance = (anchor.steps - start.steps) / step
        return add_spanning(built, anchor.frame.vectors, distance, (anchor.steps - picture.steps) / step)

    def _references(
        self, picture: _Picture, ahead: list[_Picture]
    ) -> tuple[_Picture | None, _Picture | None]:
        """The nearest earlier and later reference pictures in display order that were decoded before this one."""

        def usable(other: _Picture) -> bool:
            return other.is_reference and (other.order < picture.order or -1 in (other.order, picture.order))

        past = next((p for p in reversed(self._past) if usable(p) and p.steps < picture.steps), None)
        future = next((p for p in ahead if usable(p) and p.steps > picture.steps), None)
        return past, future


def _without_pixels(frame: Frame) -> Frame:
    def gone() -> Any:
        raise ValueError("the pixels of this frame were let go")

    return Frame(frame.pts, frame.picture_type, frame.is_corrupt, None, gone, gone, frame.width, frame.height)


def field_slots(source: FileSource) -> Iterator[FieldSlot]:
    """Every frame of an opened source, decoded, with its motion field, in display order. Raises SourceBroken."""
    decoder, fields = Decoder(source), FieldBuilder(source.info)
    for packet in source.packets():
        for slot in decoder.push(packet, True):
            yield from fields.push(slot)
    for slot in decoder.finish():
        yield from fields.push(slot)
    yield from fields.finish()
