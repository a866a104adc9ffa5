"""Parquet of archives: bytes of an hour of labels, and how long ready questions take over many hours.

Real labels of clips are laid end to end, with tracks numbered anew, to hours of 25 frames a second; each clip's size is also told
alone, because repeated labels compress better than real ones. Every question is asked in a process of its own, three times;
the best and the first are shown, the first with cold tables of DuckDB but a warm disk.

    python benchmarks/archive_tables.py --hours 100 --write
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common import CLIPS, add_clips, markdown, model_of, need_data, parser, publish, tell

from everyframe import label
from everyframe.pipeline.archive.questions import QUESTIONS
from everyframe.pipeline.archive.seconds import update_seconds
from everyframe.pipeline.archive.tables import write_labels
from everyframe.pipeline.records import FrameLabels

RATE = 25
HOUR = 3600 * RATE
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULT = ("pets_s2l1_ip", "highway_ip", "street", "one_by_one_person", "office_ip")
_ASK = """
import sys, time, json
from pathlib import Path
from everyframe.pipeline.archive.query import Archive
from everyframe.pipeline.archive.questions import question
took = []
with Archive(Path(sys.argv[1])) as archive:
    sql, values = question(sys.argv[2])
    for _ in range(3):
        start = time.perf_counter()
        rows = len(archive.ask(sql, values).fetchall())
        took.append(time.perf_counter() - start)
print(json.dumps([took, rows]))
"""


def main() -> None:
    options = _options()
    need_data()
    names = options.clip or DEFAULT
    settings = model_of(options)
    labels = {}
    for name in names:
        made = label(CLIPS[name].path, policy="stride:10", runtime=settings.runtime, precision=settings.precision, limit=options.limit)
        labels[name] = list(made)
        tell(f"{name}: {len(labels[name])} frames labelled")
    with tempfile.TemporaryDirectory(prefix="everyframe-tables-") as folder:
        publish("archive sizes", _sizes(labels, Path(folder) / "sizes"), options.write)
        publish("archive questions", _questions(labels, options.hours, Path(folder) / "hours"), options.write)


def _options() -> argparse.Namespace:
    made = parser(__doc__ or "")
    add_clips(made, ", ".join(DEFAULT))
    made.add_argument("--hours", type=int, default=100, help="of labels, for the questions")
    return made.parse_args()


def _sizes(labels: dict[str, list[FrameLabels]], folder: Path) -> str:
    rows = []
    write_labels(folder, "camera", "warm", BEGUN, next(iter(labels.values()))[:10])  # loads what is loaded once
    for name, records in labels.items():
        start = time.process_time()
        [file] = write_labels(folder, "camera", name, BEGUN, records)
        spent = time.process_time() - start
        objects = sum(len(record.objects) for record in records) / len(records)
        megabytes = file.size / len(records) * HOUR / 1e6
        rows.append([name, str(len(records)), f"{objects:.1f}", f"{megabytes:.1f}", f"{spent / len(records) * 1e6:.0f}"])
    return markdown(["clip", "frames", "objects a frame", "MB for an hour at 25 fps", "us a frame to write"], rows)


def _questions(labels: dict[str, list[FrameLabels]], hours: int, folder: Path) -> str:
    for hour in range(hours):
        camera, begun = f"camera{hour // 25}", BEGUN + timedelta(hours=hour % 25)
        write_labels(folder, camera, f"hour{hour:03d}", begun, _hour(labels, hour))
        if hour % 10 == 9:
            tell(f"{hour + 1} of {hours} hours written")
    start = time.perf_counter()
    update_seconds(folder)
    once = time.perf_counter() - start
    rows = []
    for name in QUESTIONS:
        told = subprocess.run([sys.executable, "-c", _ASK, str(folder), name], check=True, capture_output=True, text=True)
        took, count = json.loads(told.stdout)
        rows.append([name, f"{took[0]:.2f}", f"{min(took):.2f}", str(count)])
    sizes = {kind: sum(p.stat().st_size for p in (folder / kind).rglob("*.parquet")) / 1e6 for kind in ("labels", "seconds")}
    table = markdown(["question", "first, s", "best of 3, s", "rows of the answer"], rows)
    return (
        f"{hours} hours, {hours * HOUR:,} frames: labels {sizes['labels']:.0f} MB, seconds {sizes['seconds']:.0f} MB, which took "
        f"{once:.1f} s to make, once.\n\n{table}"
    )


def _hour(labels: dict[str, list[FrameLabels]], hour: int) -> Iterator[FrameLabels]:
    """An hour of the clips' labels, another one first in each hour, tracks numbered anew in each round."""
    clips = list(labels.values())
    index = tracks = 0
    turn = hour
    while True:
        records = clips[turn % len(clips)]
        for record in records:
            if index == HOUR:
                return
            objects = replace(record.objects, track_id=record.objects.track_id + tracks)
            yield replace(record, frame_index=index, pts=index * 512, time_s=index / RATE, objects=objects)
            index += 1
        tracks += 1 + max((int(r.objects.track_id.max(initial=0)) for r in records), default=0)
        turn += 1


if __name__ == "__main__":
    main()
