"""Each method of making the detector smaller, alone, at equal size: before any learning and after some.

    python benchmarks/compress_methods.py --write               # makes, teaches and judges; goes on where it stopped
    python benchmarks/compress_methods.py --time-only --write   # the times alone, of nets that are there, on a quiet machine

Equal size: each method's own number is searched for the largest net with at most this share of the full model's multiplications; large
blocks of channels jump below it. VBMF has no number, so its rows have the size that comes out. Single weights at zero are as many as the other methods leave out. Pictures that
importance is found on, and that are learned from, are of the training cameras. F1 is pooled over pictures, people and vehicles, score
0.45, against the full model in f32 at 640: on later pictures of the training cameras, and on the validation cameras. Times are CPU
ms of one look in one thread, OpenVINO, f32, all nets in turns on the same pictures, what they find left out.

CP is not here: it takes minutes for each large layer.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import common
from common import CLIPS, VALIDATION, number
from compressed import GROUPS
from joint import LATER, LATER_BY, LEARN, OTHERS_BY, RATE, TAUGHT_BY, TRAINED, Kept, looks, shown, with_models

from everyframe.operators.compress.decompose import Keep, Method, decompose
from everyframe.operators.compress.distil import Course, distil
from everyframe.operators.compress.importance import PICTURES, Importance
from everyframe.operators.compress.prune import macs, prune, zero_least
from everyframe.operators.compress.teach import silenced
from everyframe.operators.compress.thin import MOST, thin
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.detector import NanoDetDetector
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.runtimes import make_runtime
from everyframe.operators.types import F32, U8, Objects
from everyframe.pipeline.compression.judge import CONF, timed
from everyframe.pipeline.compression.pictures import read_pictures
from everyframe.pipeline.compression.recipe import inputs_of
from everyframe.pipeline.metrics import agree
from everyframe.pipeline.sinks.files import write_whole

STEPS, SHARE = 300, 0.75
SEARCHED = 6
"""Halvings of a method's range."""
FULL = "full"
TIMED = 4
Make = Callable[[NanoDet, float, Sequence[F32]], NanoDet]


@dataclass(frozen=True, slots=True)
class Way:
    """A method with one number, from the one that takes most to the one that takes least; none where the two are equal."""

    make: Make
    smallest: float
    largest: float
    learns: bool = True


def pruned(importance: Importance, block: int) -> Way:
    return Way(lambda net, share, shown: prune(net, share, block, importance, shown), 0.8, 0.0)


def thinned(importance: Importance) -> Way:
    return Way(lambda net, share, shown: thin(net, share, importance, shown)[0], MOST, 0.0)


def decomposed(method: Method, keep: Keep | None = None) -> Way:
    ends = (0.3, 0.98) if keep is None else (0.0, 0.0)
    return Way(lambda net, energy, _: decompose(net, method, energy if keep is None else keep)[0], *ends)


WAYS = {
    "channels by magnitude, blocks of 8": pruned("magnitude", 8),
    "channels by scale, blocks of 8": pruned("scale", 8),
    "channels by taylor, blocks of 8": pruned("taylor", 8),
    "channels by taylor, blocks of 4": pruned("taylor", 4),
    "channels by taylor, blocks of 16": pruned("taylor", 16),
    "channels by taylor, blocks of 32": pruned("taylor", 32),
    "rows and columns by magnitude": thinned("magnitude"),
    "rows and columns by taylor": thinned("taylor"),
    "tucker": decomposed("tucker"),
    "tensor train": decomposed("tt"),
    "tensor ring": decomposed("tr"),
    "block terms": decomposed("btd"),
    "tucker, vbmf": decomposed("tucker", "vbmf"),
    "tensor ring, vbmf": decomposed("tr", "vbmf"),
    "single weights at zero": Way(lambda net, share, _: zero_least(net, share), 0.0, 0.0, learns=False),
}


def main() -> None:
    options = parsed()
    common.need_data()
    common.one_thread()
    names = options.way or list(WAYS)
    if not (options.time_only or options.table_only):
        work = Work(options)
        for name in names:
            work.do(name)
    if options.time_only or options.times:
        time_all(names, options)
    publish(names, options)


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--steps", type=int, default=STEPS, help=f"of learning, 0 for none; default: {STEPS}")
    made.add_argument("--share", type=float, default=SHARE, help=f"of the full model's multiplications; default: {SHARE}")
    made.add_argument("--way", action="append", choices=list(WAYS), help="may be repeated; default: all")
    made.add_argument("--table-only", action="store_true", help="the table of what is there")
    return with_models(made, "methods")


def file_of(name: str, steps: int, options: argparse.Namespace) -> Path:
    found: Path = options.models / f"{name.replace(', ', '-').replace(' ', '-')}-{options.share:g}-{steps}.safetensors"
    return found


def results(options: argparse.Namespace) -> Kept:
    """By method and steps: F1 on the same cameras and on others; by method alone: seconds to make it, and its number."""
    return Kept(options.models / f"results-{options.share:g}.json")


