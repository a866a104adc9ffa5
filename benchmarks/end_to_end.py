"""Labelling every frame of a file, held against decoding it: CPU of a whole run beside `ffmpeg -threads 1 -i FILE -f null -`.

    python benchmarks/end_to_end.py --write
    python benchmarks/end_to_end.py --model fast --policy learned:3

A run goes from the opened file to labels in a JSON Lines file, with the detector loaded before, as everywhere in docs/results.md; what
starting Python and loading add, once for each run however long the video, is given beside it, as the CPU of the whole command.
Runs and decoding take turns; of several rounds the least counts on both sides. F1 is that of `evaluate`, against the same model on
every frame.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import common
import ffmpeg
from common import CLIPS, number, verdict

from everyframe.operators.base import Detector
from everyframe.pipeline import evaluation
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.engines.base import Chunk, Finished, RunStats, Started
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.settings import LabelSettings, Mode, ModelSettings
from everyframe.pipeline.sinks.jsonl import JsonlSink

CLIP = "one_by_one_person"
ROUNDS = 5
MOST, LEAST_F1 = 1.5, 0.90


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--clip", default=CLIP, choices=sorted(CLIPS))
    made.add_argument("--policy", action="append", help="may be repeated; default: learned")
    made.add_argument("--model", action="append", help="may be repeated; default: full and fast")
    made.add_argument("--classes", default="person")
    made.add_argument("--mode", default="lookahead", choices=("lookahead", "causal"))
    made.add_argument("--rounds", type=int, default=ROUNDS)
    options = made.parse_args()
    common.need_data()
    ffmpeg.need_ffmpeg()
    common.one_thread()
    lines = [
        line(policy, model, options) for model in options.model or ("full", "fast") for policy in options.policy or ("learned",)
    ]
    heads = ("policy", "model", "runtime", "f1_dense", f"≥ {LEAST_F1:.2f}", "CPU ms a frame", "ffmpeg", "ratio", f"≤ {MOST:g}",
             "decoded", "CNN", "by step, ms a frame", "start of the program, s")  # fmt: skip
    common.publish("end to end", f"{options.clip}\n\n{common.markdown(heads, lines)}", options.write)


def line(policy: str, model: str, options: argparse.Namespace) -> tuple[str, ...]:
    path = CLIPS[options.clip].path
    mode: Mode = options.mode
    wanted = ModelSettings(model, runtime="auto", precision="auto")
    settings = LabelSettings(policy, mode, tuple(options.classes.split(",")), limit=options.limit, model=wanted)
    common.tell(f"{policy} {model}: accuracy")
    (row,) = evaluation.evaluate(str(path), [policy], settings)
    detector = open_detector(wanted, 768, 432)
    engine = LocalEngine(detector)
    run(path, settings, engine, detector)  # compiled code, prices, once
    ours, theirs = [], []
    for _ in range(options.rounds):
        stats, ms = run(path, settings, engine, detector)
        ours.append(ms / stats.frames)
        theirs.append(ffmpeg.decoding_cpu_s(path, options.limit) * 1e3 / stats.frames)
    ratio = min(ours) / min(theirs)
    steps = ", ".join(f"{step} {ms / stats.frames:.2f}" for step, ms in stats.cpu_ms.items() if ms / stats.frames >= 0.005)
    start = command_s(path, policy, model, options) - min(ours) * stats.frames / 1e3
    return (
        policy, model, f"{detector.runtime} {detector.precision}", number(row.f1_dense), verdict(row.f1_dense >= LEAST_F1),
        f"{min(ours):.2f}", f"{min(theirs):.2f}", f"{ratio:.2f}", verdict(ratio <= MOST), f"{row.decode_fraction:.0%}",
        f"{row.cnn_fraction:.1%}", steps, f"{start:.1f}",
    )  # fmt: skip


def run(path: Path, settings: LabelSettings, engine: LocalEngine, detector: Detector) -> tuple[RunStats, float]:
    """Counts, and CPU ms of the whole process from the opened file to the closed file of labels."""
    stats = RunStats()
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        sink = JsonlSink(Path(folder) / "labels.jsonl", detector.names)
        for event in engine.run([str(path)], settings):
            if isinstance(event, Started):
                sink.__enter__()
            elif isinstance(event, Chunk):
                sink.write(event.labels)
            elif isinstance(event, Finished):
                sink.__exit__(None, None, None)
                if event.error is not None:
                    raise event.error
                stats = event.stats
    return stats, (time.process_time() - start) * 1e3


def command_s(path: Path, policy: str, model: str, options: argparse.Namespace) -> float:
    """CPU seconds of the command, from the start of Python."""
    few = [] if options.limit is None else ["--limit", str(options.limit)]
    with tempfile.TemporaryDirectory() as folder:
        return ffmpeg.cpu_s([
            sys.executable, "-m", "everyframe", "run", str(path), "--policy", policy, f"--{options.mode}", "--model", model,
            "--classes", options.classes, "--engine", "local", "--out", folder, "--quiet", *few,
        ])  # fmt: skip


if __name__ == "__main__":
    main()
