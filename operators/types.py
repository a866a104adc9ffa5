"""The arrays that operators speak: `Objects`, `MotionField`, `View`.

All coordinates are pixels of the upright source picture (after rotation metadata), x to the right, y down,
boxes as (x1, y1, x2, y2) with x2 > x1 and y2 > y1. Every carrier is frozen and checked once, when it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


class Origin(IntEnum):
    """How a label came to be; the lower-case name is what users see."""

    DETECTED = 0
    PROPAGATED = 1
    HELD = 2
    INTERPOLATED = 3
    REGION = 4
    RESIDUAL = 5
    FLOW = 6

    @property
    def label(self) -> str:
        return self.name.lower()


NO_TRACK = -1


@dataclass(frozen=True, slots=True)
class Objects:
    """n objects of one picture as parallel arrays.

    xyxy (n, 4) float32 pixels; score (n,) float32 in 0..1; class_id (n,) int32 (COCO order of the detector's
    `names`); track_id (n,) int32, `NO_TRACK` where not assigned; origin (n,) uint8 of `Origin`.
    """

    xyxy: F32
    score: F32
    class_id: I32
    track_id: I32
    origin: U8

    def __post_init__(self) -> None:
        n = len(self.score)
        one = (n,)
        if (
            self.xyxy.shape != (n, 4)
            or self.class_id.shape != one
            or self.track_id.shape != one
            or self.origin.shape != one
        ):
            raise ValueError(self._fault(n))

    def _fault(self, n: int) -> str:
        if self.xyxy.shape != (n, 4):
            return f"Objects.xyxy must have shape ({n}, 4), got {self.xyxy.shape}"
        shapes = {name: getattr(self, name).shape for name in ("class_id", "track_id", "origin")}
        name = next(name for name, shape in shapes.items() if shape != (n,))
        return f"Objects.{name} must have shape ({n},), got {shapes[name]}"

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: Any) -> Objects:
        """The objects picked by a mask, a slice or an array of rows."""
        return Objects(
            self.xyxy[index], self.score[index], self.class_id[index], self.track_id[index], self.origin[index]
        )

    def with_origin(self, origin: Origin) -> Objects:
        return replace(self, origin=np.full(len(self), origin, np.uint8))

    @classmethod
    def empty(cls) -> Objects:
        """No objects: always the same, as arrays without an element cannot be written to."""
        return _NOTHING

    @classmethod
    def of(
        cls, xyxy: Any, score: Any, class_id: Any, track_id: Any = None, origin: Origin = Origin.DETECTED
    ) -> Objects:
        """Builds from array-likes; converts dtypes, fills `track_id` with NO_TRACK and `origin` with one value."""
        score = np.asarray(score, np.float32)
        n = len(score)
        return cls(
            np.asarray(xyxy, np.float32).reshape(n, 4),
            score,
            np.asarray(class_id, np.int32),
            np.full(n, NO_TRACK, np.int32) if track_id is None else np.asarray(track_id, np.int32),
            np.full(n, origin, np.uint8),
        )

    @classmethod
    def concat(cls, parts: list[Objects]) -> Objects:
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([p.xyxy for p in parts]),
            np.concatenate([p.score for p in parts]),
            np.concatenate([p.class_id for p in parts]),
            np.concatenate([p.track_id for p in parts]),
            np.concatenate([p.origin for p in parts]),
        )


_NOTHING = Objects.of(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True)
class MotionField:
    """Dense motion of one picture against the picture before it in display order.

    motion (rows, cols, 2) float32: how far, in pixels (x, y), the content now in this cell has moved since the
    picture before (position now - position before); 0 where `known` is False.
    known (rows, cols) bool: False where the codec coded the cell anew (intra) or gave no usable vector.
    Cell (r, c) covers pixels [c * cell, (c + 1) * cell) x [r * cell, (r + 1) * cell); the last row and column may
    reach over the picture's border.
    """

    motion: F32
    known: Bool
    cell: int
    width: int
    height: int

    def __post_init__(self) -> None:
        rows, cols = -(-self.height // self.cell), -(-self.width // self.cell)
        if self.motion.shape != (rows, cols, 2) or self.known.shape != (rows, cols):
            raise ValueError(
                f"MotionField of {self.width}x{self.height} with {self.cell}-px cells needs motion "
                f"({rows}, {cols}, 2) and known ({rows}, {cols}), got {self.motion.shape} and {self.known.shape}"
            )

    @classmethod
    def still(cls, width: int, height: int, cell: int = 8) -> MotionField:
        """A field in which nothing moved."""
        rows, cols = -(-height // cell), -(-width // cell)
        return cls(np.zeros((rows, cols, 2), np.float32), np.ones((rows, cols), np.bool_), cell, width, height)


@dataclass(frozen=True, slots=True)
class View:
    """What an operator may look at in one frame.

    motion: the field, None where the frame was not decoded.
    picture: gives the upright BGR picture, (height, width, 3) uint8, converting on first use; None where the frame
    was not decoded. Call it only if the operator's `needs.pixels` says so: conversion costs.
    luma: gives the upright luma, (height, width) uint8, at next to no cost; None where the frame was not decoded.
    """

    width: int
    height: int
    motion: MotionField | None = None
    picture: Callable[[], U8] | None = None
    luma: Callable[[], U8] | None = None
