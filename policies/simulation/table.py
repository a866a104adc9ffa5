"""One clip as the game sees it: what every choice would have cost and missed, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from everyframe.policies.base import F32
from everyframe.policies.stray import Bool

I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
F16 = NDArray[np.float16]
SCALE = 8.0
"""Boxes in tables are kept in eighths of a pixel."""


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU ms. frame: of every frame, decoded or not. decode (n,): of decoding each, in display order. carry: of the motion,
    tracks and policy of a decoded frame. look: of converting, preparing and the CNN. dense: of a frame of the dense
    detector, the unit of all costs of the game."""

    frame: float
    decode: F32
    carry: float
    look: float
    dense: float

    def with_ratio(self, decode: float) -> Costs:
        """The same clip on a machine on which decoding a frame costs so many looks (1 / 4: the CNN is four frames)."""
        scale = self.look * decode / max(float(self.decode.mean()), 1e-9)
        plain = self.dense - self.look
        return replace(
            self, frame=self.frame * scale, decode=self.decode * np.float32(scale), carry=self.carry * scale,
            dense=self.look + plain * scale,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Carried:
    """Labels from the last look alone: frame k looked at, shown d = 0 .. horizon frames later.

    right, shown (n, horizon + 1) int16: true positives and reported objects in frame k + d; 0 beyond the clip.
    first (n + 1,): where the objects of frame k begin in boxes (objects, horizon + 1, 4) int16, eighths of a pixel, and
    visible (objects, horizon + 1). group (objects,): their supercategory.
    """

    right: I16
    shown: I16
    first: I32
    boxes: I16
    visible: Bool
    group: I16


@dataclass(frozen=True, slots=True)
class Between:
    """Labels from both sides: looks at k and k + gaps[j], added up over the frames between.

    right, shown (n, gaps) int32 with all frames decoded; held_right, held_shown with none of them.
    """

    gaps: I32
    right: I32
    shown: I32
    held_right: I32
    held_shown: I32


@dataclass(frozen=True, slots=True)
class ClipTable:
    """n frames. is_key (n,): of key packets. truth (n,): objects of the dense detector; true_first (n + 1,), true_boxes,
    true_group: they themselves. packets (n, len(PACKET)) and motion (n, len(FRAME)): features of each frame; tracks
    (n, horizon + 1, len(TRACKS)) float16: of frame k + d after a look at k. agreement (n, horizon + 1) float16: what a
    look at frame k + d would agree with the tracks since the look at k, classes that are not counted among them; NaN
    beyond the clip. between: None where it was not made."""

    name: str
    costs: Costs
    is_key: Bool
    truth: I16
    true_first: I32
    true_boxes: F32
    true_group: I16
    packets: F32
    motion: F32
    tracks: F16
    agreement: F16
    carried: Carried
    between: Between | None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def horizon(self) -> int:
        return int(self.carried.right.shape[1]) - 1

    @property
    def normaliser(self) -> float:
        """What one false positive or miss takes off the clip's F1, times its frames: error / normaliser, averaged over
        the frames, is 1 - F1 as long as about as many objects are reported as there are."""
        return max(2.0 * float(self.truth.mean()), 1e-3)
