"""How good are labels when only key frames are decoded: links by overlap, by paths, and by ground truth.

    python benchmarks/linking.py --classes person --truth ../shared/data/pets_s2l1/gt.txt \\
        ../shared/data/pets_s2l1/pets_s2l1_ip.mp4

The CNN (NanoDet-g at 640, torch, f32) looks at every frame, as the reference; --detections FOLDER keeps what
it found. F1 against it is pooled over all frames, IoU 0.5, scores of 0.45 or more on both sides. Columns:
links by overlap and straight lines; links of `paths` and straight lines; links of `paths` and cubics, as
shipped; with --truth, the detections of key frames linked by the truth's identities: the ceiling of any
linking. ms: CPU per frame of the clip for looks, links and interpolation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from everyframe.operators import link
from everyframe.operators.appearance import look
from everyframe.operators.boxes import iou
from everyframe.operators.detectors import coco, load_detector
from everyframe.operators.link import NONE, WEAK, Nodes, Rows
from everyframe.operators.paths import PathLinker
from everyframe.operators.spans import Interval, Step, between, interpolate, leading, trailing
from everyframe.operators.types import F32, Objects
from everyframe.pipeline.metrics import SCORE, agree, group_table, select
from everyframe.pipeline.truth import Truth, load_truth

GROUPS = group_table(coco.SUPERCATEGORY)
OVERLAP = 0.1


@dataclass(frozen=True)
class Clip:
    """frames: what the CNN found in each. keys: indices of key frames, looks: of their objects. ms: CPU for
    looks."""

    frames: list[Objects]
    keys: list[int]
    looks: list[F32]
    size: tuple[int, int]
    rate: float
    ms: float


def read(video: Path, classes: list[int] | None, folder: Path | None) -> Clip:
    """Decodes a clip; takes detections from `folder` where they are."""
    cache = None if folder is None else folder / f"{video.stem}.npz"
    known = load(cache) if cache is not None and cache.is_file() else None
    detector = load_detector(min_score=0.05)
    frames: list[Objects] = []
    keys, looks, spent = [], [], 0.0
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        for index, frame in enumerate(container.decode(stream)):
            if known is not None and not frame.key_frame:
                frames.append(known[index])
                continue
            picture = frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
            frames.append(detector.detect(picture) if known is None else known[index])
            if frame.key_frame:
                start = time.process_time()
                looks.append(look(picture, chosen(frames[index], classes).xyxy))
                spent += time.process_time() - start
                keys.append(index)
        size, rate = (stream.width, stream.height), float(stream.average_rate or 25)
    if known is None and cache is not None:
        store(cache, frames)
    return Clip([chosen(f, classes) for f in frames], keys, looks, size, rate, spent * 1e3)


def chosen(found: Objects, classes: list[int] | None) -> Objects:
    return select(found, None if classes is None else np.array(classes, np.int32), WEAK)


def load(path: Path) -> list[Objects]:
    with np.load(path) as data:
        cut = np.searchsorted(data["frame"], np.arange(int(data["n_frames"]) + 1))
        parts = data["xyxy"], data["score"], data["class_id"]
        return [Objects.of(*(p[a:b] for p in parts)) for a, b in pairwise(cut)]


def store(path: Path, frames: list[Objects]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = Objects.concat(frames)
    at = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    np.savez_compressed(
        path, frame=at, xyxy=whole.xyxy, score=whole.score, class_id=whole.class_id, n_frames=len(frames)
    )


def by_paths(clip: Clip) -> list[Interval]:
    paths = PathLinker(*clip.size, clip.rate, GROUPS)
    done = []
    for key, looks in zip(clip.keys, clip.looks, strict=True):
        done += paths.push(key, clip.frames[key], looks)
    return done + paths.finish(len(clip.frames))


def by_links(clip: Clip, least: float, links: Callable[[Nodes, Nodes], Rows]) -> list[Interval]:
    """Intervals from links of neighbouring key frames, made of objects scored `least` or more."""
    nodes = [link.nodes(k, select(clip.frames[k], None, least), GROUPS) for k in clip.keys]
    following = [links(a, b) for a, b in pairwise(nodes)]
    following.append(np.full(len(nodes[-1]), NONE, np.intp))
    previous = [np.full(len(n), NONE, np.intp) for n in nodes]
    for rows, into in zip(following[:-1], previous[1:], strict=True):
        linked = np.flatnonzero(rows != NONE)
        into[rows[linked]] = linked
    around = [None, *nodes, None]
    steps = [
        Step(n, np.arange(len(n), dtype=np.int32), 1000, around[k], previous[k], around[k + 2], following[k])
        for k, n in enumerate(nodes)
    ]
    inner = [between(a, b, clip.rate, clip.size) for a, b in pairwise(steps)]
    return [leading(steps[0], clip.size), *inner, trailing(steps[-1], len(clip.frames), clip.size)]


def overlap_links(a: Nodes, b: Nodes) -> Rows:
    same = a.group[:, None] == b.group[None]
    overlap = np.where(same, iou(a.xyxy, b.xyxy), 0).astype(np.float64)
    return link.assign(np.where(overlap >= OVERLAP, overlap, 0))


def truth_links(truth: Truth) -> Callable[[Nodes, Nodes], Rows]:
    def identity(n: Nodes) -> Rows:
        real = truth.objects(n.index, 0)
        match = link.assign(
            np.where(iou(n.xyxy, real.xyxy) >= 0.4, iou(n.xyxy, real.xyxy), 0).astype(np.float64)
        )
        return np.where(match == NONE, -2 - np.arange(len(n)), np.append(real.track_id, 0)[match])

    return lambda a, b: link.assign((identity(a)[:, None] == identity(b)[None]).astype(np.float64))


def straight(interval: Interval) -> Interval:
    """Lines in place of cubics; what is linked on one side only is held."""
    c, p = interval.curves, len(interval.pairs)
    ends = (c.born == interval.first + 1) & (np.arange(len(c.born)) >= p)
    begins = ~ends & (np.arange(len(c.born)) >= p)
    start = np.where(begins[:, None], c.end, c.start)
    end = np.where(ends[:, None], c.start, c.end)
    chord = (end[:, :2] + end[:, 2:] - start[:, :2] - start[:, 2:]) / 2 / (interval.last - interval.first)
    return replace(interval, curves=replace(c, start=start, end=end, leave=chord, arrive=chord))


def f1(clip: Clip, intervals: list[Interval]) -> float:
    labels = [select(f) for f in clip.frames]
    reference = list(labels)
    for interval in intervals:
        labels[interval.first + 1 : interval.last] = interpolate(interval, SCORE)
    return agree(labels, reference, GROUPS).f1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--classes", type=lambda s: [coco.NAMES.index(name) for name in s.split(",")])
    parser.add_argument("--truth", help="MOT file of the one video given")
    parser.add_argument(
        "--detections", type=Path, help="folder with the CNN's detections of every frame, kept there"
    )
    options = parser.parse_args()
    print(
        f"{'clip':20} {'gap':>4} {'decoded':>8} {'overlap':>8} {'lines':>8} {'cubics':>8} {'ceiling':>8} {'ms':>6}"
    )
    for video in options.videos:
        clip = read(video, options.classes, options.detections)
        count = len(clip.frames)
        start = time.process_time()
        linked = by_paths(clip)
        for interval in linked:
            interpolate(interval, SCORE)
        ms = ((time.process_time() - start) * 1e3 + clip.ms) / count
        overlap = f1(clip, [straight(i) for i in by_links(clip, SCORE, overlap_links)])
        lines, cubics = f1(clip, [straight(i) for i in linked]), f1(clip, linked)
        ceiling = "-"
        if options.truth:
            ceiling = f"{f1(clip, by_links(clip, WEAK, truth_links(load_truth(options.truth)))):.3f}"
        gap = float(np.median(np.diff(clip.keys))) if len(clip.keys) > 1 else count
        row = f"{video.stem:20} {gap:4.0f} {len(clip.keys) / count:8.3f} {overlap:8.3f} {lines:8.3f} {cubics:8.3f}"
        print(f"{row} {ceiling:>8} {ms:6.3f}", flush=True)


if __name__ == "__main__":
    main()
