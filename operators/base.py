"""The operator protocol: one rung of the ladder as a pure function from (view, objects) to objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from everyframe.operators.types import U8, Objects, View


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be ready before an operator can run; the worker reads this instead of trying."""

    motion: bool = False
    pixels: bool = False


class Operator(Protocol):
    """A rung. `apply` returns new objects and never writes into its arguments.

    Objects that go on from the frame before keep their `track_id`; objects newly looked at carry `NO_TRACK` and are
    given identities by the track keeper.
    """

    name: str
    needs: Needs

    def apply(self, view: View, objects: Objects) -> Objects: ...


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
