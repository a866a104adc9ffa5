"""The unchanged detector on rectangles of a picture, at the scale at which it sees the whole.

The partial look of spatially adaptive updating (Zhu et al., Towards High Performance Video Object Detection, CVPR 2018).
Deviation: pixels are looked at again, not features, so that any detector serves. A crop is cut out of what the net would
be given for the whole picture, on the grid of its coarsest stride: what lies well inside gets the same numbers as in a
look at the whole, up to the context that the crop leaves out.

Lengths in "net pixels" are those of the detector's input, the picture scaled to `imgsz` on its longer side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from everyframe.operators.base import Detector
from everyframe.operators.boxes import Rows, without_doubles
from everyframe.operators.detectors.letterbox import Letterbox, fit, resize
from everyframe.operators.region.sizes import CONTEXT, context_of, cover, inside, snap
from everyframe.operators.types import F32, I32, U8, Bool, Objects, Origin

if TYPE_CHECKING:
    from everyframe.operators.detectors.detector import Prepared

__all__ = ["CONTEXT", "InParts", "cover", "look_at", "net_size", "uncut", "well_inside"]

CUT = 8
"""Net pixels: a detection that ends nearer to a crop's border is taken for the visible part of something larger."""
DOUBLES = 0.6
DEFAULT_IMGSZ = 640


@runtime_checkable
class InParts(Protocol):
    """A detector whose input can be cut up: `imgsz`, a part made ready, and several inputs of one size at once."""

    imgsz: int

    def prepare_in(self, picture: U8, box: Letterbox) -> Prepared: ...

    def infer_many(self, prepared: Sequence[Prepared]) -> list[Objects]: ...


@runtime_checkable
class KnowsCrops(Protocol):
    """A detector that has no need of pixels: it gives what a look at rectangles (k, 4) would find, sorted or not."""

    def objects_in(self, picture: U8, crops: I32) -> list[Objects]: ...


def net_size(detector: Any, width: int, height: int) -> int:
    """The longer side, in net pixels, of a picture as this detector sees it; its own size where that is unknown."""
    return detector.imgsz if isinstance(detector, InParts) else max(width, height)


def look_at(detector: Detector, picture: U8, crops: I32) -> Objects:
    """Objects that the detector finds in rectangles of a picture.

    picture: BGR (height, width, 3) uint8. crops (k, 4) int32, xyxy in its pixels. With a detector `InParts` each is
    grown to the next size of the fixed list, and equal sizes are looked at in one batch; another detector is given the
    plain cut-outs. What a crop's border cuts is left out, except at the picture's border; what two crops show is
    reported once. Boxes in pixels of the picture, NO_TRACK, origin region, sorted by falling score.
    """
    if not len(crops):
        return Objects.empty()
    if isinstance(detector, KnowsCrops):
        found = detector.objects_in(picture, crops)
    elif isinstance(detector, InParts):
        found = _in_parts(detector, picture, crops)
    else:
        found = _plain(detector, picture, crops)
    every = Objects.concat(found)
    every = every[np.argsort(-every.score, kind="stable")]
    return every[without_doubles(every.xyxy, every.score, every.class_id, DOUBLES)].with_origin(Origin.REGION)


def well_inside(xyxy: F32, crops: I32, width: int, height: int, imgsz: int = DEFAULT_IMGSZ) -> Bool:
    """(n,) bool: which boxes lie in one of the crops with all the context that they need.

    xyxy (n, 4) and crops (k, 4) in pixels of a picture of width x height that the net sees at `imgsz`. The picture's own
    border needs no context.
    """
    if not len(crops) or not len(xyxy):
        return np.zeros(len(xyxy), np.bool_)
    net = max(width, height) / imgsz
    context = context_of(xyxy / np.float32(net)) * np.float32(net)
    # A pixel: crops are rounded to whole ones, and then to the grid.
    out: Bool = np.any(inside(xyxy, crops, (width, height), context[:, None, None] - 1.01), axis=1)
    return out


def uncut(xyxy: F32, crops: I32, width: int, height: int, imgsz: int = DEFAULT_IMGSZ) -> Bool:
    """(n,) bool: which boxes lie in one of the crops so that a look can show them whole, with little context or much."""
    if not len(crops) or not len(xyxy):
        return np.zeros(len(xyxy), np.bool_)
    margin = CUT * max(width, height) / imgsz
    out: Bool = np.any(inside(xyxy, crops, (width, height), margin), axis=1)
    return out


def _in_parts(detector: InParts, picture: U8, crops: I32) -> list[Objects]:
    """Objects of each crop, the crops grouped by size so that each size is one batch."""
    height, width = picture.shape[:2]
    whole = fit(width, height, detector.imgsz)
    small = resize(picture, *whole.inner)
    rects = np.unique(snap(crops, whole), axis=0)
    sides = rects[:, 2:] - rects[:, :2]
    found = []
    for size in np.unique(sides, axis=0):
        rows: Rows = np.flatnonzero((sides == size).all(1))
        batch = [_cut(detector, small, rects[row]) for row in rows]
        for row, objects in zip(rows, detector.infer_many(batch), strict=True):
            found.append(_placed(objects, rects[row], whole))
    return found


def _cut(detector: InParts, small: U8, rect: I32) -> Prepared:
    """The net's input for one rectangle of the resized picture."""
    x1, y1, x2, y2 = rect.tolist()
    part = small[y1:y2, x1:x2]
    inner = (part.shape[1], part.shape[0])
    box = Letterbox(inner, inner, (x2 - x1, y2 - y1))
    return detector.prepare_in(part, box)


def _placed(objects: Objects, rect: I32, whole: Letterbox) -> Objects:
    """A crop's objects in pixels of the picture, without those that its border cuts."""
    shift = np.array([rect[0], rect[1], rect[0], rect[1]], np.float32)
    xyxy = objects.xyxy + shift
    kept = inside(xyxy, rect[None], whole.inner, CUT)[:, 0]
    return Objects.of(whole.to_source(xyxy[kept]), objects.score[kept], objects.class_id[kept], origin=Origin.REGION)


def _plain(detector: Detector, picture: U8, crops: I32) -> list[Objects]:
    """As `_in_parts` for a detector of which only `detect` is known."""
    height, width = picture.shape[:2]
    found = []
    for x1, y1, x2, y2 in np.clip(crops, 0, [width, height, width, height]).tolist():
        if x2 <= x1 or y2 <= y1:
            continue
        objects = detector.detect(np.ascontiguousarray(picture[y1:y2, x1:x2]))
        xyxy = objects.xyxy + np.array([x1, y1, x1, y1], np.float32)
        kept = inside(xyxy, np.array([[x1, y1, x2, y2]], np.int32), (width, height), CUT)[:, 0]
        found.append(Objects.of(xyxy[kept], objects.score[kept], objects.class_id[kept], origin=Origin.REGION))
    return found
