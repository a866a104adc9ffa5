"""What leaps win and lose: runs with and without them, in turns, on the same video. Where decoding is cheap beside the CNN they are
not taken, and both runs are the same.

    python benchmarks/leaps.py --write
    python benchmarks/leaps.py --clip street --policy motion
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import common
from common import CLIPS, TRAFFIC, concatenate, number
from idle_archive import DEFAULT, HEIGHT, Reference, encoded

from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.labelling import leaps
from everyframe.pipeline.settings import AUDIT, STEERED, Goal, LabelSettings
from everyframe.pipeline.sources.file import FileSource

NATIVE = ("street", "fall_ip", "office_ip", "parking")
TIMES = 3
TARGET = 0.9


def main() -> None:
    made = common.parser(__doc__ or "")
    made.set_defaults(runtime="auto", precision="auto")
    common.add_clips(made, f"{', '.join(NATIVE)}, and at 1080p {TIMES} times end to end {', '.join(DEFAULT)}")
    made.add_argument("--policy", action="append", help="may be repeated; default: motion and learned")
    made.add_argument("--rounds", type=int, default=2)
    made.add_argument("--folder", default="/tmp/everyframe-idle", help="encoded clips are kept here")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for name, video, reference in videos(options, Path(work)):
            for policy in options.policy or ("motion", STEERED):
                rows += compared(name, video, reference, policy, options)
    heads = ("video", "policy", "leaps", "f1_dense", "decoded", "CNN", "in part", "CPU ms a frame", "saved")
    common.publish("leaps", common.markdown(heads, rows), options.write)


def videos(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, video, and the video whose frames it repeats."""
    clips = options.clip
    for name in clips or NATIVE:
        yield name, CLIPS[name].path, CLIPS[name].path
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in () if clips else DEFAULT:
        short = encoded(CLIPS[name].path, folder / f"{name}-{HEIGHT}p.mp4")
        with FileSource(short) as source:
            frames = source.info.frames or 0
        video = work / f"{name}.mp4"
        concatenate(short, TIMES * frames, video)
        yield f"{name}, {HEIGHT}p", video, short


def compared(name: str, video: Path, short: Path, policy: str, options: argparse.Namespace) -> list[tuple[str, ...]]:
    model = common.model_of(options)
    with FileSource(video) as source:
        detector = open_detector(model, source.info.width, source.info.height)
    reference = Reference.of(short, detector)
    is_held = policy == STEERED
    settings = LabelSettings(
        policy, classes=TRAFFIC, conf=metrics.SCORE, audit=AUDIT if is_held else 0.0, goal=Goal(TARGET) if is_held else Goal(),
        model=model, limit=options.limit,
    )  # fmt: skip
    engine = LocalEngine(detector)
    costs: dict[bool, list[float]] = {False: [], True: []}
    found: dict[bool, tuple[list[Objects], RunStats]] = {}
    for round_ in range(1 + options.rounds):
        for on in (False, True):
            with without_leaps(not on):
                start = time.process_time()
                found[on] = common.labelled(engine, video, settings)
                if round_ > 0:  # the first compiles what is not compiled yet
                    costs[on].append((time.process_time() - start) * 1e3 / found[on][1].frames)
    rows = []
    for on, (labels, stats) in found.items():
        shares = (f"{n / stats.frames:.1%}" for n in (stats.decoded, stats.cnn_frames, stats.partial_frames))
        saved = f"{1 - min(costs[True]) / min(costs[False]):.0%}" if on else ""
        rows.append((name, policy, "yes" if on else "no", number(reference.agree(labels).f1), *shares, number(min(costs[on]), ".2f"), saved))
    common.tell(" | ".join(rows[-1]))
    return rows


@contextmanager
def without_leaps(off: bool) -> Iterator[None]:
    pays = leaps.PAYS
    leaps.PAYS = math.inf if off else pays
    try:
        yield
    finally:
        leaps.PAYS = pays


if __name__ == "__main__":
    main()
