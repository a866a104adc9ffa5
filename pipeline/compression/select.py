"""The pictures of videos that teach most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from everyframe.operators.compress.select import Choice, select
from everyframe.operators.detectors.letterbox import fit, to_input
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.types import U8

POOL = 5
"""Pictures that are looked at for each that is taken."""
SURVEYED_AT = 320
"""Longer side in pixels of what the net sees of them: a whole picture is judged, not its smallest object."""


def picked(
    pictures: Sequence[Sequence[U8]], net: NanoDet, count: int, choice: Choice, seed: int = 0, tell: Callable[[str], None] | None = None
) -> list[list[U8]]:
    """`count` of the pictures of all videos together, in order; videos of which none is taken stay as empty lists. net: the
    teacher. Raises OperatorError."""
    places = [(i, j) for i, video in enumerate(pictures) for j in range(len(video))]
    inputs = [to_input(p, fit(p.shape[1], p.shape[0], SURVEYED_AT)) for video in pictures for p in video]
    taken = [places[int(k)] for k in select(net, inputs, count, choice, seed)]
    if tell is not None:
        tell(f"took {len(taken)} of {len(places)} pictures ({choice})")
    return [[pictures[i][j] for video, j in taken if video == i] for i in range(len(pictures))]
