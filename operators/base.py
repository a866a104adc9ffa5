"""The operator protocol: one rung of the ladder as a pure function from (view, objects) to objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from everyframe.operators.types import U8, Objects, Origin, View


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be ready before an operator can run; the worker reads this instead of trying."""

    motion: bool = False
    pixels: bool = False


class Operator(Protocol):
    """A rung. `apply` returns new objects and never writes into its arguments.

    objects: the tracks, already moved to this frame (to the frame before for `propagate` itself), those too weak to
    report among them. Of what is returned, objects that carry their `track_id` go on as they are; those that carry
    `NO_TRACK` were looked at and are given identities by the track keeper. A track that comes back in neither way was
    looked for and not found.

    outcome: how the frame's labels came to be in the last `apply`: a rung that may do less or more than its name says
    (`region` where nothing is worth a look, or where the whole costs no more) tells so here.
    """

    name: str
    needs: Needs
    outcome: Origin

    def apply(self, view: View, objects: Objects) -> Objects: ...


@runtime_checkable
class Remembering(Protocol):
    """What an operator that keeps something between frames has beside `apply`: it is made for one stream and is the one
    owner of what it keeps, which is bounded."""

    def follow(self, view: View) -> None:
        """Told of every decoded frame in display order, before any rung is applied to it. A frame decoded too late for
        its own turn comes without `picture` and `luma`."""
        ...

    def looked(self, view: View) -> None:
        """Told after another rung looked at the whole of this frame."""
        ...

    def forget(self) -> None:
        """Told when frames before the next one were not decoded, or the picture changed its size."""
        ...


@runtime_checkable
class Keyed(Protocol):
    """What an operator that stores more of a whole look than its objects has: `key` stands in for `detect`."""

    key: Operator


@dataclass(frozen=True, slots=True)
class Prices:
    """What rungs cost on this machine, in CPU ms for one frame; policies and operators compare, they know no figure.

    rungs: by name. crops: the CNN on a picture of (width, height), for the crop sizes that are kept warm; a size that
    was not measured is priced by its area.
    """

    rungs: Mapping[str, float] = field(default_factory=dict)
    crops: Mapping[tuple[int, int], float] = field(default_factory=dict)


class Detector(Protocol):
    """A CNN that finds objects in one picture.

    names: class names in the order of `class_id`. supercategory: of each class, for matching that ignores car / truck
    flicker. runtime, precision: what it runs on.
    """

    names: tuple[str, ...]
    supercategory: tuple[str, ...]
    runtime: str
    precision: str

    def detect(self, picture: U8) -> Objects:
        """Objects of a BGR picture (height, width, 3) uint8, boxes in its pixels, sorted by falling score."""
        ...

    def prepare(self, picture: U8) -> Any:
        """The picture resized and normalised: what `infer` takes. `detect` is one after the other."""
        ...

    def infer(self, prepared: Any) -> Objects:
        """Objects of a prepared picture, boxes in pixels of the picture, sorted by falling score."""
        ...
