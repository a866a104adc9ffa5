"""How good a causal label every N frames can be: detections moved by the true motion of people, against the dense detector.

Between two looks a causal label can only move what the last look found. Here it is moved by the ground truth, which no
method has: what is missing to 1 is the dense detector's own change of mind (flicker, and people who come and go).
    python benchmarks/ceiling.py --write
"""

from __future__ import annotations

from dataclasses import replace

import common
import numpy as np
from common import CLIPS, number

from everyframe.operators.boxes import centre_size, iou, match
from everyframe.operators.types import F32, Objects
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.evaluation import dense
from everyframe.pipeline.metrics import SCORE, agree, group_table
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.truth import Truth, load_truth

PEOPLE = ("pets_s2l1_ip", "adl_rundle6_ip")
STRIDES = (2, 5, 10, 20)


def moved(look: Objects, truth: Truth, start: int, now: int) -> Objects:
    """Detections of frame `start` where their person is at `now`; who has gone is left out, who is unknown stays."""
    then, there = truth.objects(start, 0), truth.objects(now, 0)
    rows, columns = match(iou(look.xyxy, then.xyxy), 0.3)
    boxes, kept = look.xyxy.copy(), np.ones(len(look), np.bool_)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        same = np.flatnonzero(there.track_id == then.track_id[column])
        if len(same) == 0:
            kept[row] = False
            continue
        boxes[row] = follow(boxes[row], then.xyxy[column], there.xyxy[same[0]])
    return replace(look, xyxy=boxes)[kept]


def follow(box: F32, then: F32, now: F32) -> F32:
    """A box (4,) shifted and scaled as another one went from `then` to `now`."""
    centre, size = centre_size(np.stack([box, then, now]))
    new_centre = centre[2] + centre[0] - centre[1]
    new_size = size[0] * size[2] / size[1]
    return np.concatenate([new_centre - new_size / 2, new_centre + new_size / 2]).astype(np.float32)


def main() -> None:
    options = common.parser(__doc__ or "").parse_args()
    common.need_data()
    common.one_thread()
    lines = []
    for name in PEOPLE:
        clip = CLIPS[name]
        with FileSource(str(clip.path)) as source:
            detector = open_detector(common.model_of(options), source.info.width, source.info.height)
        truth = load_truth(str(clip.truth_path), clip.labelled)
        seen = [o[(o.class_id == 0) & (o.score >= SCORE)] for o in dense(str(clip.path), detector, measure=False).frames]
        cells = []
        for stride in STRIDES:
            labels = [moved(seen[i - i % stride], truth, i - i % stride, i) for i in range(len(seen))]
            cells.append(number(agree(labels, seen, group_table(detector.supercategory)).f1))
        lines.append((name, *cells))
        common.tell(" ".join(lines[-1]))
    heads = ("clip, people only", *(f"every {stride}" for stride in STRIDES))
    common.publish("ceiling", common.markdown(heads, lines), options.write)


if __name__ == "__main__":
    main()
