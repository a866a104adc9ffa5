"""What does the rung `flow` bring, and at what price? On `pets_s2l1_ip` and the validation cameras, causal.

    python benchmarks/flow.py --write            # figures to reach
    python benchmarks/flow.py --parts --write    # what each part of it wins; minutes

Accuracy comes from known detections in place of the CNN on key frames of `stride`; `flow` runs its net on every frame.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from time import process_time

import common
import numpy as np
from common import CLIPS, TRAFFIC, Clip, number

from everyframe.operators.base import Prices
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.flow import operator as rung
from everyframe.operators.flow.memory import Memory, Rect
from everyframe.operators.flow.weights import FIRST, save_weights
from everyframe.operators.flow.windows import price
from everyframe.operators.types import F32
from everyframe.pipeline import evaluation
from everyframe.pipeline.evaluation.rows import Row
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.labelling.ladder import Ladder
from everyframe.pipeline.labelling.tracks import TrackKeeper, class_tables
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.metrics import SCORE
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource

NAMES = (
    "pets_s2l1_ip", "fall_ip", "freeway720", "plaza", "room", "valley_webcam", "one_by_one_person", "dashcam_dusk",
)  # fmt: skip
EVERY = 10
COST_FRAMES = 120
REPEATS = 15
MOST_COST, LEAST_GAIN = 0.35, 0.01


class Forgetful(Memory):
    """Keeps no layers: a rectangle is a cut-out, with zeros around it in every layer."""

    def update(self, pixels: F32, rect: Rect) -> None:
        for step in self._steps:
            step.target.values.zero_()
        for layer in (self._input, self._stem, self._pool, *self.maps):
            layer.values.zero_()
        super().update(pixels, rect)


@contextmanager
def weights_by_hand() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "first.safetensors")
        save_weights(FIRST, path)
        os.environ["EVERYFRAME_FLOW_WEIGHTS"] = path
        try:
            yield
        finally:
            del os.environ["EVERYFRAME_FLOW_WEIGHTS"]


@contextmanager
def nothing_kept() -> Iterator[None]:
    kept = rung.Memory
    rung.Memory = Forgetful  # type: ignore[misc]
    try:
        yield
    finally:
        rung.Memory = kept  # type: ignore[misc]


def figure(row: Row) -> float:
    return row.f1_dense if row.f1_truth is None else row.f1_truth


def rows_of(clip: Clip, policies: tuple[str, ...], settings: LabelSettings) -> list[Row]:
    return evaluation.evaluate(
        str(clip.path), policies, settings, truth=clip.truth_path, labelled=clip.labelled, measure=False
    )


def cost(clip: Clip, detector: NanoDetDetector) -> tuple[float, float, float]:
    """CPU ms of one frame, medians in turn in one process: of `detect`; of `flow` with all that it does on a frame; and
    of a key frame, relative to `detect`."""
    groups, _ = class_tables(detector, ())
    ladder, keeper = Ladder(detector, ("flow",), Prices(), Meter()), TrackKeeper(groups, SCORE)
    spent: dict[str, list[float]] = {"dense": [], "flow": [], "detect": []}
    with FileSource(str(clip.path)) as source:
        for index, item in zip(range(COST_FRAMES), field_slots(source), strict=False):
            assert item.slot.frame is not None and item.field is not None
            picture = item.slot.frame.picture()
            view = replace(ladder.view(item.slot.frame, item.field), picture=lambda picture=picture: picture)
            keeper.state = keeper.state.moved(ladder.propagate(view, keeper.state.objects))
            name = "flow" if index % EVERY else "detect"
            start = process_time()
            ladder.follow(view)
            objects, _ = ladder.look(name, view, keeper.state.objects)
            spent[name].append((process_time() - start) * 1e3)
            keeper.take(objects, index)
            start = process_time()
            detector.detect(picture)
            spent["dense"].append((process_time() - start) * 1e3)
    dense = median(spent["dense"])
    # A mean over rectangles of all sizes, each against the look at the same picture.
    pairs = [i for i in range(len(spent["dense"])) if i % EVERY]
    share = median(np.array(spent["flow"]).reshape(-1, EVERY - 1).mean(1) / np.array([
        mean(spent["dense"][i : i + EVERY - 1]) for i in pairs[:: EVERY - 1]
    ]))  # fmt: skip
    return dense, share * dense, median(spent["detect"][1:]) / dense


def targets(settings: LabelSettings, detector: NanoDetDetector) -> str:
    lines, gains = [], []
    for name in NAMES:
        common.tell(name)
        moved, flow, region = rows_of(CLIPS[name], (f"stride:{EVERY}", f"flow:{EVERY}", f"region:{EVERY}"), settings)
        dense, each, key = cost(CLIPS[name], detector)
        gains.append(figure(flow) - figure(moved))
        lines.append((
            name, "f1_dense" if flow.f1_truth is None else "f1_truth", number(figure(moved)), number(figure(flow)),
            number(figure(region)), number(moved.f1_dense), number(flow.f1_dense), number(dense, ".1f"),
            number(each / dense, ".2f"), number(key, ".2f"), number(flow.partial_fraction, ".0%"),
        ))  # fmt: skip
    heads = (
        "clip", "figure", "stride:10", "flow:10", "region:10", "stride:10 f1_dense", "flow:10 f1_dense", "CNN, ms",
        "flow / CNN", "key / CNN", "frames renewed in part",
    )  # fmt: skip
    shares = [float(line[8]) for line in lines]
    checks = [
        ("flow for each frame / CNN part of detect, the dearest clip", max(shares), "≤", MOST_COST),
        ("flow:10 less stride:10, the worst clip", min(gains), "≥", 0.0),
        ("flow:10 less stride:10, mean", mean(gains), "≥", LEAST_GAIN),
    ]
    met = [
        (text, number(value), f"{sign} {bound:g}", "yes" if (value <= bound if sign == "≤" else value >= bound) else "**no**")
        for text, value, sign, bound in checks
    ]
    return common.markdown(("figure", "value", "must reach", "met"), met) + "\n\n" + common.markdown(heads, lines)


def parts(settings: LabelSettings, detector: NanoDetDetector) -> str:
    lines = []
    for name in NAMES:
        common.tell(name)
        clip = CLIPS[name]
        moved, flow = rows_of(clip, ("stride:10", "flow:10"), settings)
        with weights_by_hand():
            (hand,) = rows_of(clip, ("flow:10",), settings)
        with nothing_kept():
            (cut,) = rows_of(clip, ("flow:10",), settings)
        lines.append([row.f1_dense for row in (moved, flow, hand, cut)])
    shown = [(name, *(number(v) for v in line)) for name, line in zip(NAMES, lines, strict=True)]
    shown.append(("mean", *(number(float(v)) for v in np.mean(lines, 0))))
    heads = ("f1_dense", "boxes moved (stride:10)", "flow:10", "quality guessed by hand", "cut-outs: no layers kept")
    return common.markdown(heads, shown) + "\n\n" + prices(detector)


def prices(detector: NanoDetDetector) -> str:
    """What renewing a rectangle costs, of the whole net's time, beside the price that the rung reckons with."""
    memory, grid = Memory(detector.net, 12, 20), (12, 20)
    picture = np.random.default_rng(0).integers(0, 256, (384, 640, 3), np.uint8)
    prepared = detector.prepare(picture)
    memory.update(prepared.input, memory.whole)
    lines = []
    for cols, rows in ((4, 4), (6, 4), (6, 6), (8, 6), (8, 8), (12, 8), (20, 12)):
        part = np.ascontiguousarray(prepared.input[:, : rows * 32, : cols * 32])
        whole, some = [], []
        for _ in range(REPEATS):
            start = process_time()
            detector.infer(prepared)
            middle = process_time()
            memory.update(part, (0, 0, cols, rows))
            memory.head((0, 0, cols, rows))
            whole.append(middle - start)
            some.append(process_time() - middle)
        ratio = number(median(some) / median(whole), ".2f")
        lines.append((f"{cols * 32}x{rows * 32}", ratio, number(price(cols, rows, grid), ".2f")))
    return common.markdown(("rectangle of 640x384", "measured / whole net", "reckoned"), lines)


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--parts", action="store_true", help="what each part wins, in place of the figures to reach")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    settings = LabelSettings(
        mode="causal", classes=TRAFFIC, limit=options.limit, model=common.model_of(options)
    )
    detector = load_detector(runtime=options.runtime, precision=options.precision)
    if options.parts:
        common.publish("flow parts", parts(settings, detector), options.write)
    else:
        common.publish("flow", targets(settings, detector), options.write)


if __name__ == "__main__":
    main()
