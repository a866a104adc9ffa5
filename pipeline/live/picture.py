"""The picture that is sent to the CNN: already as small as it will see it, as pixels have to cross processes."""

from __future__ import annotations

from everyframe.operators.detectors.letterbox import fit, resize
from everyframe.operators.types import U8
from everyframe.pipeline.live.types import Point


def shrunk(picture: U8, imgsz: int) -> tuple[U8, Point]:
    """A BGR picture (height, width, 3) uint8 with `imgsz` pixels on its longer side, by the detector's own resizing, and the
    (x, y) scale back. A smaller picture stays as it is: the detector enlarges it."""
    height, width = picture.shape[:2]
    if max(width, height) <= imgsz:
        return picture, (1.0, 1.0)
    box = fit(width, height, imgsz)
    return resize(picture, *box.inner), box.scale
