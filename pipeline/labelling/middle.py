"""A look between two looks: which parts of the picture it is worth looking at, and what it shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from everyframe.operators.base import Detector, Prices
from everyframe.operators.detectors.letterbox import Letterbox, fit
from everyframe.operators.region.crops import net_size, uncut, well_inside
from everyframe.operators.region.plan import Need, plan
from everyframe.operators.region.sizes import Bill, to_source
from everyframe.operators.types import F32, I32, Bool, Objects
from everyframe.pipeline.records import Frame

Size = tuple[int, int]


class Middle:
    """Looks at pictures between two looks. whole, part: run the detector on a frame, or on rectangles of it; part is None
    where only the whole may be looked at. prices: what either costs. detector: tells how large it sees a picture; None: as it is."""

    def __init__(
        self,
        detector: Detector | None,
        whole: Callable[[Frame], Objects],
        part: Callable[[Frame, I32], Objects] | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.whole = whole
        self._detector = detector
        self._part = part
        self._prices = prices or Prices()
        self._bills: dict[Size, tuple[Letterbox, Bill, float]] = {}

    def least(self, size: Size) -> float:
        """Price of the cheapest look at pictures of a size, in looks at the whole."""
        return 1.0 if self._part is None else self._bill(size)[2]

    def plan(self, boxes: F32, worth: F32, size: Size) -> I32:
        """Rectangles (k, 4) int32 pixels whose worth most exceeds their cost: none, a few, or the whole picture.

        boxes (n, 4) pixels; worth (n,) in looks at the whole.
        """
        everything = np.array([[0, 0, *size]], np.int32)
        if self._part is None:
            return everything if worth.sum() > 1 else everything[:0]
        box, bill, least = self._bill(size)
        if worth.sum() <= least:
            return everything[:0]
        rects = plan(Need(box.to_input(boxes), worth), box, bill, float(worth.sum()))
        if len(rects) and (rects[0] == (0, 0, *box.outer)).all():
            return everything
        return to_source(rects, box)

    def look(self, frame: Frame, crops: I32) -> Objects:
        """Objects in the rectangles that `plan` gave."""
        if self._part is None or is_whole(crops, (frame.width, frame.height)):
            return self.whole(frame)
        return self._part(frame, crops)

    def shown(self, boxes: F32, crops: I32, size: Size) -> tuple[Bool, Bool]:
        """(n,) twice: which boxes a look at the crops shows with all their context, and which it shows uncut."""
        if is_whole(crops, size):
            return np.ones(len(boxes), np.bool_), np.ones(len(boxes), np.bool_)
        net = net_size(self._detector, *size)
        return well_inside(boxes, crops, *size, net), uncut(boxes, crops, *size, net)

    def _bill(self, size: Size) -> tuple[Letterbox, Bill, float]:
        if size not in self._bills:
            box = fit(*size, net_size(self._detector, *size))
            bill = Bill.of(self._prices, box)
            self._bills[size] = box, bill, bill.smallest(box)
        return self._bills[size]


def is_whole(crops: I32, size: Size) -> bool:
    return len(crops) == 1 and crops[0].tolist() == [0, 0, *size]


def hull(a: F32, b: F32) -> F32:
    """(n, 4): the smallest boxes around pairs of boxes."""
    out: F32 = np.concatenate([np.minimum(a[:, :2], b[:, :2]), np.maximum(a[:, 2:], b[:, 2:])], axis=1)
    return out
