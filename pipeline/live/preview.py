"""The small picture that the live page shows: boxes drawn by how they came to be, as JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from everyframe.operators.types import U8, Objects
from everyframe.pipeline.pictures.overlay import draw_objects, line_width

WIDTH = 640
QUALITY = 75


def draw_preview(
    picture: U8, objects: Objects, names: tuple[str, ...], width: int = WIDTH, quality: int = QUALITY
) -> bytes:
    """A JPEG (ISO/IEC 10918-1) of the picture, at most `width` pixels wide, with its boxes.

    picture (h, w, 3) uint8 BGR, left as it is. objects: in pixels of it. quality: 1 to 100. Drawn after scaling, so that
    lines and letters stay sharp. Raises ValueError where the picture has no pixels.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture must be of shape (h, w, 3), got {picture.shape}")
    scale = min(1.0, width / picture.shape[1])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    if scale < 1:
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        small = picture.copy()
    # A tile shows it at half its size: lines and letters are drawn for that.
    draw_objects(small, objects, names, scale, line_width(size[0], size[1]) + 1)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "a picture of uint8 can always be encoded"
    return data.tobytes()
