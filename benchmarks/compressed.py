"""What compressed models win and lose: the shipped ones, or files of yours, against the full model on the same pictures.

    python benchmarks/compressed.py --write

Costs are CPU ms of one look in one thread, all models in turns on the same pictures, each in the fastest runtime and precision
here; `full` once in f32 and once in the best that it has. F1 is pooled over pictures spread evenly over each clip, people and
vehicles, score 0.45: against the full model (f32), and against ground truth where there is any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import common
import numpy as np
from common import CLIPS, TRAFFIC, VALIDATION, number

from everyframe.operators.detectors import coco
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.compression.judge import CONF, HEIGHT, WIDTH, timed
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.metrics import agree, group_table, select
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.truth import load_truth

WITH_TRUTH = ("pets_s2l1_ip", "highway_ip")
EVERY = 5
GROUPS = group_table(coco.SUPERCATEGORY)
WANTED = np.array([coco.NAMES.index(name) for name in TRAFFIC], np.int32)


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures of a clip with their frame numbers."""

    name: str
    indices: list[int]
    pictures: list[U8]


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--model", action="append", help="may be repeated; default: fast")
    made.add_argument("--every", type=int, default=EVERY, help="take every n-th frame")
    common.add_clips(made, "two with truth, and the validation cameras")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    names = options.model or ["fast"]
    models = {"full, f32": open_detector(ModelSettings(precision="f32"), WIDTH, HEIGHT), "full, best": open_detector(ModelSettings(), WIDTH, HEIGHT)}
    models |= {name: open_detector(ModelSettings(name), WIDTH, HEIGHT) for name in names}
    f1: dict[str, list[list[str]]] = {name: [] for name in models}
    costs: list[list[float]] = []
    for clip in options.clip or (*WITH_TRUTH, *VALIDATION):
        common.tell(clip)
        seen = read(clip, options.every, options.limit)
        found = {name: [kept(model.detect(p)) for p in seen.pictures] for name, model in models.items()}
        costs.append(timed(list(models.values()), seen.pictures[:: max(1, len(seen.pictures) // 6)][:6]))
        for name, objects in found.items():
            f1[name].append([clip, number(agree(objects, found["full, f32"], GROUPS).f1), truth_f1(seen, objects)])
    ratio = np.array(costs)[:, :1] / np.array(costs)
    heads = ("model", "runtime", "speedup", *(f"{row[0]}: full / truth" for row in f1["full, f32"]))
    lines = [
        (name, f"{model.runtime} {model.precision}", number(float(ratio[:, i].mean()), ".2f"),
         *(f"{row[1]} / {row[2]}" for row in f1[name]))
        for i, (name, model) in enumerate(models.items())
    ]  # fmt: skip
    common.publish("compressed", common.markdown(heads, lines), options.write)


def read(clip: str, every: int, limit: int | None) -> Seen:
    seen = Seen(clip, [], [])
    with FileSource(str(CLIPS[clip].path)) as source:
        decoder = Decoder(source, vectors=False)
        index = 0
        for packet in source.packets():
            for slot in decoder.push(packet, True):
                if slot.frame is not None and index % every == 0:
                    seen.indices.append(index)
                    seen.pictures.append(slot.frame.picture().copy())
                index += 1
            if limit is not None and index >= limit:
                break
    return seen


def kept(objects: Objects) -> Objects:
    return select(objects, WANTED, CONF)


def truth_f1(seen: Seen, found: Sequence[Objects]) -> str:
    """Against ground truth, on its labelled frames and of its class; a dash where there is none."""
    clip = CLIPS[seen.name]
    if clip.truth_path is None:
        return "-"
    truth = load_truth(clip.truth_path, clip.labelled)
    class_id = coco.NAMES.index("person" if "pets" in clip.name else "car")
    group = coco.SUPERCATEGORY[class_id]
    frames = truth.frames(max(seen.indices) + 1)
    rows = [i for i, index in enumerate(seen.indices) if index in frames]
    mine = [of_group(found[i], group) for i in rows]
    wanted = [truth.objects(seen.indices[i], class_id) for i in rows]
    ignored = [truth.ignored_boxes(seen.indices[i]) for i in rows]
    return number(agree(mine, wanted, GROUPS, ignored).f1)


def of_group(objects: Objects, group: str) -> Objects:
    return objects[np.array([coco.SUPERCATEGORY[i] == group for i in objects.class_id], np.bool_)]




if __name__ == "__main__":
    main()
