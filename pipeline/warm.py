"""Compiles or loads the kernels of the hot path before anything is measured: part of starting, not of a frame's cost."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from everyframe.operators.base import Detector
from everyframe.operators.propagate import Propagate
from everyframe.operators.types import Objects, View
from everyframe.pipeline.motion import add_spanning, field_from_vectors

_VECTOR = np.dtype(
    [
        ("source", "<i4"), ("w", "u1"), ("h", "u1"), ("src_x", "<i2"), ("src_y", "<i2"), ("dst_x", "<i2"),
        ("dst_y", "<i2"), ("flags", "<u8"), ("motion_x", "<i4"), ("motion_y", "<i4"), ("motion_scale", "<u2"),
    ],
    align=True,
)  # fmt: skip
"""FFmpeg's AVMotionVector, as the decoder gives it."""


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Calls every kernel once on a picture of 32x32; seconds on a machine's first run, a quarter second later."""
    vectors = np.zeros(4, _VECTOR)
    vectors["source"], vectors["w"], vectors["h"], vectors["motion_scale"] = -1, 16, 16, 4
    vectors["dst_x"], vectors["dst_y"] = [8, 24, 8, 24], [8, 8, 24, 24]
    vectors["motion_x"] = 8
    field = field_from_vectors(vectors, 1.0, 0.0, 32, 32)
    field = add_spanning(field, vectors, 1.0, 0.0)
    Propagate().apply(View(32, 32, field), Objects.of([[4, 4, 28, 28], [0, 0, 16, 16]], [0.9, 0.5], [0, 0]))


def warm_detector(detector: Detector, width: int, height: int) -> None:
    """Looks once at a grey picture of this size: runtimes build their graph and buffers on the first call."""
    detector.detect(np.full((height, width, 3), 128, np.uint8))
