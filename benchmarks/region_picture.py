"""Draws docs/operators/region.jpg: what `region` takes for news and for doubt in a real frame, and the crops it looks at.

    python benchmarks/region_picture.py --frame 60
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import common
import cv2
import numpy as np

from everyframe.operators.detectors import load_detector
from everyframe.operators.propagate import Propagate
from everyframe.operators.region.operator import Region
from everyframe.operators.types import F32, I32, U8, Objects, Origin, View
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.costs.prices import prices_for
from everyframe.pipeline.demo import fetch_clip
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.labelling.tracks import TrackKeeper, class_tables
from everyframe.pipeline.metrics import SCORE
from everyframe.pipeline.pictures.overlay import STYLES, draw_box
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource

TARGET = common.ROOT / "docs" / "operators" / "region.jpg"
CROP, NEWS = (0, 220, 255), (255, 120, 0)
SCALE = 1.25


@dataclass(frozen=True)
class Look:
    """One frame: changes (n, 4) with their chances, what was carried and what was found, crops (k, 4) source pixels."""

    picture: U8
    changes: F32
    chance: F32
    carried: Objects
    doubt: F32
    found: Objects
    crops: I32


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--frame", type=int, default=60, help="the first partial look from this frame on")
    options = made.parse_args()
    common.one_thread()
    look = play(options.frame)
    left = cv2.resize(look.picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    right = left.copy()
    for box, chance in zip(look.changes, look.chance, strict=True):
        corners = (box * SCALE).astype(int).tolist()
        cv2.rectangle(left, corners[:2], corners[2:], NEWS, 2)
        cv2.putText(left, f"{chance:.2f}", (corners[0], corners[1] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, NEWS, 1, cv2.LINE_AA)
    for box, wrong in zip(look.carried.xyxy * SCALE, look.doubt, strict=True):
        (x, y), end = box[:2].astype(int).tolist(), box[2:].astype(int).tolist()
        draw_box(left, (x, y), end, STYLES[Origin.PROPAGATED], 2)
        cv2.putText(left, f"{wrong:.2f}", (x, y - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    for objects, origin in ((look.carried, Origin.PROPAGATED), (look.found, Origin.REGION)):
        for box in objects[objects.score >= SCORE].xyxy * SCALE:
            draw_box(right, box[:2].astype(int).tolist(), box[2:].astype(int).tolist(), STYLES[origin], 2)
    for side in (left, right):
        for box in look.crops * SCALE:
            corners = box.astype(int).tolist()
            cv2.rectangle(side, corners[:2], corners[2:], CROP, 2)
    TARGET.parent.mkdir(exist_ok=True)
    gap = np.full((left.shape[0], 16, 3), 255, np.uint8)
    cv2.imwrite(str(TARGET), np.concatenate((left, gap, right), 1), (cv2.IMWRITE_JPEG_QUALITY, 82))
    print(f"{TARGET}: {len(look.crops)} crops, {len(look.changes)} changes, {len(look.found)} found")


def play(first: int) -> Look:
    """The rung on the demo's clip up to its first partial look from a frame on."""
    detector = load_detector()
    groups, _ = class_tables(detector, ())
    keeper, propagate = TrackKeeper(groups, SCORE), Propagate()
    with FileSource(str(fetch_clip(cache_dir() / "demo"))) as source:
        info = source.info
        region = Region(detector, prices_for(ModelSettings(runtime="torch", precision="f32"), info.width, info.height, detector))
        for index, item in enumerate(field_slots(source)):
            assert item.slot.frame is not None and item.field is not None
            frame = item.slot.frame
            view = View(frame.width, frame.height, item.field, frame.picture, frame.luma)
            keeper.state = keeper.state.moved(propagate.apply(view, keeper.state.objects))
            region.follow(view)
            if index == 0:
                keeper.take(detector.detect(frame.picture()), index)
                region.looked(view)
                continue
            tracks = keeper.state.objects
            out = region.apply(view, tracks)
            if index >= first and region.outcome == Origin.REGION:
                return looked(region, frame.picture(), tracks, out)
            keeper.take(out, index)
    raise SystemExit(f"no look at a part from frame {first} on")


def looked(region: Region, picture: U8, tracks: Objects, out: Objects) -> Look:
    changes = region.news
    return Look(
        picture, changes.xyxy, changes.chance, tracks[tracks.score >= SCORE], region.doubts[tracks.score >= SCORE],
        out[out.track_id < 0], region.crops,
    )  # fmt: skip


if __name__ == "__main__":
    main()