class Work:
    """Makes, teaches and judges; pictures are read once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._full = weights.load_nanodet(weights.read("full"), "full")
        self._learn: list[list[U8]] = []
        self._sets: list[list[list[U8]]] = []
        self._wanted: list[list[Objects]] = []

    def do(self, name: str) -> None:
        """Whatever of a row is not there yet."""
        last = self._options.steps if WAYS[name].learns else 0
        for steps in sorted({0, last}):
            path = file_of(name, steps, self._options)
            if not path.is_file():
                self._make(name, steps, path)
            store = results(self._options)
            if f"{name}, {steps}" not in store.rows:
                f1 = self._judge(weights.load_nanodet(path.read_bytes(), name))
                store.put(f"{name}, {steps}", f1)
                common.tell(f"{name}, {steps} steps: {f1[0]:.3f} {f1[1]:.3f}")

    def _make(self, name: str, steps: int, path: Path) -> None:
        self._learn = self._learn or read_pictures([str(CLIPS[clip].path) for clip in TRAINED], TAUGHT_BY, LEARN)
        if not steps:
            start = process_time()
            net, value = sized(WAYS[name], self._full, inputs_of(self._learn, 640, PICTURES), self._options.share)
            results(self._options).put(name, [process_time() - start, value])
            common.tell(f"{name} {value:.3f}: {macs(net):.2f}")
        else:
            net = weights.load_nanodet(file_of(name, 0, self._options).read_bytes(), name)
            checkpoint = path.with_suffix(".ckpt")
            course = Course(steps, checkpoint=checkpoint, rate=RATE)
            net = distil(net, self._full, self._learn, course, lambda step, _, loss: common.tell(f"{name}: step {step}, {loss:.3f}"))
            checkpoint.unlink(missing_ok=True)
        write_whole(path, weights.pack(net, {"recipe": name}))

    def _judge(self, net: NanoDet) -> list[float]:
        if not self._sets:
            self._sets = [
                read_pictures([str(CLIPS[clip].path) for clip in TRAINED], LATER_BY, LATER),
                read_pictures([str(CLIPS[clip].path) for clip in VALIDATION], OTHERS_BY),
            ]
            full = opened(self._full)
            self._wanted = [looks(full, part) for part in self._sets]
        detector = opened(net)
        return [agree(looks(detector, part), wanted, GROUPS).f1 for part, wanted in zip(self._sets, self._wanted, strict=True)]


def sized(way: Way, full: NanoDet, shown: Sequence[F32], share: float) -> tuple[NanoDet, float]:
    """The largest net of a method with at most that share of the multiplications, and the number that gives it."""
    if way.smallest == way.largest:
        value = way.smallest if way.learns else 1 - share
        return way.make(full, value, shown), value
    most = share * macs(full)
    best, value = way.make(full, way.smallest, shown), way.smallest
    low, high = way.smallest, way.largest
    for _ in range(SEARCHED):
        middle = (low + high) / 2
        net = way.make(full, middle, shown)
        if macs(net) <= most:
            low = middle
            best, value = (net, middle) if macs(net) > macs(best) else (best, value)
        else:
            high = middle
    return best, value


def opened(net: NanoDet) -> NanoDetDetector:
    return NanoDetDetector(make_runtime(net, "openvino", "f32", "cpu", 1), net, "net", "net", 640, CONF)


def time_all(names: Sequence[str], options: argparse.Namespace) -> None:
    """Nets that say nothing: one that has not learned sees things everywhere, and sorting these would be timed."""
    pictures = [video[0] for video in read_pictures([str(CLIPS[name].path) for name in VALIDATION], 1)][:TIMED]
    files = {name: path for name in names if (path := file_of(name, 0, options)).is_file()}
    nets = {FULL: weights.load_nanodet(weights.read("full"), "full")}
    nets |= {name: weights.load_nanodet(path.read_bytes(), name) for name, path in files.items()}
    spent = timed([opened(silenced(net, ())) for net in nets.values()], pictures)
    store = Kept(options.models / f"times-{options.share:g}.json")
    for name, ms in zip(nets, spent, strict=True):
        store.put(name, [ms])


def publish(names: Sequence[str], options: argparse.Namespace) -> None:
    store, times = results(options), Kept(options.models / f"times-{options.share:g}.json")

    def f1(name: str, steps: int, at: int) -> str:
        return shown(store.rows.get(f"{name}, {steps}", [math.nan] * 2)[at], ".3f")

    def ms(name: str) -> float:
        return times.rows.get(name, [math.nan])[0]

    full = weights.load_nanodet(weights.read("full"), "full")
    rows = []
    for name in (FULL, *names):
        path = file_of(name, 0, options)
        if name != FULL and not path.is_file():
            continue
        net = full if name == FULL else weights.load_nanodet(path.read_bytes(), name)
        last = options.steps if name != FULL and WAYS[name].learns else -1
        after = [f1(name, last, 0), f1(name, last, 1)] if options.steps else []
        size = sum(int((p != 0).sum()) for p in net.parameters()) / 1e6
        rows.append((
            name, number_of(name, store), number(macs(net) / macs(full), ".2f"), number(size, ".2f"), f1(name, 0, 0), f1(name, 0, 1), *after,
            shown(ms(name), ".1f"), shown(ms(FULL) / ms(name), ".2f"),
        ))  # fmt: skip
    after = [f"after {options.steps} steps, same cameras", f"after {options.steps} steps, validation cameras"] if options.steps else []
    heads = ("method", "its number", "multiplications", "weights, million", "F1, same cameras", "F1, validation cameras", *after, "CPU ms",
             "faster")  # fmt: skip
    common.publish("compress-methods", common.markdown(heads, rows), options.write)


def number_of(name: str, store: Kept) -> str:
    """What was chosen so that the size is right, in a table."""
    if name == FULL or (WAYS[name].learns and WAYS[name].smallest == WAYS[name].largest):
        return "-"
    return format(store.rows[name][1], ".3f")


if __name__ == "__main__":
    main()
