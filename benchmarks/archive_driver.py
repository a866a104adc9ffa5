"""What the driver of an archive costs: 10,000 stub shards on 1,000 simulated workers, and a rerun over 100,000 finished shards.

    python benchmarks/archive_driver.py [--shards 10000] [--finished 100000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.archive.batch import Driver
from everyframe.pipeline.archive.finish import Finisher
from everyframe.pipeline.archive.journal import Journal
from everyframe.pipeline.archive.packed import stats_text
from everyframe.pipeline.archive.plan import find_sources, fingerprint, is_same, settings_text
from everyframe.pipeline.archive.progress import View
from everyframe.pipeline.archive.simulate import StubCrew, scaling
from everyframe.pipeline.archive.types import SourceSpec
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.interrupts import Interrupts
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings

FRAMES, PER_SOURCE = 2000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each shard")
    parser.add_argument("--folder", help="where to write; a temporary folder if not given")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        driver_ms, finish_ms = driven(folder / "a", given.shards, given.workers, given.frames)
        rerun(folder / "b", given.finished)
        for cores in (10, 100, 1000, 10_000):
            speedup, first = scaling(cores, 10.0, 20e6, driver_ms, finish_ms, 10_000, 1_000_000)
            print(f"{cores} cores: {speedup:.0f} x one core, held back by {first}")
    finally:
        shutil.rmtree(folder)


def driven(out: Path, shards: int, workers: int, frames: int) -> tuple[float, float]:
    """Scheduling, shard files and journal, apart from final files. Returns ms for each shard of both."""
    sources = max(shards // PER_SOURCE, 1)
    (out / "in").mkdir(parents=True)
    paths = [out / "in" / f"{i:06d}.mp4" for i in range(sources)]
    for path in paths:
        path.write_bytes(b"stub")
    with Journal(out) as journal, Interrupts() as interrupts:
        journal.add((SourceSpec(str(p), "camera"), p.stem, fingerprint(str(p))) for p in paths)
        crew = StubCrew(workers, labels(frames), PER_SOURCE)
        timed = _Timed(out, journal, ("person",))
        driver = Driver(journal, timed, crew, View(io.StringIO(), quiet=True), LabelSettings())
        before = memory_mb()
        began, cpu = time.perf_counter(), time.process_time()
        driver.run(interrupts)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        done = len(journal.entries("done"))
    driver_ms = (wall - timed.wall_s) / crew.done * 1e3
    finish_ms = timed.wall_s / crew.done * 1e3
    print(f"{crew.done} shards of {done} sources: {driver_ms:.2f} ms a shard, {finish_ms:.2f} ms for its part of the final files")
    print(f"CPU {cpu / crew.done * 1e3:.2f} ms a shard, memory {before:.0f} MB before and {memory_mb():.0f} MB at most")
    return driver_ms, finish_ms


class _Timed(Finisher):
    """A finisher whose time is kept apart."""

    __slots__ = ()
    wall_s = 0.0

    def finish(self, entry, rows) -> None:  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        super().finish(entry, rows)
        type(self).wall_s += time.perf_counter() - began


def rerun(out: Path, shards: int) -> None:
    """The start of a run over an archive that is done."""
    sources = shards // PER_SOURCE
    (out / "in").mkdir(parents=True)
    paths = [out / "in" / f"{i:06d}.mp4" for i in range(sources)]
    for path in paths:
        path.write_bytes(b"stub")
    with Journal(out) as journal:
        journal.add((SourceSpec(str(p), "camera"), p.stem, fingerprint(str(p))) for p in paths)
        stats = stats_text(RunStats(FRAMES * PER_SOURCE))
        with journal.transaction() as db:
            db.execute("UPDATE sources SET status = 'done', settings = ?, stats = ?", (settings_text(LabelSettings()), stats))
            rows = ((e + 1, i, i, i + 1, FRAMES, "done", "0" * 64, stats) for e in range(sources) for i in range(PER_SOURCE))
            db.executemany(
                "INSERT INTO shards (source, idx, start_pts, end_pts, frames, status, sha256, stats) VALUES (?,?,?,?,?,?,?,?)", rows
            )
    began = time.perf_counter()
    with Journal(out) as journal, Interrupts() as interrupts:
        specs, known = find_sources([str(out / "in")]), journal.known()
        assert all(is_same(spec.path, known[spec.path].fingerprint) for spec in specs)
        crew = StubCrew(1, labels(1), 1)
        Driver(journal, Finisher(out, journal, ()), crew, View(io.StringIO(), quiet=True), LabelSettings()).run(interrupts)
        assert crew.done == 0
    print(f"start over {sources * PER_SOURCE} finished shards: {time.perf_counter() - began:.2f} s")


def labels(frames: int) -> list[FrameLabels]:
    """Three objects in a frame."""
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 300, (3, 4)).astype(np.float32)
    objects = Objects.of(boxes, rng.random(3), np.zeros(3), np.arange(3))
    base = Fraction(1, 25)
    return [
        FrameLabels("stub", i, i, base, i / 25, 640, 360, "P", Origin.PROPAGATED, i % 10, "stub", "", objects, {"cnn": 1.0})
        for i in range(frames)
    ]


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
