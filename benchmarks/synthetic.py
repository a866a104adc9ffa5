"""How like real cameras synthetic ones are: the same measures on train clips and on drawn cameras, side by side.

    EVERYFRAME_CACHE=cache python benchmarks/synthetic.py --write

Real clips are judged by the dense detector, synthetic ones by what stands in for it. Rates of bits and motion are those of the
coded files. `stride:2` shows the flicker: its labels are the detector's own, moved by one frame.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import process_time

import common
import numpy as np
from common import CLIPS, TRAFFIC
from numpy.typing import NDArray

from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.evaluation.dense import Dense, dense, picture_key
from everyframe.pipeline.evaluation.replay import ReplayDetector
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.fields import FieldBuilder, FieldSlot
from everyframe.pipeline.records import Slot
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.synthetic.camera import draw_camera
from everyframe.pipeline.synthetic.detections import synthetic_detections
from everyframe.pipeline.synthetic.make import Order, make_camera, make_cameras

TRAIN = (
    "pets_s2l1_ip", "highway_ip", "adl_rundle6_ip", "office_ip", "traffic_jitter_ip", "freeway_ip", "street", "crossing",
    "motorway_webcam", "walkway", "parking", "pets_s2l1_b3",
)  # fmt: skip
MOVING_PX = 0.3
POLICIES: tuple[tuple[str, str, Mode], ...] = (
    ("stride2", "stride:2", "causal"), ("stride10", "stride:10", "causal"), ("motion", "motion", "lookahead"),
)  # fmt: skip
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Measures:
    """bits_i, bits_p, bits_b: a pixel, median packet of a kind (B: NaN without). moving: share of cells that move, mean over
    the frames; intra: share coded anew in P and B frames. objects, empty: mean number of objects, share of frames without.
    stride2, stride10, motion: pooled F1 against the detections. looks: share of frames at which `motion` looks.
    spread: 90th over 50th percentile of P packets."""

    bits_i: float
    bits_p: float
    bits_b: float
    spread: float
    moving: float
    intra: float
    objects: float
    empty: float
    stride2: float
    stride10: float
    motion: float
    looks: float


TITLES = {
    "bits_i": "bits a pixel, I packets", "bits_p": "bits a pixel, P packets", "bits_b": "bits a pixel, B packets",
    "spread": "P packets: 90 % over 50 %", "moving": "moving cells", "intra": "cells coded anew, P and B",
    "objects": "objects a frame", "empty": "frames without objects", "stride2": "F1 of stride:2, causal",
    "stride10": "F1 of stride:10, causal", "motion": "F1 of motion, lookahead", "looks": "share of looks of motion",
}  # fmt: skip


def decode(video: Path, limit: int | None) -> tuple[dict[str, list[float]], NDArray[np.uint64]]:
    """Sizes by kind, moving and intra shares frame by frame, and the keys of the pictures."""
    seen: dict[str, list[float]] = {"I": [], "P": [], "B": [], "moving": [], "intra": []}
    keys: list[int] = []

    def take(slots: list[FieldSlot]) -> None:
        for slot in slots:
            frame, field = slot.slot.frame, slot.field
            keys.append(0 if frame is None else picture_key(frame.picture()))
            if frame is None or field is None or frame.picture_type == "I":
                continue
            seen["moving"].append(float((np.hypot(*np.moveaxis(field.motion, 2, 0)) > MOVING_PX).mean()))
            seen["intra"].append(float((~field.known).mean()))

    with FileSource(video) as source:
        pixels = source.info.width * source.info.height
        decoder, builder = Decoder(source), FieldBuilder(source.info)
        for packet in source.packets():
            if packet.facts.picture in seen:
                seen[packet.facts.picture].append(packet.facts.size * 8 / pixels)
            take(_pushed(builder, decoder.push(packet, True)))
            if limit is not None and len(keys) >= limit:
                break
        take([*_pushed(builder, decoder.finish()), *builder.finish()])
    return seen, np.array(keys, np.uint64)


def _pushed(builder: FieldBuilder, slots: list[Slot]) -> list[FieldSlot]:
    return [out for slot in slots for out in builder.push(slot)]


def run(
    video: Path, policy: str, mode: Mode, known: Dense, detector: NanoDetDetector, limit: int | None
) -> tuple[float, float]:
    """Pooled F1 of a policy against known detections, and its share of looks."""
    settings = LabelSettings(policy=policy, mode=mode, classes=TRAFFIC, conf=metrics.SCORE, limit=limit)
    found, stats = common.labelled(LocalEngine(ReplayDetector(known, detector)), video, settings)
    classes = np.array([detector.names.index(name) for name in TRAFFIC], np.int32)
    groups = metrics.group_table(detector.supercategory)
    shown = [metrics.select(objects, classes) for objects in known.frames[: len(found)]]
    return metrics.agree([metrics.select(o, classes) for o in found], shown, groups).f1, stats.cnn_frames / max(
        1, len(found)
    )


def measure(
    video: Path, known: list[Objects] | None, detector: NanoDetDetector, limit: int | None
) -> Measures:
    """known: detections of a synthetic clip, None for a real one."""
    seen, keys = decode(video, limit)
    if known is None:
        reference = dense(str(video), detector, limit, measure=False)
    else:
        reference = Dense(known[: len(keys)], keys, None)
    counts = [int((o.score >= metrics.SCORE).sum()) for o in reference.frames]
    scores = {key: run(video, policy, mode, reference, detector, limit) for key, policy, mode in POLICIES}
    kinds = {kind: float(np.median(seen[kind])) if seen[kind] else float("nan") for kind in "IPB"}
    high = float(np.quantile(seen["P"], 0.9)) if seen["P"] else float("nan")
    return Measures(
        kinds["I"], kinds["P"], kinds["B"], high / kinds["P"], float(np.mean(seen["moving"])), float(np.mean(seen["intra"])),
        float(np.mean(counts)), float(np.mean(np.array(counts) == 0)), *(scores[key][0] for key, *_ in POLICIES),
        scores["motion"][1],
    )  # fmt: skip


def table(real: Sequence[Measures], drawn: Sequence[Measures]) -> str:
    heads = ("measure", *(f"{side}: {q:.0%}" for side in ("train clips", "synthetic") for q in QUANTILES))
    rows = []
    for field in fields(Measures):
        cells = [
            common.number(float(np.nanquantile([getattr(m, field.name) for m in side], q)))
            for side in (real, drawn)
            for q in QUANTILES
        ]
        rows.append((TITLES[field.name], *cells))
    return common.markdown(heads, rows)


def speed(seed: int) -> str:
    """Rendered, coded and written: frames a second of CPU time on one thread."""
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        make_camera(draw_camera(seed, 0, 2, (640, 360), 25), Path(folder))  # compiles
        for index in range(12):
            camera = draw_camera(seed, index, 10, (640, 360), 25)
            start = process_time()
            make_camera(camera, Path(folder))
            rates.append(camera.frames / (process_time() - start))
    return f"{len(rates)} cameras of 640x360, 10 s each: {np.median(rates):.0f} frames a second (least {min(rates):.0f})"


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--cameras", type=int, default=20)
    made.add_argument("--seconds", type=float, default=25.0)
    made.add_argument("--seed", type=int, default=7)
    made.add_argument("--again", action="store_true", help="measure also what is known from an earlier run")
    made.add_argument("--each", action="store_true", help="print every clip and camera too")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    detector = load_detector(runtime=options.runtime, precision=options.precision)
    store = common.Store(common.ROOT / "build" / "synthetic.jsonl", options.again)
    real, drawn = [], []
    for name in TRAIN:
        key = ("clip", name, options.limit)
        row = store.get(
            key, lambda name=name: asdict(measure(CLIPS[name].path, None, detector, options.limit))
        )
        real.append(Measures(**row))
        if options.each:
            common.tell(f"{name}: {_short(real[-1])}")
    with tempfile.TemporaryDirectory() as folder:
        order = Order(options.cameras, options.seconds, options.seed)
        for number, video in enumerate(make_cameras(order, Path(folder))):
            key = ("camera", options.seed, number, options.seconds, options.limit)
            row = store.get(
                key,
                lambda video=video: asdict(
                    measure(video, synthetic_detections(video), detector, options.limit)
                ),
            )
            drawn.append(Measures(**row))
            if options.each:
                common.tell(f"{video.stem}: {_short(drawn[-1])}")
    text = f"{len(real)} train clips, {len(drawn)} synthetic cameras of {options.seconds:g} s, quantiles over them\n\n"
    common.publish("synthetic", f"{text}{table(real, drawn)}\n\nSpeed: {speed(options.seed)}", options.write)


def _short(measures: Measures) -> str:
    return ", ".join(f"{field.name} {getattr(measures, field.name):.3f}" for field in fields(Measures))


if __name__ == "__main__":
    main()
