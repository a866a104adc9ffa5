"""How much of its surroundings does the detector need? Objects that it finds in the whole picture, looked for in crops around
them, by the margin of the crop.

    python benchmarks/region_context.py --write
"""

from __future__ import annotations

from collections import defaultdict

import common
import numpy as np
from common import CLIPS, number

from everyframe.operators.boxes import iou
from everyframe.operators.detectors import NanoDetDetector, Prepared, load_detector
from everyframe.operators.detectors.letterbox import GRID, Letterbox, fit, to_input
from everyframe.operators.region.sizes import LARGE
from everyframe.operators.types import F32, U8
from everyframe.pipeline.evaluation.dense import plain_slots
from everyframe.pipeline.metrics import SCORE, group_table

NAMES = ("pets_s2l1_ip", "adl_rundle6_ip", "highway_ip", "street", "office_ip", "walkway", "crossing", "freeway_ip")
MARGINS = (0, 32, 48, 64, 96)
PICTURES, OBJECTS = 12, 3  # of each clip, and of each picture
SMALLEST = 2 * GRID

Hits = dict[tuple[int, bool], list[bool]]


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, f"{len(NAMES)} of the training clips")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    detector = load_detector()
    hits: Hits = defaultdict(list)
    rng = np.random.default_rng(0)
    for name in options.clip or NAMES:
        common.tell(name)
        frames = [slot.frame for slot in plain_slots(str(CLIPS[name].path), options.limit)]
        for index in np.sort(rng.choice(len(frames), min(PICTURES, len(frames)), replace=False)).tolist():
            frame = frames[index]
            if frame is not None:
                look(detector, frame.picture(), rng, hits)
    sizes = (("all", (False, True)), (f"up to {LARGE} px", (False,)), (f"above {LARGE} px", (True,)))
    lines = [
        (str(margin), *(number(float(np.mean([hit for large in which for hit in hits[margin, large]])), ".2f") for _, which in sizes))
        for margin in MARGINS
    ]
    heads = ("margin, net pixels", *(f"found, {title}" for title, _ in sizes))
    common.publish("region context", common.markdown(heads, lines), options.write)


def look(detector: NanoDetDetector, picture: U8, rng: np.random.Generator, hits: Hits) -> None:
    """Some objects of one picture, each in crops of every margin."""
    whole = fit(picture.shape[1], picture.shape[0], detector.imgsz)
    made = to_input(picture, whole)
    found = detector.infer(Prepared(made, whole))
    good = np.flatnonzero(found.score >= SCORE)
    boxes = whole.to_input(found.xyxy)
    groups = group_table(detector.supercategory)
    for row in rng.choice(good, min(OBJECTS, len(good)), replace=False).tolist():
        for margin in MARGINS:
            x1, y1, x2, y2 = crop(boxes[row], margin, whole.outer)
            piece = np.ascontiguousarray(made[:, y1:y2, x1:x2])
            size = (x2 - x1, y2 - y1)
            again = detector.infer(Prepared(piece, Letterbox(size, size, size)))
            same = (again.score >= SCORE) & (groups[again.class_id] == groups[found.class_id[row]])
            at = again.xyxy[same] + np.array([x1, y1, x1, y1], np.float32)
            side = float((boxes[row, 2:] - boxes[row, :2]).max())
            hits[margin, side > LARGE].append(bool((iou(at, boxes[row : row + 1]) >= 0.5).any()))


def crop(box: F32, margin: int, outer: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box with its margin, grown to the grid of the coarsest stride, inside the input."""
    low = np.floor(np.maximum(box[:2] - margin, 0) / GRID) * GRID
    high = np.minimum(np.ceil((box[2:] + margin) / GRID) * GRID, outer)
    low = np.minimum(low, np.maximum(high - SMALLEST, 0))
    x1, y1, x2, y2 = np.concatenate((low, high)).astype(int).tolist()
    return x1, y1, x2, y2


if __name__ == "__main__":
    main()
