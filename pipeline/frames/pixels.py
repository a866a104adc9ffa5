"""A decoded frame as the stages after the decoder see it: upright, converted only when asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from everyframe.operators.types import U8
from everyframe.pipeline.records import Frame

VECTOR_DTYPE = np.dtype(
    [
        ("source", np.int32),
        ("w", np.uint8),
        ("h", np.uint8),
        ("src_x", np.int16),
        ("src_y", np.int16),
        ("dst_x", np.int16),
        ("dst_y", np.int16),
        ("flags", np.uint64),
        ("motion_x", np.int32),
        ("motion_y", np.int32),
        ("motion_scale", np.uint16),
    ],
    align=True,
)
"""FFmpeg's AVMotionVector."""
_PICTURE_TYPES = "?IPBPIPB"  # AVPictureType: none, I, P, B, S, SI, SP, BI
_LUMA_FIRST = frozenset(
    {"gray", "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "nv12", "nv21"}
    | {"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p", "yuva420p"}
)
"""Formats whose first plane is 8-bit luma."""


class Pixels:
    """A decoded picture; converts on first use and keeps the result."""

    __slots__ = ("_bgr", "_raw", "_rotation", "_to_bgr")

    def __init__(self, raw: Any, rotation: int, to_bgr: Any) -> None:
        self._raw = raw
        self._rotation = rotation
        self._to_bgr = to_bgr
        self._bgr: U8 | None = None

    def picture(self) -> U8:
        """Upright BGR, (height, width, 3) uint8, contiguous; the same array at every call."""
        if self._bgr is None:
            bgr = self._to_bgr.reformat(self._raw, format="bgr24", threads=1).to_ndarray()
            self._bgr = upright(bgr, self._rotation)
        return self._bgr

    def luma(self) -> U8:
        """Upright luma, (height, width) uint8, contiguous."""
        return upright(luma_of(self._raw, self._to_bgr), self._rotation)


def upright(picture: U8, rotation: int) -> U8:
    """Turns a picture counter-clockwise by 0, 90, 180 or 270 degrees; contiguous."""
    return np.ascontiguousarray(np.rot90(picture, rotation // 90) if rotation else picture)


def luma_of(raw: Any, reformatter: Any) -> U8:
    """The luma plane of one of PyAV's frames as coded, (height, width) uint8."""
    if raw.format.name not in _LUMA_FIRST:
        gray: U8 = reformatter.reformat(raw, format="gray", threads=1).to_ndarray()
        return gray
    plane = raw.planes[0]
    rows = np.frombuffer(plane, np.uint8, plane.line_size * raw.height)
    return rows.reshape(raw.height, plane.line_size)[:, : raw.width]


def frame_of(raw: Any, pts: int | None, rotation: int, vectors: Any, to_bgr: Any) -> Frame:
    """A frame whose pixels can be asked for."""
    pixels = Pixels(raw, rotation, to_bgr)
    return _built(raw, pts, rotation, vectors, pixels.picture, pixels.luma)


def motion_of(
    raw: Any, pts: int | None, rotation: int, vectors: Any, keeps_luma: bool, reformatter: Any
) -> tuple[Frame, int]:
    """A frame without its picture, and its size in bytes: vectors, and luma if asked."""
    luma = upright(luma_of(raw, reformatter), rotation).copy() if keeps_luma else None

    def kept() -> U8:
        return _gone() if luma is None else luma

    size = (0 if vectors is None else vectors.nbytes) + (0 if luma is None else luma.nbytes)
    return _built(raw, pts, rotation, vectors, _gone, kept), size


def _gone() -> U8:
    raise ValueError("the pixels of this frame were let go: only its motion was kept")


def _built(raw: Any, pts: int | None, rotation: int, vectors: Any, picture: Any, luma: Any) -> Frame:
    turned = rotation % 180 != 0
    width, height = (raw.height, raw.width) if turned else (raw.width, raw.height)
    kind = _PICTURE_TYPES[raw.pict_type]
    return Frame(pts, kind, raw.is_corrupt, vectors, picture, luma, width, height)
