"""What does everything but demuxing, decoding, converting and the CNN cost at 720p with about 10 boxes?

A run into JSON Lines, as a user starts it, detector loaded and prices measured before. Targets: at most 1 ms a frame, and the whole run's
CPU at most 1.15 times the sum of its measured steps.
    python benchmarks/overhead.py --write
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import common
from common import CLIPS

from everyframe.operators.detectors import coco
from everyframe.pipeline.costs.measure import open_detector, settled
from everyframe.pipeline.costs.prices import priced
from everyframe.pipeline.engines.base import Chunk, Finished, RunStats, Started
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.sinks.jsonl import JsonlSink

HEAVY = ("demux", "decode", "convert", "cnn", "region")
"""region: the CNN on parts of a picture, with their planning."""
MOST_MS, MOST_RATIO = 1.0, 1.15


def run(path: str, settings: LabelSettings, engine: LocalEngine) -> tuple[RunStats, float, float]:
    """Counts, CPU ms of the whole, boxes a frame. What stands between is publishing, a step of its own."""
    stats, boxes = RunStats(), 0
    publish = 0.0
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        sink: JsonlSink | None = None
        for event in engine.run([path], settings):
            begun = time.process_time()
            if isinstance(event, Started):
                sink = JsonlSink(Path(folder) / "labels.jsonl", coco.NAMES)
                sink.__enter__()
            elif isinstance(event, Chunk) and sink is not None:
                sink.write(event.labels)
                boxes += sum(len(record.objects) for record in event.labels)
            elif isinstance(event, Finished) and sink is not None:
                sink.__exit__(None, None, None)
                if event.error is not None:
                    raise event.error
                stats = event.stats
            publish += (time.process_time() - begun) * 1e3
    whole = (time.process_time() - start) * 1e3
    stats.cpu_ms["publish"] = publish
    return stats, whole, boxes / max(stats.frames, 1)


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--clip", default="freeway720", choices=sorted(CLIPS))
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    path = str(CLIPS[options.clip].path)
    model = common.model_of(options)
    detector = open_detector(model, 1280, 720)
    engine = LocalEngine(detector)
    lines = []
    for policy, mode in (("stride:10", "causal"), ("stride:10", "lookahead"), ("motion", "lookahead")):
        wanted: Mode = "causal" if mode == "causal" else "lookahead"
        settings = LabelSettings(policy, wanted, limit=options.limit, model=settled(model, detector))
        settings = priced(settings, 1280, 720, detector, path)
        run(path, LabelSettings(policy, wanted, limit=12, model=model), engine)  # compiled code, once
        stats, whole, boxes = run(path, settings, engine)
        steps = sum(stats.cpu_ms.values())
        heavy = sum(stats.cpu_ms.get(step, 0.0) for step in HEAVY)
        rest, ratio = (whole - heavy) / stats.frames, whole / steps
        light = ", ".join(
            f"{step} {ms / stats.frames:.3f}" for step, ms in stats.cpu_ms.items() if step not in HEAVY
        )
        lines.append(
            (f"{policy}, {mode}", f"{boxes:.1f}", f"{whole / stats.frames:.2f}", f"{heavy / stats.frames:.2f}",
             f"{rest:.3f}", "yes" if rest <= MOST_MS else "**no**", f"{ratio:.3f}",
             "yes" if ratio <= MOST_RATIO else "**no**", light)
        )  # fmt: skip
    heads = (
        "policy", "boxes", "CPU ms", "of it demux, decode, convert, CNN, also on parts", "the rest, ms", f"≤ {MOST_MS}",
        "whole / sum of steps", f"≤ {MOST_RATIO}", "the rest by step, ms",
    )  # fmt: skip
    common.publish("overhead", f"{options.clip}\n\n{common.markdown(heads, lines)}", options.write)


if __name__ == "__main__":
    main()
