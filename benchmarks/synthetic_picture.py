"""Draws docs/synthetic.jpg: a picture of each of some synthetic cameras, as decoded, with the boxes of the truth.

    python benchmarks/synthetic_picture.py

Green: nearly all of it is seen; orange: less than 70 %.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import common
import cv2
import numpy as np

from everyframe.operators.types import U8
from everyframe.pipeline.sinks.video import display_frames, upright
from everyframe.pipeline.synthetic.detections import synthetic_truth
from everyframe.pipeline.synthetic.make import Order, make_cameras
from everyframe.pipeline.synthetic.truth import SceneTruth

TARGET = common.ROOT / "docs" / "synthetic.jpg"
TILE = 400, 225
COLUMNS = 3
ORDER = Order(cameras=30, seconds=4.0, seed=7, size=(640, 360), rate=15)
MOST = 9


def tile(video: Path, truth: SceneTruth) -> U8:
    """The frame with most objects that are well seen, boxes drawn."""
    good = truth.frame[truth.visibility > 0.5]
    index = int(np.bincount(good, minlength=truth.frames).argmax())
    picture = next(upright(f, 0) for i, f in enumerate(display_frames(str(video))) if i == index)
    rows = truth.rows_of(index)
    for box, visibility in zip(truth.xyxy[rows], truth.visibility[rows], strict=True):
        x1, y1, x2, y2 = (round(float(side)) for side in box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), (60, 220, 60) if visibility >= 0.7 else (0, 150, 255), 2)
    return np.asarray(cv2.resize(picture, TILE, interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    tiles: list[U8] = []
    with tempfile.TemporaryDirectory() as folder:
        for video in make_cameras(ORDER, Path(folder)):
            truth = synthetic_truth(video)
            if truth is not None and len(truth.frame) > truth.frames and len(tiles) < MOST:
                tiles.append(tile(video, truth))
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles) - COLUMNS + 1, COLUMNS)]
    cv2.imwrite(str(TARGET), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 82])
    common.tell(f"{TARGET}: {len(tiles)} cameras")


if __name__ == "__main__":
    main()
