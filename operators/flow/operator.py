"""The rung `flow`: what the net computed is kept from frame to frame; where it has gone bad, a rectangle is renewed.

Zhu et al., Deep Feature Flow (CVPR 2017) and Towards High Performance Video Object Detection (CVPR 2018): spatially
adaptive partial feature updating, steered by a learned feature quality. Deviations: motion comes from the codec, and it
carries boxes, not features, as heads on warped features lose against boxes that move (docs/operators/flow.md); one
rectangle is renewed in all layers, so that a CPU computes dense matrices.
"""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import numpy as np

from everyframe.operators.base import Detector, Needs, Prices
from everyframe.operators.detectors.decode import decode
from everyframe.operators.detectors.letterbox import Letterbox, fit, resize, to_input
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.flow.displacement import Displacement
from everyframe.operators.flow.memory import GRID, Memory, Rect
from everyframe.operators.flow.quality import Quality
from everyframe.operators.flow.settle import settle
from everyframe.operators.flow.weights import Weights, load_weights
from everyframe.operators.flow.windows import choose, inner
from everyframe.operators.types import U8, Objects, Origin, View

SHARE = 0.24
"""What rectangles may cost for each frame, in shares of the whole net; what the rung does beside comes on top."""
MOST_SAVED = 4.4  # frames whose share may be saved up for a large rectangle, or the whole
WORTH = 0.3
"""Wrong labels that a rectangle must be expected to mend, for each whole net that it costs. Chosen on training clips."""


@runtime_checkable
class Net(Protocol):
    """What `flow` asks of a detector: its layers, not only its results."""

    net: NanoDet
    imgsz: int
    min_score: float
    supercategory: tuple[str, ...]


class Flow:
    """Looks at one rectangle of a frame, or at none; `outcome` says which.

    key: the rung that looks at whole pictures and keeps what the net computed; it stands in for `detect`. Until it has
    looked, and after a gap, tracks are carried. What is kept is bounded: the net's layers for one picture (some 33
    floats for each pixel of the net's input, 31 MB at 640x384), a grid of cells and the tracks. weights: of the quality;
    None for the shipped ones. Raises `OperatorError` for a detector whose net is not known.
    """

    name = "flow"
    needs = Needs(motion=True, pixels=True)

    def __init__(self, detector: Detector, prices: Prices, weights: Weights | None = None) -> None:
        if not isinstance(detector, Net):
            raise OperatorError("The rung flow needs a NanoDet-g detector, whose layers it keeps: use another policy.")
        self._detector = cast(Net, detector)
        self._weights = load_weights() if weights is None else weights
        order = sorted(set(detector.supercategory))
        self._groups = np.array([order.index(name) for name in detector.supercategory], np.int32)
        self._memory: Memory | None = None
        self.key = Key(self)
        self.outcome = Origin.PROPAGATED
        self.forget()

    def forget(self) -> None:
        self.quality: Quality | None = None
        self.where: Displacement | None = None
        self.rect: Rect | None = None
        self._saved = 0.0

    def follow(self, view: View) -> None:
        if view.motion is None or self.quality is None or self.where is None:
            return
        self.where = self.where.then(view.motion)
        self.quality.follow(view.motion)
        self._saved = min(self._saved + SHARE, MOST_SAVED * SHARE)

    def looked(self, view: View) -> None:
        """Another rung's look leaves the kept layers as they are: older than what is known, but good as surroundings."""
        if self.quality is not None:
            self.quality.looked_at_all()
            self.where = Displacement.none(view.width, view.height, _cell(view))

    def look_at_all(self, view: View) -> Objects:
        """The whole net on a picture; what it computed is kept. Equal to `detect`."""
        if view.picture is None:
            raise ValueError("a key frame needs the pixels of a decoded frame")
        box = fit(view.width, view.height, self._detector.imgsz)
        memory = self._memory_for(box)
        if self.quality is None:
            self.quality = Quality(box)
        self._saved = 0.0
        self.looked(view)
        memory.update(to_input(view.picture(), box), memory.whole)
        return decode(memory.head(memory.whole), box, self._detector.min_score)

    def apply(self, view: View, objects: Objects) -> Objects:
        """Tracks carried (with track_id), and what the heads found in the rectangle (NO_TRACK, origin flow)."""
        if view.motion is None or view.picture is None:
            raise ValueError("flow needs the motion and the pixels of a decoded frame")
        self.outcome, self.rect = Origin.PROPAGATED, None
        if self.quality is not None and self.where is not None:
            chosen = choose(self.quality.need(objects, self.where, self._weights), WORTH, self._saved)
            if chosen is not None:
                self.rect, price = chosen
                self._saved -= price
                return self._part(view.picture(), objects, self.rect, self.quality)
        return objects.with_origin(Origin.PROPAGATED)

    def _part(self, picture: U8, tracks: Objects, rect: Rect, quality: Quality) -> Objects:
        self.outcome = Origin.FLOW
        found = self._renew(picture, quality.box, rect)
        looked, taken = settle(tracks, found, rect, quality.box, self._groups)
        quality.looked(inner(rect, (quality.rows, quality.cols)), tracks.track_id[looked])
        return Objects.concat([tracks[~looked].with_origin(Origin.PROPAGATED), taken.with_origin(Origin.FLOW)])

    def _renew(self, picture: U8, box: Letterbox, rect: Rect) -> Objects:
        """All detections in a rectangle, boxes in pixels of the picture."""
        memory = self._memory_for(box)
        left, top, right, bottom = (side * GRID for side in rect)
        part = resize(picture, *box.inner)[top:bottom, left:right]
        size = (part.shape[1], part.shape[0])
        memory.update(to_input(part, Letterbox(size, size, (right - left, bottom - top))), rect)
        return decode(memory.head(rect), box, self._detector.min_score, (left, top))

    def _memory_for(self, box: Letterbox) -> Memory:
        cols, rows = (side // GRID for side in box.outer)
        if self._memory is None or (self._memory.rows, self._memory.cols) != (rows, cols):
            self._memory = Memory(self._detector.net, rows, cols)
        return self._memory


class Key:
    """The rung `detect` of a stream that has `flow` among its rungs."""

    name = "detect"
    needs = Needs(pixels=True)
    outcome = Origin.DETECTED

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def apply(self, view: View, objects: Objects) -> Objects:
        return self._flow.look_at_all(view)


def _cell(view: View) -> int:
    return 8 if view.motion is None else view.motion.cell
