"""A mostly idle archive: CPU of labelling it against CPU of only decoding it with ffmpeg, and F1 against the CNN on every frame.

Each clip is scaled to 1080p and encoded once like the stream of an IP camera (x264, no B frames, one reference, a key frame
every four seconds), then its packets are laid end to end to the wanted length. Both commands read the same files and count all of
their processes, start included. The reference is the same CNN on every frame of the encoded clip, repeated like it.

    python benchmarks/idle_archive.py --minutes 60 --write
    python benchmarks/idle_archive.py --minutes 4 --clip one_by_one_person
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import pyarrow.parquet as pq
from common import CLIPS, add_clips, concatenate, markdown, need_data, parser, publish, tell
from ffmpeg import cpu_s, decoding_cpu_s, need_ffmpeg

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline import metrics
from everyframe.pipeline.archive.columns import frames_of
from everyframe.pipeline.costs import choose_runtime
from everyframe.pipeline.evaluation.dense import dense
from everyframe.pipeline.models import open_model
from everyframe.pipeline.settings import ModelSettings

WIDTH, HEIGHT = 1920, 1080
KEY_S = 4
DEFAULT = ("one_by_one_person", "car_detection")


def main() -> None:
    made = parser(__doc__ or "")
    made.set_defaults(runtime="auto", precision="auto")
    add_clips(made, ", ".join(DEFAULT))
    made.add_argument("--minutes", type=float, default=60.0, help="of all clips together")
    made.add_argument("--policy", action="append", help="may be repeated; default: motion and learned")
    made.add_argument("--target", type=float, default=0.9, help="F1 that learned aims at")
    made.add_argument("--rounds", type=int, default=1, help="of all commands, in turns; the least CPU of each is shown")
    made.add_argument("--folder", default="/tmp/everyframe-idle", help="encoded clips are kept here")
    options = made.parse_args()
    need_data()
    need_ffmpeg()
    names = options.clip or DEFAULT
    policies = options.policy or ["motion", "learned"]
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="everyframe-idle-") as work:
        for name in names:
            short = encoded(CLIPS[name].path, folder / f"{name}-{HEIGHT}p.mp4")
            video = Path(work) / f"{name}.mp4"
            concatenate(short, round(options.minutes * 60 / len(names) * rate_of(short)), video)
            rows += compared(name, short, video, policies, options, Path(work))
            video.unlink()
    heads = ("clip", "frames", "policy", "f1_dense", "saw the CNN", "CPU s of batch", "CPU s of ffmpeg", "ratio")
    publish("idle archive", f"{options.minutes:g} minutes.\n\n{markdown(heads, rows)}", options.write)


def compared(name: str, short: Path, video: Path, policies: list[str], options: object, work: Path) -> list[list[str]]:
    """Rows of one clip."""
    model = ModelSettings(runtime=options.runtime, precision=options.precision)  # type: ignore[attr-defined]
    runtime, precision = choose_runtime(model, WIDTH, HEIGHT)
    model = ModelSettings(runtime=runtime, precision=precision)  # type: ignore[arg-type]
    detector = open_model(model)
    reference = dense(str(short), detector, measure=False).frames
    tell(f"{name}: {len(reference)} frames seen by the CNN ({runtime}, {precision})")
    costs: dict[str, list[float]] = {}
    for _ in range(options.rounds):  # type: ignore[attr-defined]
        costs.setdefault("ffmpeg", []).append(decoding_cpu_s(video))
        for policy in policies:
            out = work / f"out-{policy.replace(':', '-')}"
            shutil.rmtree(out, ignore_errors=True)
            costs.setdefault(policy, []).append(cpu_s(batch(video, out, policy, model, options.target)))  # type: ignore[attr-defined]
        tell(f"{name}: " + ", ".join(f"{k} {min(v):.1f} s" for k, v in costs.items()))
    groups = metrics.group_table(detector.supercategory)
    rows = []
    for policy in policies:
        found, looks = labels_of(work / f"out-{policy.replace(':', '-')}")
        repeated = [reference[i % len(reference)] for i in range(len(found))]
        f1 = metrics.agree([metrics.select(o) for o in found], [metrics.select(o) for o in repeated], groups).f1
        cpu, plain = min(costs[policy]), min(costs["ffmpeg"])
        rows.append(
            [name, f"{len(found):,}", policy, f"{f1:.3f}", f"{looks / len(found):.2%}", f"{cpu:.1f}", f"{plain:.1f}", f"{cpu / plain:.2f}"]
        )
    return rows


def batch(video: Path, out: Path, policy: str, model: ModelSettings, target: float) -> list[str]:
    aim = ["--target-f1", str(target)] if policy == "learned" else []
    how = ["--runtime", model.runtime, "--precision", model.precision, "--workers", "1", "--redis", "none", "--quiet"]
    return [sys.executable, "-m", "everyframe", "batch", str(video), "--out", str(out), "--policy", policy, *aim, *how]


def labels_of(out: Path) -> tuple[list[Objects], int]:
    """Objects of every frame, and how many frames saw the CNN."""
    [path] = (out / "labels").rglob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    looks = sum(origin == Origin.DETECTED.label for origin in table.column("origin").to_pylist())
    return [record.objects for record in frames_of(table)], looks


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
