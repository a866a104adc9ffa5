"""`residual`: the CNN on every frame, computed only where the picture changed since it was last computed there.

After the recurrent residual module (Pan et al., CVPR 2018), DeltaCNN and MotionDeltaCNN (Parger et al., CVPR 2022 and ICCV 2023);
see `executor` for the deviations. Unlike MotionDeltaCNN it does not follow a moving camera: where most of the picture
changes, the detector runs as if this rung were not there.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from everyframe.operators.base import Detector, Needs, Prices
from everyframe.operators.detectors.decode import decode
from everyframe.operators.detectors.letterbox import GRID, Letterbox, fit, resize, to_input
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.residual.executor import Executor, Limits
from everyframe.operators.residual.graph import graph_of
from everyframe.operators.types import F32, U8, Objects, Origin, View

LIMITS = Limits(tile=4.5, cell=0.4)
"""Chosen on the training clips: see benchmarks/residual.py for what they cost and lose."""
MOST_ACTIVE = 0.6
"""Share of the tiles from which on the whole costs no more."""


class Residual:
    """Detections of the whole picture for every frame that it is applied to: NO_TRACK, origin residual; of the first frame,
    and wherever the whole was computed, origin detected.

    It computes in float32 on the CPU, whatever runtime and precision the detector has; only where most of the picture changes
    time and again does it leave the work to the detector's own. What it keeps is bounded: see `nbytes`. A change of the
    picture's size starts anew. limits: (0, 0) for the dense net's outputs. Raises OperatorError for detectors that are
    not NanoDet-g in torch on the CPU.
    """

    name = "residual"
    needs = Needs(pixels=True)

    def __init__(self, detector: Detector, prices: Prices, limits: Limits = LIMITS) -> None:
        self._detector = detector
        self._graph = graph_of(_net(detector))
        self._imgsz = int(getattr(detector, "imgsz"))  # noqa: B009
        self._min_score = float(getattr(detector, "min_score"))  # noqa: B009
        self._limits = limits
        self.outcome = Origin.DETECTED
        self.forget()

    def follow(self, view: View) -> None:
        """Nothing to do: pictures are compared with what was last computed, however long ago."""

    def looked(self, view: View) -> None:
        """Nothing to do: another rung's look leaves what is kept here as it is."""

    def forget(self) -> None:
        """Drops what is kept; the next frame is computed as a whole."""
        self.executor: Executor | None = None
        self._box: Letterbox | None = None
        self._bursts = 0

    @property
    def is_stale(self) -> bool:
        """Whether the maps are not those of the last picture, since the detector looked at it instead."""
        return self._bursts > 1

    @property
    def nbytes(self) -> int:
        """Bytes kept for the stream: 170 for each pixel of the net's input."""
        return 0 if self.executor is None else self.executor.nbytes

    def apply(self, view: View, objects: Objects) -> Objects:
        """Objects of `view.picture`, sorted by falling score; `objects` play no part."""
        if view.picture is None:
            raise ValueError("residual needs pixels, and this frame was not decoded")
        picture = view.picture()
        box = fit(picture.shape[1], picture.shape[0], self._imgsz)
        small = resize(picture, *box.inner)
        if box != self._box or self.executor is None:
            self._box, self._bursts = box, 0
            self.executor = Executor(self._graph, *box.outer, box.inner, levels())
            return self._whole(self.executor, small, box)
        active = self.executor.load(small, self._limits.tile)
        if active >= MOST_ACTIVE:
            self._bursts += 1
            if not self.is_stale:
                return self._whole(self.executor, small, box)
            self.outcome = Origin.DETECTED
            return self._detector.detect(picture)
        was_stale, self._bursts = self.is_stale, 0
        if was_stale:
            return self._whole(self.executor, small, box)
        self.executor.run(self._limits.cell)
        self.outcome = Origin.RESIDUAL
        return decode(self.executor.outputs(), box, self._min_score).with_origin(Origin.RESIDUAL)

    def _whole(self, executor: Executor, small: U8, box: Letterbox) -> Objects:
        executor.run_whole(small)
        self.outcome = Origin.DETECTED
        return decode(executor.outputs(), box, self._min_score)


def _net(detector: Detector) -> NanoDet:
    net = getattr(detector, "net", None)
    if not isinstance(net, NanoDet):
        raise OperatorError("The rung residual runs NanoDet-g in parts: use it with that model, or choose another policy.")
    if net.stem.weight.device.type != "cpu":
        raise OperatorError("The rung residual computes on the CPU: use the device cpu, or choose another policy.")
    return net


@lru_cache(maxsize=1)
def levels() -> F32:
    """What the net's input is for each grey level of each colour (256, 3)."""
    every = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)[None]
    levels: F32 = to_input(every, Letterbox((256, 1), (256, 1), (256, GRID)))[0, 0]
    return levels
