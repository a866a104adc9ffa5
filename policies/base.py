"""The policy protocol: which packets are decoded, and which rung each decoded frame gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Mode = Literal["causal", "lookahead"]
Kind = Literal["whole", "part"]
LOOK = "detect"
"""The rung of the model that labels are held to; "detect@NAME" is that of another capacity of the detector."""


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What the container and the first bytes of a packet say, before any decoding.

    index: packet number in decode order, from 0. size: bytes. is_key: random access point.
    picture: 'I', 'P', 'B' or '?'. is_reference: False where no other frame needs it. time_s: presentation time,
    NaN where unknown.
    """

    index: int
    size: int
    is_key: bool
    picture: str
    is_reference: bool
    time_s: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees of one decoded frame, in display order. Small arrays only, never pictures.

    packet: facts of the frame's packet. frames_since_detect: display frames since the last full CNN (large at start).
    motion (rows, cols, 2) float32 pixels since the frame before, and known (rows, cols) bool as in
    `operators.types.MotionField`; cell in pixels.
    boxes (n, 4) float32 pixels, scores (n,), ages (n,) frames since each object was last detected, classes (n,):
    the tracks after propagation to this frame. agreement: F1 at IoU 0.5, in 0..1, of the tracks with what the last
    look of the detector found; NaN before the second look.
    """

    packet: PacketFacts
    frame_index: int
    frames_since_detect: int
    motion: F32
    known: NDArray[np.bool_]
    cell: int
    boxes: F32
    scores: F32
    ages: NDArray[np.int32]
    classes: NDArray[np.int32]
    agreement: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The rung picked for a frame, and why in a few words. compare: capacities that see the picture too, only to be compared
    with what `detect` finds; for a frame that `detect` looks at."""

    rung: str
    reason: str
    compare: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rung:
    """A rung that looks, as a policy is told of it.

    name: as in `Decision`. cost: of one look on this machine, in looks of `detect`. kind: whether it looks at the whole
    picture or at a part. error: share of wrong labels, 1 - F1 against `detect` on the same pictures, that is expected where
    nothing else is known.
    """

    name: str
    cost: float
    kind: Kind = "whole"
    error: float = 0.0


def is_whole_look(rung: str) -> bool:
    """Whether a rung of this name runs a detector on the whole picture."""
    return rung.partition("@")[0] == LOOK


@dataclass(frozen=True, slots=True)
class Traits:
    """What the worker must know of a policy before the first packet.

    rungs: those it may choose beside hold, propagate and detect. Only they are kept up to date.
    look_back: in lookahead mode, how many wrong labels between two looks, relative to the objects usual for this stream, one
    more look at a whole picture must be expected to put right; 0 for never. look_back_rung: what looks, detect or region (at
    parts of a picture, which must put right less).
    keys_only: it decodes key packets and nothing else.
    """

    rungs: tuple[str, ...] = ()
    look_back: float = 0.0
    look_back_rung: str = "detect"
    keys_only: bool = False

    @property
    def looks_at_crops(self) -> bool:
        """Whether a rung, or looking back, may run the CNN on parts of a picture."""
        return "region" in (*self.rungs, self.look_back_rung)


class EveryFrame:
    """What policies share that decode every frame and learn nothing."""

    traits = Traits()

    def reset(self, seed: int) -> None:
        pass

    def gate(self, packet: PacketFacts) -> bool:
        return True


class Policy(Protocol):
    """One stream's policy. `reset` starts a stream anew; equal seeds give equal decisions.

    `gate` is asked once a packet in decode order: False leaves it undecoded (its frame is held or interpolated).
    `choose` is asked once a decoded frame in display order.
    """

    name: str
    traits: Traits

    def reset(self, seed: int) -> None: ...

    def gate(self, packet: PacketFacts) -> bool: ...

    def choose(self, observation: Observation) -> Decision: ...


@runtime_checkable
class Steerable(Protocol):
    """A policy that can be held to an accuracy or a cost.

    price: dense frames that F1 from 0 to 1 is worth; may be set between any two frames. costs: of decoding a frame and of a
    look, in dense frames on this machine; set before the first packet.
    """

    price: float
    costs: tuple[float, float]

    def price_for(self, target_f1: float) -> float:
        """The price that reached an F1 in the mean of the cameras of training."""
        ...

    def price_for_cost(self, cost: float) -> float:
        """The price that came to so many dense frames for each frame there."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """A policy that may look with other rungs than those of its traits: what it is offered, it may choose."""

    def offer(self, rungs: Sequence[Rung]) -> None:
        """The rungs that this stream's ladder has beside `detect`; told before the first packet, kept over `reset`."""
        ...

    def compared(self, rung: str, right: int, shown: int) -> None:
        """What a comparison that it asked for (`Decision.compare`) gave: objects of the rung that `detect` found as well,
        and objects of both together."""
        ...
