"""What crosses between stages: packets and frames on the way in, one `FrameLabels` for every frame on the way out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from everyframe.operators.types import U8, Objects, Origin
from everyframe.policies.base import PacketFacts

SCHEMA_VERSION = 1
STEPS = (
    "demux", "decode", "convert", "cnn", "region", "residual", "flow", "motion", "propagate", "policy",
    "track", "audit", "publish",
)  # fmt: skip
"""The steps whose CPU time is charged. cnn: the whole net; region, residual, flow: the rungs that run parts of it;
audit: the net on frames that are only compared."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a stream once it is open.

    width, height: of the upright picture (rotation metadata applied). rotation: degrees counter-clockwise that the
    coded picture is turned by, 0, 90, 180 or 270. frames: expected number, None where unknown.
    decode_all: why no packet of this stream can be skipped (say, it has no timestamps), None where they can.
    """

    name: str
    path: str
    codec: str
    width: int
    height: int
    rotation: int
    time_base: Fraction
    rate: Fraction
    frames: int | None
    decode_all: str | None


class PacketSource(Protocol):
    """What the decoder asks of where packets come from: a file, or one connection to a camera."""

    start_pts: int | None
    end_pts: int | None

    @property
    def info(self) -> SourceInfo: ...

    @property
    def lacks_times(self) -> bool: ...

    @property
    def codec_context(self) -> Any: ...

    def distrust(self, why: str, lacks_times: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Packet:
    """One access unit in decode order. `data` is the demuxer's own packet: only sources and the decoder look inside."""

    facts: PacketFacts
    pts: int | None
    dts: int | None
    is_discard: bool
    data: Any
    demux_ms: float = 0.0

    @property
    def is_entry(self) -> bool:
        """Whether decoding can begin with it, and its picture is shown."""
        return self.facts.is_key and self.facts.picture in "I?" and not self.is_discard


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame. vectors: the codec's motion vectors as FFmpeg's AVMotionVector records (structured array) in
    coded coordinates, None on intra pictures and where the codec exports none. picture: gives upright BGR, uint8."""

    pts: int | None
    picture_type: str
    is_corrupt: bool
    vectors: Any
    picture: Callable[[], U8]
    luma: Callable[[], U8]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One frame's place in display order.

    frame: None where it was not decoded. late: frames whose records had left before a catch-up decoded them; they
    carry motion that happened before this slot. decode_ms: CPU charged to this slot, catch-up included.
    """

    facts: PacketFacts
    pts: int | None
    frame: Frame | None
    late: tuple[Frame, ...] = ()
    demux_ms: float = 0.0
    decode_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """The record of one frame: the unit that every sink writes. Costs aside, a function of input and settings."""

    source: str
    frame_index: int
    pts: int | None
    time_base: Fraction
    time_s: float
    width: int
    height: int
    picture: str
    origin: Origin
    key_age: int
    policy: str
    reason: str
    objects: Objects
    cost_ms: dict[str, float] = field(default_factory=dict)

    def to_supervision(self, names: tuple[str, ...] | None = None) -> Any:
        """These labels as `supervision.Detections`; see `pipeline.interop`. names: class names, default COCO's."""
        from everyframe.pipeline.interop import to_supervision

        return to_supervision(self, names)


def record_of(
    info: SourceInfo, slot: Slot, frame_index: int, origin: Origin, key_age: int, policy: str, reason: str
) -> FrameLabels:
    """The record of a slot, still without objects and cost. Without a time of its own, a frame has that of its number."""
    frame, seconds = slot.frame, slot.facts.time_s
    return FrameLabels(
        source=info.name,
        frame_index=frame_index,
        pts=slot.pts,
        time_base=info.time_base,
        time_s=float(frame_index / info.rate) if math.isnan(seconds) else seconds,
        width=info.width if frame is None else frame.width,
        height=info.height if frame is None else frame.height,
        picture=slot.facts.picture if frame is None else frame.picture_type,
        origin=origin,
        key_age=key_age,
        policy=policy,
        reason=reason,
        objects=Objects.empty(),
    )
