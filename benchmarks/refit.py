"""What a net is worth that is cut and found anew from pictures, without learning: on the cameras of the pictures, and on others.

    python benchmarks/refit.py --write

Cuts of `full` in width, depth and kernel. The weights of each are found by least squares (`operators/compress/refit.py`) from pictures of the
first two fifths of the given clips; F1 is of people and vehicles, pooled, score 0.45, against `full` (torch, f32) at the same size of picture: as cut,
found anew on later pictures of the same clips, and on the validation cameras. Scores are shifted as `search` does, on the part between.
`less work`: multiplications and additions of `full` over those of the cut, which is not its speed.
"""

from __future__ import annotations

import common
import numpy as np
import torch
from common import CLIPS, TRAFFIC, VALIDATION, number

from everyframe.operators.compress.lessons import Lesson
from everyframe.operators.compress.prune import macs
from everyframe.operators.compress.refit import Memory, refit, remember
from everyframe.operators.compress.subnet import PARTS, Subnet, cut
from everyframe.operators.detectors import coco
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.types import F32, U8
from everyframe.pipeline.compression.designs import Design, opened_as
from everyframe.pipeline.compression.judge import CONF
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.recipe import inputs_of
from everyframe.pipeline.compression.search import opened_weights
from everyframe.pipeline.compression.specialize import UNSURE, calibrated
from everyframe.pipeline.compression.studio import SURE
from everyframe.pipeline.metrics import agree, group_table, select

CUTS = {
    "three quarters of the channels": Subnet((0.75,) * len(PARTS)),
    "half of the channels": Subnet((0.5,) * len(PARTS)),
    "half of the first two stages": Subnet((0.5, 0.5, 1.0, 1.0, 1.0, 1.0)),
    "one block in each stage": Subnet(blocks=(1, 1, 1, 1)),
    "no blocks": Subnet(blocks=(0, 0, 0, 0)),
    "1x1 at the end of each stage": Subnet(kernels=(1, 1, 1, 1, 3)),
    "1x1 in the heads": Subnet(kernels=(3, 3, 3, 3, 1)),
}
IDS = tuple(coco.NAMES.index(name) for name in TRAFFIC)
WANTED = np.array(IDS, np.int32)
GROUPS = group_table(coco.SUPERCATEGORY)
JUDGED = 60


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--imgsz", type=int, default=416)
    made.add_argument("--pictures", type=int, default=32, help="of all clips together, to find weights from; their sizes must agree")
    common.add_clips(made, "pets_s2l1_ip")
    options = made.parse_args()
    common.need_data()
    torch.set_num_threads(1)
    clips = [str(CLIPS[clip].path) for clip in options.clip or ["pets_s2l1_ip"]]
    slim, _ = opened_weights("full")
    asis = Design(options.imgsz, Subnet(), "f32")
    seen = {
        name: lessons(slim.net, asis, videos, most, part)
        for name, videos, most, part in (
            ("learn", clips, options.pictures // len(clips), Part(0, 0.4)), ("held", clips, JUDGED, Part(0.4, 0.5)),
            ("later", clips, JUDGED, Part(0.5, 1)), ("others", [str(CLIPS[v].path) for v in VALIDATION], JUDGED // 3, Part()),
        )
    }  # fmt: skip
    memory = remembered(slim.net, seen["learn"], options.imgsz)
    whole = macs(slim.net)
    lines = []
    for how, subnet in CUTS.items():
        plain = cut(slim, subnet)
        found, _ = calibrated(refit(plain, memory), options.imgsz, IDS, seen["held"])
        f1 = [f1_of(net, asis, seen[where]) for net, where in ((plain, "later"), (found, "later"), (found, "others"))]
        common.tell(f"{how}: {f1}")
        lines.append((how, number(whole / macs(plain), ".2f"), *map(number, f1)))
    heads = ("cut", "less work", "F1 as cut", "found anew, same cameras later", "found anew, validation cameras")
    common.publish("refit", common.markdown(heads, lines), options.write)


def lessons(full: NanoDet, design: Design, videos: list[str], most: int, part: Part) -> list[Lesson]:
    detector = opened_as(full, design, UNSURE)
    pictures: list[U8] = [picture for video in read_pictures(videos, most, part) for picture in video]
    return [Lesson(p, select(detector.detect(p), WANTED, UNSURE)) for p in pictures]


def remembered(full: NanoDet, learn: list[Lesson], imgsz: int) -> Memory:
    inputs: list[F32] = inputs_of([[lesson.picture for lesson in learn]], imgsz, len(learn))
    high, wide = (max(x.shape[axis] for x in inputs) for axis in (1, 2))
    padded = [np.pad(x, ((0, 0), (0, high - x.shape[1]), (0, wide - x.shape[2]), (0, 0))) for x in inputs]
    boxes = [fit(one.picture.shape[1], one.picture.shape[0], imgsz).to_input(one.objects.xyxy[one.objects.score >= SURE]) for one in learn]
    return remember(full, padded, boxes)


def f1_of(net: NanoDet, design: Design, judged: list[Lesson]) -> float:
    detector = opened_as(net, design, CONF)
    wanted = [select(one.objects, WANTED, CONF) for one in judged]
    return agree([select(detector.detect(one.picture), WANTED, CONF) for one in judged], wanted, GROUPS).f1


if __name__ == "__main__":
    main()
