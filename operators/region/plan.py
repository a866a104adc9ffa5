"""What a look at a few rectangles, at the whole, or at nothing is worth, less what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.region.sizes import MOST_CROPS, Bill, context_of, inside, merged, with_context
from everyframe.operators.types import F32, I32, Bool

MOST_TRIES = 6


@dataclass(frozen=True, slots=True)
class Need:
    """Where a look is worth something. boxes (n, 4) net pixels without context; worth (n,) in looks at the whole."""

    boxes: F32
    worth: F32


def plan(need: Need, whole: Letterbox, bill: Bill, whole_worth: float) -> I32:
    """The rectangles, (k, 4) int32 net pixels, whose worth most exceeds their cost: none where no look pays, the whole
    input where that is best.

    whole_worth: of a look at the whole picture, what it shows beside the needs included. Needs are taken in falling worth,
    each with its context, and merged as they come (spatially adaptive updating, Zhu et al., CVPR 2018; there a
    learned mask, here worth for cost).
    """
    everything = np.array([[0, 0, *whole.outer]], np.int32)
    best, best_net = np.zeros((0, 4), np.int32), 0.0
    if whole_worth > 1.0:
        best, best_net = everything, whole_worth - 1.0
    smallest = bill.smallest(whole)
    if need.worth.sum() - smallest <= best_net or bill.whole <= 0:
        return best
    order = np.argsort(-need.worth, kind="stable")
    for count in _counts(len(order)):
        rects = merged(with_context(need.boxes[order[:count]]), whole, bill)
        if len(rects) > MOST_CROPS:
            break
        shown = holds(rects, need.boxes, whole)
        net = float(need.worth[shown].sum()) - bill.crops(rects) / bill.whole
        if net > best_net:
            best, best_net = rects, net
    if len(best) and bill.crops(best) >= bill.whole:
        return everything
    return best


def _counts(n: int) -> list[int]:
    """How many of the needs are tried, from the most worthy on."""
    return sorted({round(x) for x in np.linspace(1, n, min(n, MOST_TRIES))}) if n else []


def holds(rects: I32, boxes: F32, whole: Letterbox) -> Bool:
    """(n,) bool: boxes in net pixels with all their context in one of the rectangles."""
    margin = context_of(boxes)[:, None, None] - 0.5
    out: Bool = np.any(inside(boxes, rects, whole.outer, margin), axis=1)
    return out
