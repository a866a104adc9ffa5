"""How good and how fast a model made for one camera is, on later video of that camera.

    python benchmarks/specialised.py --write
    python benchmarks/specialised.py --time-only --write

`specialize` learns from the first half of each clip; here the second half is judged, which it has seen for its report only. The
small model works without its guard, F1 is pooled over pictures spread evenly, of the asked classes, score 0.45, against the full
model in f32. Costs are CPU ms of one look in one thread with OpenVINO, all models in turns on the same pictures. Models and
what they agree to are kept in --models, so that --time-only measures the costs alone.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import common
import numpy as np
from common import CLIPS, number, verdict

from everyframe.operators.detectors import coco, load_detector
from everyframe.operators.detectors.detector import NanoDetDetector
from everyframe.operators.detectors.guarded import EVERY, SELDOM
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.compression.judge import CONF, timed
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.specialize import Wish, specialize
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.metrics import agree, group_table, select
from everyframe.pipeline.models import seen_imgsz
from everyframe.pipeline.settings import ModelSettings

CAMERAS = {"pets_s2l1_ip": ("person",), "highway_ip": ("car", "truck", "bus"), "one_by_one_person": ("person",)}
LATER = Part(0.5, 1.0)
JUDGED, TIMED = 200, 8
WANTED_F1, WANTED_SPEED, WANTED_MINUTES = 0.90, 8.0, 20.0
GROUPS = group_table(coco.SUPERCATEGORY)


@dataclass(frozen=True, slots=True)
class Made:
    """One camera's model. f1, stopped: on the second half, and where learning stopped. minutes: of wall clock and of CPU."""

    clip: str
    classes: tuple[str, ...]
    shape: str
    imgsz: int
    steps: int
    stopped: float
    f1: float
    frames: int
    objects: int
    minutes: float
    cpu_minutes: float


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--models", type=Path, default=cache_dir() / "specialised", help="folder that keeps the models; default: in the cache")
    made.add_argument("--time-only", action="store_true", help="take models and accuracy from that folder")
    made.add_argument("--speedup", type=float, default=WANTED_SPEED)
    made.add_argument("--steps", type=int, help="at most; default: what specialize does")
    made.add_argument("--threads", type=int, default=2, help="to learn with")
    common.add_clips(made, ", ".join(CAMERAS))
    options = made.parse_args()
    common.need_data()
    folder: Path = options.models
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for clip in options.clip or CAMERAS:
        path = folder / f"{clip}.safetensors"
        kept = path.with_suffix(".json")
        if not (options.time_only or kept.is_file()):
            kept.write_text(json.dumps(asdict(camera(clip, path, options.speedup, options.steps, options.threads))))
        if not kept.is_file():
            raise SystemExit(f"{kept} is not there: run without --time-only first")
        lines.append(line(Made(**json.loads(kept.read_text())), path))
    heads = ("camera", "classes", "sees", "F1 where it stopped", "F1 later", f"≥ {WANTED_F1:.2f}", "objects",
             "full f32, ms", "speed-up f32", "int8", f"≥ {WANTED_SPEED:g}", "with its guard", "minutes (CPU)", f"≤ {WANTED_MINUTES:g}")  # fmt: skip
    common.publish("specialised", common.markdown(heads, lines), options.write)


def camera(clip: str, path: Path, speedup: float, steps: int | None, threads: int) -> Made:
    """Learns from the first half and judges the second."""
    classes = CAMERAS.get(clip, common.TRAFFIC)
    wish = Wish((str(CLIPS[clip].path),), str(path), classes, speedup, threads=threads)
    if steps is not None:
        wish = Wish((str(CLIPS[clip].path),), str(path), classes, speedup, steps=steps, threads=threads)
    since = time.process_time()
    outcome = specialize(wish, common.tell)
    cpu = (time.process_time() - since) / 60
    pictures = read_pictures([str(CLIPS[clip].path)], JUDGED, LATER)[0]
    full = load_detector("full", 640, "openvino", "f32")
    small = unguarded(path, "int8")
    wanted = [kept(full.detect(p), classes) for p in pictures]
    f1 = agree([kept(small.detect(p), classes) for p in pictures], wanted, GROUPS).f1
    return Made(clip, classes, str(outcome.shape), outcome.shape.imgsz, outcome.steps, outcome.stopped_f1, f1, len(pictures),
                sum(map(len, wanted)), outcome.minutes, cpu)  # fmt: skip


def line(made: Made, path: Path) -> tuple[str, ...]:
    """A row: its costs are measured now."""
    common.one_thread()
    pictures: list[U8] = read_pictures([str(CLIPS[made.clip].path)], TIMED, LATER)[0]
    models = [load_detector("full", 640, "openvino", "f32"), unguarded(path, "f32"), unguarded(path, "int8")]
    full, small_f32, small = timed(models, pictures)
    speed = full / small
    watched = [full / (small + full / every) for every in (EVERY, SELDOM)]
    return (
        made.clip, ", ".join(made.classes), made.shape, number(made.stopped), number(made.f1), verdict(made.f1 >= WANTED_F1),
        str(made.objects), number(full, ".1f"), number(full / small_f32, ".1f"), number(speed, ".1f"), verdict(speed >= WANTED_SPEED),
        f"{watched[0]:.1f} - {watched[1]:.1f}", f"{made.minutes:.1f} ({made.cpu_minutes:.1f})", verdict(made.minutes <= WANTED_MINUTES),
    )  # fmt: skip


def unguarded(path: Path, precision: str) -> NanoDetDetector:
    return load_detector(str(path), seen_imgsz(ModelSettings(str(path))), "openvino", precision)


def kept(objects: Objects, classes: tuple[str, ...]) -> Objects:
    return select(objects, np.array([coco.NAMES.index(name) for name in classes], np.int32), CONF)


if __name__ == "__main__":
    main()
