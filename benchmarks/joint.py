"""Single steps of compression against steps taken together, at equal accuracy.

    python benchmarks/joint.py --write               # trains (an hour and more in one thread), judges; goes on where it stopped
    python benchmarks/joint.py --time-only --write   # the times alone, of models that are there: some minutes, on a quiet machine

The single steps: a smaller input, int8, pruned channels, decomposed convolutions (both learn again from the full model). The
joint ones take two to four of these. All learn and are calibrated on the same pictures of the training cameras, for the same number
of steps. F1 is pooled over pictures, people and vehicles, score 0.45, against the full model in f32 at 640: on later pictures of the
training cameras, and on the validation cameras, which nothing was learned from. Times are CPU ms of one look in one thread, OpenVINO,
f32 or int8, all models in turns on the same pictures.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import common
from common import CLIPS, VALIDATION, number
from compressed import GROUPS, kept

from everyframe.operators.compress.distil import Course, distil
from everyframe.operators.compress.quantize import quantize
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.compression.judge import HEIGHT, WIDTH, timed
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.recipe import Recipe, inputs_of, shrink
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.metrics import agree
from everyframe.pipeline.models import LoadedDetector
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sinks.files import write_whole

LEARN, LATER = Part(0.0, 0.8), Part(0.8, 1.0)
TAUGHT_BY, LATER_BY, OTHERS_BY = 60, 8, 20
"""Pictures of each clip: to learn from, to judge by on the same cameras, and on the others."""
CALIBRATION = 100
SIZES = (576, 512, 416)
LEVELS = (0.95, 0.9, 0.85, 0.8)
TIMED = 6
RATE = 5e-4
TRAINED = tuple(
    name for name, clip in CLIPS.items()
    if name not in VALIDATION and not name.endswith("_b3")  # the same pictures as `_ip`
)  # fmt: skip
SHAPES = {
    "full": Recipe(int8=False),
    "prune 0.25": Recipe(prune=0.25, int8=False),
    "tucker 0.9": Recipe(decompose=("tucker", 0.9), int8=False),
    "prune 0.25, tucker 0.9": Recipe(prune=0.25, decompose=("tucker", 0.9), int8=False),
    "prune 0.375": Recipe(prune=0.375, int8=False),
}
FAMILIES = ("smaller input", "int8", "prune", "decompose", "joint")


@dataclass(frozen=True, slots=True)
class Variant:
    """One row: a net of `SHAPES`, in float or int8, at an input size."""

    shape: str
    int8: bool
    imgsz: int

    @property
    def text(self) -> str:
        parts = ([] if self.shape == "full" else [self.shape]) + (["int8"] if self.int8 else [])
        return ", ".join([*parts, *([f"input {self.imgsz}"] if self.imgsz != 640 else [])]) or "full"

    @property
    def family(self) -> str:
        recipe = SHAPES[self.shape]
        taken = [self.imgsz != 640, self.int8, recipe.prune > 0, recipe.decompose is not None]
        if not any(taken):
            return "full"
        return "joint" if sum(taken) > 1 else FAMILIES[taken.index(True)]


def variants(shapes: Sequence[str]) -> list[Variant]:
    """All that is measured: the trained nets at one size in float, and everything else in int8 at each."""
    found = [Variant(shape, False, 640) for shape in shapes]
    found += [Variant("full", False, size) for size in SIZES]
    return found + [Variant(shape, True, size) for shape, size in product(shapes, (640, *SIZES))]


def main() -> None:
    options = parsed()
    common.need_data()
    common.one_thread()
    shapes = options.shape or list(SHAPES)
    rows = variants(shapes)
    if not options.time_only:
        make_all(shapes, options.steps, options.models)
        judge_all(rows, options)
    if options.time_only or options.times:
        time_all(rows, options)
    publish(rows, options)


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--steps", type=int, default=400, help="of learning, for each net that learns")
    made.add_argument("--shape", action="append", choices=list(SHAPES), help="may be repeated; default: all")
    return with_models(made, "joint")


def with_models(made: argparse.ArgumentParser, folder: str) -> argparse.Namespace:
    """The options of benchmarks that make models and keep them. folder: in the cache folder, by default."""
    made.add_argument("--models", type=Path, default=cache_dir() / folder, help="folder of the models and results")
    made.add_argument("--time-only", action="store_true", help="times of models that are there")
    made.add_argument("--times", action="store_true", help="times as well")
    made.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    options = made.parse_args()
    options.models.mkdir(parents=True, exist_ok=True)
    return options


def file_of(shape: str, int8: bool, steps: int, folder: Path) -> Path:
    name = shape.replace(", ", "-").replace(" ", "")
    return folder / f"{name}{'' if shape == 'full' else f'-{steps}'}{'-int8' if int8 else ''}.safetensors"


def model_of(row: Variant, steps: int, folder: Path) -> str:
    return "full" if row.shape == "full" and not row.int8 else str(file_of(row.shape, row.int8, steps, folder))


def make_all(shapes: Sequence[str], steps: int, folder: Path) -> None:
    """Nets that are not there yet, in float and in int8."""
    wanted = [file_of(shape, int8, steps, folder) for shape in shapes for int8 in (False, True)]
    if all(path.is_file() for path in wanted):
        return
    pictures = read_pictures([str(CLIPS[name].path) for name in TRAINED], TAUGHT_BY, LEARN, common.tell)
    inputs = inputs_of(pictures, 640, CALIBRATION)
    teacher = weights.load_nanodet(weights.read("full"), "full")
    for shape in shapes:
        path, rounded = file_of(shape, False, steps, folder), file_of(shape, True, steps, folder)
        if not path.is_file():
            write_whole(path, weights.pack(taught(shape, teacher, pictures, steps, path), {"recipe": shape}))
        if not rounded.is_file():
            common.tell(f"{shape}: int8")
            net = weights.load_nanodet(path.read_bytes(), shape)
            write_whole(rounded, weights.pack(quantize(net, inputs), {"recipe": f"{shape}, int8"}))


def taught(shape: str, teacher: NanoDet, pictures: Sequence[Sequence[U8]], steps: int, path: Path) -> NanoDet:
    if shape == "full":
        return teacher

    def tell(step: int, share: float, loss: float) -> None:
        common.tell(f"{shape}: step {step} of {steps}, loss {loss:.3f}")

    checkpoint = path.with_suffix(".ckpt")
    net = distil(shrink(teacher, SHAPES[shape]), teacher, pictures, Course(steps, checkpoint=checkpoint, rate=RATE), tell)
    checkpoint.unlink(missing_ok=True)
    return net


def opened(row: Variant, options: argparse.Namespace) -> LoadedDetector:
    model = model_of(row, options.steps, options.models)
    settings = ModelSettings(model, row.imgsz, "openvino", "int8" if row.int8 else "f32")
    return open_detector(settings, WIDTH, HEIGHT)


def judge_all(rows: Sequence[Variant], options: argparse.Namespace) -> None:
    """F1 of each variant that has none yet, on both sets of pictures."""
    store = Kept(options.models / f"accuracy-{options.steps}.json")
    missing = [row for row in rows if row.text not in store.rows]
    if not missing:
        return
    sets = (
        read_pictures([str(CLIPS[name].path) for name in TRAINED], LATER_BY, LATER),
        read_pictures([str(CLIPS[name].path) for name in VALIDATION], OTHERS_BY),
    )
    full = open_detector(ModelSettings("full", 640, "openvino", "f32"), WIDTH, HEIGHT)
    wanted = [looks(full, pictures) for pictures in sets]
    for row in missing:
        detector = opened(row, options)
        f1 = [agree(looks(detector, part), asked, GROUPS).f1 for part, asked in zip(sets, wanted, strict=True)]
        store.put(row.text, f1)
        common.tell(f"{row.text}: {f1[0]:.3f} {f1[1]:.3f}")


def looks(detector: LoadedDetector, pictures: Sequence[Sequence[U8]]) -> list[Objects]:
    return [kept(detector.detect(picture)) for video in pictures for picture in video]


def time_all(rows: Sequence[Variant], options: argparse.Namespace) -> None:
    pictures = [video[0] for video in read_pictures([str(CLIPS[name].path) for name in VALIDATION], 1)][:TIMED]
    spent = timed([opened(row, options) for row in rows], pictures)
    store = Kept(options.models / f"times-{options.steps}.json")
    for row, ms in zip(rows, spent, strict=True):
        store.put(row.text, [ms])


class Kept:
    """Results by row, in a file that is whole after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[str, list[float]] = json.loads(path.read_text()) if path.is_file() else {}

    def put(self, row: str, values: Sequence[float]) -> None:
        self.rows[row] = list(values)
        write_whole(self._path, json.dumps(self.rows).encode())

    def column(self, at: int) -> Callable[[Variant], float]:
        return lambda row: self.rows.get(row.text, [math.nan] * 2)[at]


