"""What `search` finds for a camera, against what one would choose by hand, at equal time per look.

    python benchmarks/search.py --minutes 20 --write

For each speed that is asked for, the search is given so many minutes. Beside what it chose: the net as it is in float32, in bf16 where the
CPU has it, and in int8, each at the largest picture within the time; the net with three quarters and half of its channels everywhere
at the largest picture within it, found anew from the same pictures. The best of these and the chosen one are then taught for as many
steps each. Times are CPU ms of a look in one thread, each measured in turns with one net that stays the same. F1 is pooled,
score 0.45, against the full model (f32, 640): on the pictures that designs were chosen by, on the second half of the clip, and on another
camera, for which none of them was made. A search that was cut off goes on at the next call; rows are kept in --models.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import common
import numpy as np
from common import CLIPS, number

from everyframe.operators.compress.lessons import Lesson
from everyframe.operators.compress.subnet import PARTS, Subnet
from everyframe.operators.detectors import coco
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.types import U8
from everyframe.pipeline.compression.designs import Design, opened_as
from everyframe.pipeline.compression.judge import CONF, HEIGHT, WIDTH
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.search import FINALISTS, SEARCHED, Goal, Run, front, opened_weights
from everyframe.pipeline.compression.studio import Made, Studio
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.metrics import agree, group_table, select
from everyframe.pipeline.settings import ModelSettings

CLASSES = ("person", "car", "truck", "bus")
SPEEDUPS = (8.0, 16.0)
JUDGED = 120
GROUPS = group_table(coco.SUPERCATEGORY)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to a model. f1: on the pictures to choose by, later ones, another camera's."""

    speedup: float
    how: str
    design: str
    steps: int
    ms: float
    f1: tuple[float, float, float]


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--minutes", type=float, default=20.0, help="of each search")
    made.add_argument("--speedup", type=float, action="append", help=f"may be repeated; default: {SPEEDUPS}")
    made.add_argument("--steps", type=int, default=300, help="of learning, at most")
    made.add_argument("--settle", type=int, default=0, help="steps before a design is judged")
    made.add_argument("--model", default="full", help="what designs are cut from")
    made.add_argument("--other", default="walkway", choices=sorted(CLIPS), help="the other camera")
    made.add_argument("--models", type=Path, default=cache_dir() / "searched", help="folder that keeps what was found")
    common.add_clips(made, "pets_s2l1_ip")
    options = made.parse_args()
    common.need_data()
    options.models.mkdir(parents=True, exist_ok=True)
    lines = []
    for clip in options.clip or ["pets_s2l1_ip"]:
        for speedup in options.speedup or SPEEDUPS:
            kept = options.models / f"{clip}-{speedup:g}-{options.minutes:g}-{Path(options.model).stem}-{options.settle}.json"
            if not kept.is_file():
                goal = Goal((str(CLIPS[clip].path),), str(kept.with_suffix(".safetensors")), options.model, None, speedup, classes=CLASSES,
                            minutes=options.minutes / SEARCHED, settle=options.settle, steps=options.steps)  # fmt: skip
                kept.write_text(json.dumps([asdict(row) for row in compared(goal, options.other)]))
            rows = [Row(**{**row, "f1": tuple(row["f1"])}) for row in json.loads(kept.read_text())]
            lines += [
                (clip, f"{row.speedup:g}", row.how, row.design, str(row.steps), number(row.ms, ".2f"), *(number(f1) for f1 in row.f1))
                for row in rows
            ]
    heads = ("camera", "asked for", "how", "design", "steps", "CPU ms", "F1 to choose by", "F1 later", f"F1 on {options.other}")
    common.publish("search", common.markdown(heads, lines), options.write)


def compared(goal: Goal, other: str) -> list[Row]:
    """The search, and the others beside it."""
    slim, teacher = opened_weights(goal.model)
    run = Run.begin(goal, slim, teacher, common.tell)
    run.go()
    common.tell(f"{len(run.judged)} designs, front: {', '.join(f'{one.ms:.2f} ms {one.f1:.3f}' for one in front(run.found()))}")
    chosen = run.chosen(FINALISTS)
    studio = run.studio
    ways: list[tuple[str, Design, Made]] = []
    plain = hand_made(run)
    for how, design in plain.items():
        ways.append((how, design, studio.finished(design, 0, lambda: False)))
    best = max(ways, key=lambda way: way[2].f1)
    ways.append(("searched", chosen.design, studio.finished(chosen.design, 0, lambda: False)))
    for how, design in ((f"{best[0]}, taught", best[1]), ("searched, taught", chosen.design)):
        ways.append((how, design, studio.finished(design, goal.steps, lambda: True, common.tell)))
    fresh = [fresh_pictures(goal.videos[0], Part(0.5, 1.0), studio), fresh_pictures(str(CLIPS[other].path), Part(), studio)]
    rows = []
    for how, design, made in ways:
        later, elsewhere = (f1_on(seen, made.net, design, studio) for seen in fresh)
        rows.append(Row(goal.speedup, how, str(design), made.steps, run.watch.ms(design), (made.f1, later, elsewhere)))
    return rows


def hand_made(run: Run) -> dict[str, Design]:
    """By how they were chosen: at the largest picture within the budget; those that fit at none are left out."""
    nets = {f"full, {p}": (Subnet(), p) for p in run.space.precisions}
    fast = run.chosen().design.precision
    nets |= {f"width {w:g}": (Subnet((w,) * len(PARTS)), fast) for w in (0.75, 0.5) if w in run.space.widths}
    found = {}
    for how, (net, precision) in nets.items():
        designs = (Design(size, net, precision) for size in reversed(run.space.sizes))
        design = next((one for one in designs if run.watch.ms(one) <= run.budget), None)
        if design is not None:
            found[how] = design
    return found


def fresh_pictures(video: str, part: Part, studio: Studio) -> list[Lesson]:
    """Pictures with what the full model finds there."""
    full = open_detector(ModelSettings("full", precision="f32"), WIDTH, HEIGHT)
    pictures: list[U8] = read_pictures([video], JUDGED, part)[0]
    return [Lesson(p, select(full.detect(p), np.array(studio.ids, np.int32), CONF)) for p in pictures]


def f1_on(seen: list[Lesson], net: NanoDet, design: Design, studio: Studio) -> float:
    detector = opened_as(net, design, CONF)
    ids = np.array(studio.ids, np.int32)
    return agree([select(detector.detect(one.picture), ids, CONF) for one in seen], [one.objects for one in seen], GROUPS).f1


if __name__ == "__main__":
    main()
