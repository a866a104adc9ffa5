"""Draws docs/operators/flow.jpg: a real frame, where `flow` expects errors, and the rectangle that it renews.

    python benchmarks/flow_picture.py --frame 133
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import common
import cv2
import numpy as np
from flow import EVERY

from everyframe.operators.base import Prices
from everyframe.operators.detectors import load_detector
from everyframe.operators.flow.memory import GRID
from everyframe.operators.flow.operator import Flow
from everyframe.operators.flow.weights import load_weights
from everyframe.operators.flow.windows import Need
from everyframe.operators.propagate import Propagate
from everyframe.operators.types import F32, U8, Objects, Origin, View
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.demo import fetch_clip
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.labelling.tracks import TrackKeeper, class_tables
from everyframe.pipeline.metrics import SCORE
from everyframe.pipeline.pictures.overlay import STYLES, draw_box
from everyframe.pipeline.sources.file import FileSource

TARGET = common.ROOT / "docs" / "operators" / "flow.jpg"
RECT = (255, 255, 255)
SCALE = 1.25


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--frame", type=int, default=133)
    options = made.parse_args()
    common.one_thread()
    picture, need, carried, found, flow = play(options.frame)
    assert flow.quality is not None
    scale = flow.quality.box.scale
    left = cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    right = heat(left, need, (scale[0] * SCALE, scale[1] * SCALE))
    for side in (left, right):
        boxes(side, carried, Origin.PROPAGATED)
        boxes(side, found, Origin.FLOW)
        if flow.rect is not None:
            corners = (np.array(flow.rect) * GRID * np.tile(scale, 2) * SCALE).astype(int).tolist()
            cv2.rectangle(side, corners[:2], corners[2:], RECT, 3)
    TARGET.parent.mkdir(exist_ok=True)
    sheet = np.concatenate((left, np.full((left.shape[0], 16, 3), 255, np.uint8), right), 1)
    cv2.imwrite(str(TARGET), sheet, (cv2.IMWRITE_JPEG_QUALITY, 82))
    print(f"{TARGET}: {flow.outcome.label}, rectangle {flow.rect}, {len(carried)} carried, {len(found)} found")


def play(last: int) -> tuple[U8, Need, Objects, Objects, Flow]:
    """The rung on the demo's clip up to a frame: its picture, the need there, and what was carried and found."""
    detector = load_detector()
    groups, _ = class_tables(detector, ())
    flow, keeper, propagate = Flow(detector, Prices()), TrackKeeper(groups, SCORE), Propagate()
    with FileSource(str(fetch_clip(cache_dir() / "demo"))) as source:
        for index, item in enumerate(field_slots(source)):
            assert item.slot.frame is not None and item.field is not None
            frame = item.slot.frame
            view = View(frame.width, frame.height, item.field, frame.picture, frame.luma)
            keeper.state = keeper.state.moved(propagate.apply(view, keeper.state.objects))
            flow.follow(view)
            tracks = keeper.state.objects
            if index == last and flow.quality is not None and flow.where is not None:
                need = flow.quality.need(tracks, flow.where, load_weights())
                out = flow.apply(view, tracks)
                return frame.picture(), need, out[out.track_id >= 0], out[out.track_id < 0], flow
            keeper.take((flow.apply if index % EVERY else flow.key.apply)(view, tracks), index)
    raise SystemExit(f"the clip has no frame {last} between key frames")


def boxes(picture: U8, objects: Objects, origin: Origin) -> None:
    for box in objects[objects.score >= SCORE].xyxy * SCALE:
        x1, y1, x2, y2 = box.round().astype(int).tolist()
        draw_box(picture, (x1, y1), (x2, y2), replace(STYLES[origin], weight=1.0), 3)


def heat(picture: U8, need: Need, scale: tuple[float, float]) -> U8:
    """The picture in grey, errors to be expected in red: of cells, and of boxes spread over their area.

    scale: pixels of the picture for one of the net's input, (x, y).
    """
    rows, cols = need.cells.shape
    cell = 8
    field: F32 = np.kron(need.cells, np.ones((GRID // cell, GRID // cell), np.float32)) / (GRID // cell) ** 2
    for value, box in zip(need.values.tolist(), need.boxes / cell, strict=True):
        x0, y0, x1, y1 = np.clip(box, 0, [cols * 4, rows * 4, cols * 4, rows * 4]).astype(int)
        part = field[y0 : y1 + 1, x0 : x1 + 1]
        part += value / max(part.size, 1)
    wide = cv2.resize(field, None, fx=cell * scale[0], fy=cell * scale[1])
    height, width = picture.shape[:2]
    share = np.clip(wide[:height, :width] / np.quantile(field, 0.99), 0, 1)[..., None] * 0.75
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    out: U8 = (grey * (1 - share) + np.array((40, 40, 230)) * share).astype(np.uint8)
    return out


if __name__ == "__main__":
    main()