def publish(rows: Sequence[Variant], options: argparse.Namespace) -> None:
    """The table of all, and the fastest of each family at equal accuracy."""
    accuracy = Kept(options.models / f"accuracy-{options.steps}.json")
    same, other = accuracy.column(0), accuracy.column(1)
    ms = Kept(options.models / f"times-{options.steps}.json").column(0)
    base = ms(Variant("full", False, 640))
    ordered = sorted(rows, key=lambda row: (["full", *FAMILIES].index(row.family), -other(row)))
    sizes = {row: Path(file_of(row.shape, row.int8, options.steps, options.models)).stat().st_size / 1e6 for row in rows}
    lines = [
        (row.family, row.text, number(sizes[row], ".1f"), number(same(row)), number(other(row)), shown(ms(row), ".1f"), shown(base / ms(row), ".2f"))
        for row in ordered
    ]  # fmt: skip
    heads = ("family", "steps", "MB", "F1, same cameras, later", "F1, validation cameras", "CPU ms", "faster")
    text = common.markdown(heads, lines)
    for name, f1 in (("the validation cameras", other), ("the same cameras, later", same)):
        best = [[fastest(rows, family, level, f1, ms, base) for family in FAMILIES] for level in LEVELS]
        table = [(f"{level:.2f}", *cells) for level, cells in zip(LEVELS, best, strict=True)]
        text += f"\n\nFastest of each family with this F1 or more on {name}:\n\n" + common.markdown(("F1", *FAMILIES), table)
    common.publish("joint", text, options.write)


def shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def fastest(
    rows: Sequence[Variant], family: str, level: float, f1: Callable[[Variant], float], ms: Callable[[Variant], float], base: float
) -> str:
    good = [row for row in rows if row.family == family and f1(row) >= level and not math.isnan(ms(row))]
    if not good:
        return "-"
    best = min(good, key=ms)
    return f"{base / ms(best):.2f} x ({best.text}, {f1(best):.3f})"


if __name__ == "__main__":
    main()
