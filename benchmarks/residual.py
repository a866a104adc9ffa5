"""What does the rung `residual` cost, where the picture changes more or less, and what does it lose?

    python benchmarks/residual.py --write
    python benchmarks/residual.py --picture docs/operators/residual.jpg

The first table needs no clips: backbone and neck at 640x384 against the dense net in torch f32, one thread, both measured in
turns. Some tiles of a textured picture are replaced by another texture: in clusters, as objects are, or anywhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import process_time

import common
import cv2
import numpy as np
from common import CLIPS, TRAFFIC, number

from everyframe.operators.base import Prices
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.detectors.letterbox import fit, resize
from everyframe.operators.residual.executor import TILE, Executor, Limits
from everyframe.operators.residual.graph import graph_of
from everyframe.operators.residual.operator import LIMITS, MOST_ACTIVE, Residual, levels
from everyframe.operators.types import U8, Bool, Objects, View
from everyframe.pipeline import evaluation
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.demo import fetch_clip
from everyframe.pipeline.evaluation.dense import plain_slots
from everyframe.pipeline.labelling.scene import moving_scene
from everyframe.pipeline.settings import LabelSettings

WIDTH, HEIGHT = 640, 384
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 1.0)
TARGETS = {0.02: 0.2, 0.2: 0.5, 1.0: 1.1}
ROUNDS = 5
OBJECT = ((2, 7), (2, 5))  # rows and columns of tiles of a cluster, from and below
CLIP_NAMES = (
    "pets_s2l1_ip", "one_by_one_person", "highway_ip", "street", "adl_rundle6_ip", "parking", "fall_ip", "room",
    "dashcam_day", "dashcam_dusk",
)  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__ or "")
    common.add_clips(parser, ", ".join(CLIP_NAMES))
    parser.add_argument("--picture", help="write the picture of active tiles to this file, and nothing else")
    options = parser.parse_args()
    common.one_thread()
    if options.picture:
        common.need_data()
        draw(options.picture)
        return
    parts = [micro(load_detector())]
    if common.DATA.is_dir():
        parts += [by_share(load_detector()), clips(options)]
    common.publish("residual", "\n\n".join(parts), options.write)


def micro(detector: NanoDetDetector) -> str:
    """Backbone and neck against the dense ones, by share of the tiles that changed."""
    ground = moving_scene(WIDTH, HEIGHT, 0)[0].picture
    assert ground is not None
    base = ground()
    other = np.ascontiguousarray(base[::-1, ::-1])
    size = (WIDTH, HEIGHT)
    executor = Executor(graph_of(detector.net), *size, size, levels())
    prepared = detector.prepare(base)
    assert prepared.input.shape[1:3] == (HEIGHT, WIDTH)
    lines = []
    for share in SHARES:
        ratios: dict[tuple[str, Limits], list[float]] = {}
        for round_ in range(ROUNDS):
            for kind in ("clusters", "anywhere"):
                mask = tiles(kind, share, np.random.default_rng(round_))
                picture = np.where(np.kron(mask, np.ones((TILE, TILE), np.bool_))[:, :, None], other, base)
                for limits in (LIMITS, Limits()):
                    executor.run_whole(base, heads=False)
                    ours = cpu_ms(lambda p=picture, at=limits: step(detector, executor, p, at))
                    dense = cpu_ms(lambda: detector.features(prepared))
                    ratios.setdefault((kind, limits), []).append(ours / dense)
        medians = [float(np.median(values)) for values in ratios.values()]
        target = number(TARGETS.get(share), ".1f")
        lines.append((f"{share:.0%}", *(f"{value:.2f}" for value in medians), target))
    heads = ("tiles changed", "clusters", "clusters, exact", "anywhere", "anywhere, exact", "at most")
    text = f"Backbone and neck, time against dense (torch f32, one thread), median of {ROUNDS}."
    return f"{text}\n\n{common.markdown(heads, lines)}"


def step(detector: NanoDetDetector, executor: Executor, picture: U8, limits: Limits) -> None:
    """One frame as the rung does it: from a certain share on the dense net runs instead."""
    if executor.load(picture, limits.tile) >= MOST_ACTIVE:
        detector.features(detector.prepare(picture))
    else:
        executor.run(limits.cell, heads=False)


def tiles(kind: str, share: float, rng: np.random.Generator) -> Bool:
    """A share of the tiles, in clusters or anywhere."""
    mask = np.zeros((HEIGHT // TILE, WIDTH // TILE), np.bool_)
    wanted = max(1, round(share * mask.size))
    if kind == "anywhere" or share == 1:
        mask.ravel()[rng.permutation(mask.size)[:wanted]] = True
        return mask
    while (left := wanted - int(mask.sum())) > 0:
        h, w = (int(rng.integers(*sides)) for sides in OBJECT)
        if h * w > left:
            h, w = 1, left if left < OBJECT[1][1] else 1
        y, x = int(rng.integers(mask.shape[0] - h + 1)), int(rng.integers(mask.shape[1] - w + 1))
        mask[y : y + h, x : x + w] = True
    return mask


def by_share(detector: NanoDetDetector, frames: int = 100) -> str:
    """Backbone and neck on real frames, by share of the tiles that changed."""
    rows: list[tuple[float, float]] = []
    for name in CLIP_NAMES:
        executor: Executor | None = None
        for index, picture in enumerate(pictures(name, frames)):
            box = fit(picture.shape[1], picture.shape[0], detector.imgsz)
            small = resize(picture, *box.inner)
            if executor is None:
                executor = Executor(graph_of(detector.net), *box.outer, box.inner, levels())
                executor.run_whole(small, heads=False)
                prepared = detector.prepare(picture)
                continue
            if index % 5 == 1:
                dense = cpu_ms(lambda p=prepared: detector.features(p))
            ours = cpu_ms(lambda p=small, e=executor: step(detector, e, p, LIMITS))
            rows.append((float(executor.tiles.mean()), ours / dense))
    found = np.array(rows)
    lines = []
    for share in SHARES[:-1]:
        near = found[np.abs(found[:, 0] - share) <= max(0.2 * share, 0.01), 1]
        value = number(float(np.median(near)), ".2f") if len(near) else "-"
        lines.append((f"{share:.0%}", str(len(near)), value, number(TARGETS.get(share), ".1f")))
    heads = ("tiles changed, about", "frames", "time against dense", "at most")
    text = f"The same on real frames: the first {frames} of each clip below, by how many of their tiles changed; medians."
    return f"{text}\n\n{common.markdown(heads, lines)}"


def cpu_ms(call: object) -> float:
    assert callable(call)
    start = process_time()
    call()
    return (process_time() - start) * 1e3


def clips(options: argparse.Namespace) -> str:
    """End to end, every frame, against the dense detector."""
    settings = LabelSettings(mode="causal", classes=TRAFFIC, limit=options.limit, model=common.model_of(options))
    lines = []
    for name in options.clip or CLIP_NAMES:
        clip = CLIPS[name]
        common.tell(name)
        truth = (clip.truth_path, clip.labelled) if options.limit is None else (None, None)
        (row,) = evaluation.evaluate(str(clip.path), ["residual"], settings, truth=truth[0], labelled=truth[1])
        active, same = activity(name)
        lines.append((
            name, number(row.f1_dense), number(row.f1_truth), number(row.dense_f1_truth), f"{active:.0%}", f"{same:.0%}",
            number(row.cnn_fraction, ".1%"), number(row.cpu_ms_per_frame, ".1f"),
            number(row.dense_cpu_ms_per_frame, ".1f"), number(row.speedup, ".2f"),
        ))  # fmt: skip
    heads = (
        "clip", "f1_dense", "f1_truth", "dense f1_truth", "tiles changed", "tiles equal", "whole", "CPU ms", "dense CPU ms",
        "speedup",
    )  # fmt: skip
    text = (
        "End to end, every frame decoded, causal. Tiles changed: those taken over, and tiles equal: those without a "
        "single other pixel than in what was last taken over, both of the first 100 frames."
    )
    return f"{text}\n\n{common.markdown(heads, lines)}"


def activity(name: str, frames: int = 100) -> tuple[float, float]:
    """Mean shares of the tiles that are taken over, and of those that are equal bit by bit."""
    detector = load_detector()
    changed: list[list[float]] = []
    for limit in (LIMITS.tile, 0.0):
        executor: Executor | None = None
        shares = []
        for picture in pictures(name, frames):
            box = fit(picture.shape[1], picture.shape[0], detector.imgsz)
            small = resize(picture, *box.inner)
            if executor is None:
                executor = Executor(graph_of(detector.net), *box.outer, box.inner, levels())
                executor.load(small, -1.0)
            else:
                shares.append(executor.load(small, limit))
        changed.append(shares)
    return float(np.mean(changed[0])), 1 - float(np.mean(changed[1]))


def pictures(name: str, frames: int) -> Iterator[U8]:
    return frames_of(CLIPS[name].path, frames)


def frames_of(path: Path, frames: int) -> Iterator[U8]:
    decoded = (slot.frame for slot in plain_slots(str(path)) if slot.frame is not None)
    return (frame.picture() for frame in islice(decoded, frames))


def draw(target: str, frames: int = 170) -> None:
    """A frame of the demo's clip with its active tiles, and the cells that were computed at three depths."""
    rung = Residual(load_detector(), Prices())
    picture = np.zeros((0, 0, 3), np.uint8)
    for picture in frames_of(fetch_clip(cache_dir() / "demo"), frames):
        rung.apply(View(picture.shape[1], picture.shape[0], None, lambda p=picture: p), Objects.empty())
    assert rung.executor is not None
    panels = [shade(picture, rung.executor.tiles != 0, "tiles taken over")]
    for step_name, title in (("stage2", "stage 2, 8 px"), ("stage3", "stage 3, 16 px"), ("neck8", "neck, 8 px")):
        panels.append(shade(picture, rung.executor.changed(step_name), title))
    sheet = np.vstack([np.hstack(panels[:2]), np.hstack(panels[2:])])
    cv2.imwrite(target, sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])


def shade(picture: U8, mask: Bool, title: str) -> U8:
    """The picture at half size, bright where the mask holds."""
    small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    size = (small.shape[1], small.shape[0])
    on = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)[:, :, None] != 0
    out = np.where(on, small, small // 3 + 40).astype(np.uint8)
    text = f"{title}: {mask.mean():.0%}"
    cv2.putText(out, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return out


if __name__ == "__main__":
    main()
