"""A mostly idle archive: CPU of labelling it against CPU of only decoding it with ffmpeg, and F1 against the CNN on every frame.

Each clip is scaled to 1080p and encoded once like the stream of an IP camera (x264, no B frames, one reference, a key frame
every four seconds), then its packets are laid end to end to the wanted length. Both commands read the same files, batch all of them in one go, and count
all of their processes, start included. People and vehicles are labelled, which are what such cameras are for. The reference is the same CNN on
every frame of the encoded clip, repeated like it; F1 of all is pooled, as a clip in which the CNN sees nothing has none of its own.

    python benchmarks/idle_archive.py --minutes 60 --write
    python benchmarks/idle_archive.py --minutes 4 --clip one_by_one_person
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import pyarrow.parquet as pq
from common import (
    CLIPS,
    TRAFFIC,
    add_clips,
    concatenate,
    markdown,
    model_of,
    need_data,
    parser,
    publish,
    tell,
)
from ffmpeg import cpu_s, decoding_cpu_s, need_ffmpeg

from everyframe.operators.types import I32, Objects, Origin
from everyframe.pipeline import metrics
from everyframe.pipeline.archive.columns import frames_of
from everyframe.pipeline.costs.measure import open_detector, settled
from everyframe.pipeline.evaluation.dense import dense
from everyframe.pipeline.evaluation.run import class_ids
from everyframe.pipeline.models import LoadedDetector
from everyframe.pipeline.settings import ModelSettings

WIDTH, HEIGHT = 1920, 1080
KEY_S = 4
DEFAULT = ("one_by_one_person", "car_detection")
POLICIES = ("iframes", "motion", "learned", "learned+fast")


def main() -> None:
    made = parser(__doc__ or "")
    made.set_defaults(runtime="auto", precision="auto")
    add_clips(made, ", ".join(DEFAULT))
    made.add_argument("--minutes", type=float, default=60.0, help="of all clips together")
    made.add_argument("--policy", action="append", help="may be repeated; default: iframes, motion, learned, learned+fast")
    made.add_argument("--target", type=float, default=0.9, help="F1 that learned aims at")
    made.add_argument("--rounds", type=int, default=1, help="of all commands, in turns; the least CPU of each is shown")
    made.add_argument("--folder", default="/tmp/everyframe-idle", help="encoded clips are kept here")
    options = made.parse_args()
    need_data()
    need_ffmpeg()
    names = options.clip or DEFAULT
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="everyframe-idle-") as work:
        clips = {}
        for name in names:
            short = encoded(CLIPS[name].path, folder / f"{name}-{HEIGHT}p.mp4")
            clips[name] = Path(work) / f"{name}.mp4"
            concatenate(short, round(options.minutes * 60 / len(names) * rate_of(short)), clips[name])
        results = compared(clips, folder, options.policy or POLICIES, options, Path(work))
    heads = ("policy", "clip", "frames", "f1_dense", "saw the CNN", "CPU s of batch", "CPU s of ffmpeg", "ratio")
    publish("idle archive", f"{options.minutes:g} minutes.\n\n{markdown(heads, [row(r) for r in results])}", options.write)


@dataclass(frozen=True, slots=True)
class Result:
    """A policy on one clip, or on all with what they cost. counts: right, false and missed boxes against the CNN on every frame."""

    policy: str
    clip: str
    frames: int
    looks: int
    counts: tuple[int, int, int]
    cpu_s: float = 0.0
    ffmpeg_s: float = 0.0


def row(result: Result) -> list[str]:
    right, false, missed = result.counts
    f1 = f"{2 * right / (2 * right + false + missed):.3f}" if right + missed else f"none: {false} false boxes"
    cpu = [f"{s:.1f}" for s in (result.cpu_s, result.ffmpeg_s)] + [f"{result.cpu_s / result.ffmpeg_s:.2f}"] if result.cpu_s else [""] * 3
    return [result.policy, result.clip, f"{result.frames:,}", f1, f"{result.looks / result.frames:.2%}", *cpu]


def pooled(results: list[Result], cpu_s: float, ffmpeg_s: float) -> Result:
    right, false, missed = (sum(r.counts[i] for r in results) for i in range(3))
    frames, looks = sum(r.frames for r in results), sum(r.looks for r in results)
    return Result(results[0].policy, "all", frames, looks, (right, false, missed), cpu_s, ffmpeg_s)


def compared(
    clips: dict[str, Path], folder: Path, policies: Sequence[str], options: argparse.Namespace, work: Path
) -> list[Result]:
    """Results of each policy on each clip and on all."""
    detector = open_detector(model_of(options), WIDTH, HEIGHT)
    model = settled(model_of(options), detector)
    references = {name: Reference.of(folder / f"{name}-{HEIGHT}p.mp4", detector) for name in clips}
    outs = {policy: work / f"out-{policy.replace(':', '-')}" for policy in policies}
    costs: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        costs.setdefault("ffmpeg", []).append(sum(decoding_cpu_s(video) for video in clips.values()))
        for policy, out in outs.items():
            shutil.rmtree(out, ignore_errors=True)
            costs.setdefault(policy, []).append(cpu_s(batch(list(clips.values()), out, policy, model, options.target)))
        tell(", ".join(f"{k} {min(v):.1f} s" for k, v in costs.items()))
    results = []
    for policy, out in outs.items():
        of_clips = [judged(policy, name, out, reference) for name, reference in references.items()]
        results += [*of_clips, pooled(of_clips, min(costs[policy]), min(costs["ffmpeg"]))]
    return results


@dataclass(frozen=True, slots=True)
class Reference:
    """What the CNN finds in each frame of a clip, which videos repeat. groups: of each class id."""

    frames: list[Objects]
    groups: I32

    @classmethod
    def of(cls, clip: Path, detector: LoadedDetector) -> Reference:
        classes = class_ids(detector, TRAFFIC)
        frames = dense(str(clip), detector, measure=False).frames
        return cls([metrics.select(o, classes) for o in frames], metrics.group_table(detector.supercategory))

    def agree(self, found: list[Objects]) -> metrics.Agreement:
        """found: labels of people and vehicles in frames that go round the clip."""
        repeated = [self.frames[i % len(self.frames)] for i in range(len(found))]
        return metrics.agree([metrics.select(o) for o in found], repeated, self.groups)


def judged(policy: str, name: str, out: Path, reference: Reference) -> Result:
    found, looks = labels_of(out, name)
    agreed = reference.agree(found)
    counts = int(agreed.tp.sum()), int(agreed.fp.sum()), int(agreed.fn.sum())
    return Result(policy, name, len(found), looks, counts)


def batch(videos: list[Path], out: Path, policy: str, model: ModelSettings, target: float) -> list[str]:
    name, _, capacity = policy.partition("+")
    aim = ["--target-f1", str(target)] if name == "learned" else []
    how = ["--runtime", model.runtime, "--precision", model.precision, "--workers", "1", "--redis", "none", "--quiet"]
    how += ["--classes", ",".join(TRAFFIC), *(["--capacities", capacity] if capacity else [])]
    return [sys.executable, "-m", "everyframe", "batch", *map(str, videos), "--out", str(out), "--policy", name, *aim, *how]


def labels_of(out: Path, name: str) -> tuple[list[Objects], int]:
    """Objects of every frame of a source, and how many frames saw the CNN."""
    paths = [p for p in (out / "labels").rglob("*.parquet") if name in str(p)]
    tables = [pq.read_table(path, partitioning=None) for path in sorted(paths)]
    looks = sum(origin == Origin.DETECTED.label for table in tables for origin in table.column("origin").to_pylist())
    return [record.objects for table in tables for record in frames_of(table)], looks


def rate_of(video: Path) -> float:
    with av.open(str(video)) as container:
        return float(container.streams.video[0].average_rate)


def encoded(source: Path, target: Path) -> Path:
    """The clip at 1080p, once."""
    if not target.is_file():
        tell(f"{target.name}: is encoded, once")
        key = round(KEY_S * rate_of(source))
        part = target.with_suffix(".part.mp4")
        how = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-bf", "0", "-refs", "1", "-g", str(key), "-keyint_min", str(key)]
        how += ["-sc_threshold", "0", "-vf", f"scale={WIDTH}:{HEIGHT}", "-pix_fmt", "yuv420p", "-threads", "1", "-an"]
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), *how, str(part)], check=True)
        part.rename(target)
    return target


if __name__ == "__main__":
    main()
