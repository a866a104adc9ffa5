"""What the driver of an archive costs: stub shards on simulated workers, and a rerun over shards that are done.

The driver is the real one, with its journal and all files on the disk, forced there; only the workers do nothing. Their
outcomes come as fast as the driver takes them.

    python benchmarks/archive_driver.py --write
    python benchmarks/archive_driver.py --shards 1000 --frames 200 --finished 10000
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
from common import markdown, publish

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.archive.batch import Driver
from everyframe.pipeline.archive.finish import Finisher
from everyframe.pipeline.archive.joining import Form
from everyframe.pipeline.archive.journal import Journal
from everyframe.pipeline.archive.packed import stats_text
from everyframe.pipeline.archive.plan import find_sources, fingerprint, is_same, settings_text
from everyframe.pipeline.archive.progress import State, View
from everyframe.pipeline.archive.simulate import StubCrew, scaling
from everyframe.pipeline.archive.types import ShardOutcome, SourceSpec
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.runs.interrupts import Interrupts
from everyframe.pipeline.settings import LabelSettings

FRAMES, PER_SOURCE = 2000, 10
SHARD_CPU_S, SHARD_BYTES, NETWORK_MB_S, SHARDS = 10.0, 20e6, 10_000, 1_000_000
"""Of the model: a shard of some minutes of video from a camera, from a store of 80 Gbit/s."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=100_000, help="shards of the archive that is run again")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each shard")
    parser.add_argument("--folder", help="where to write; a temporary folder if not given")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        text, driver_ms = driven(folder / "a", given.shards, given.workers, given.frames)
        again_s = rerun(folder / "b", given.finished)
    finally:
        shutil.rmtree(folder)
    text += f"\n\nA rerun over {given.finished:,} finished shards ends after {again_s:.2f} s: nothing was left to do."
    rows = []
    for cores in (10, 100, 1000, 10_000):
        speedup, first = scaling(cores, SHARD_CPU_S, SHARD_BYTES, driver_ms, NETWORK_MB_S, SHARDS)
        rows.append([f"{cores:,}", f"{speedup:,.0f}", first])
    model = markdown(["cores", "times one core", "held back by"], rows)
    text += f"\n\nModel, with {SHARD_CPU_S:g} CPU s and {SHARD_BYTES / 1e6:g} MB of video a shard, {NETWORK_MB_S / 1e3:g} GB/s:\n\n{model}"
    publish("archive driver", text, given.write)


def driven(out: Path, shards: int, workers: int, frames: int) -> tuple[str, float]:
    """All that a driver does for an archive, and how its memory grows. Returns text and the driver's ms for each shard."""
    with Journal(out) as journal, Interrupts() as interrupts:
        paths = stubs(out / "in", max(shards // PER_SOURCE, 1))
        journal.add((SourceSpec(str(p), "camera"), p.stem, fingerprint(str(p))) for p in paths)
        crew = TimedCrew(workers, labels(frames), PER_SOURCE)
        view = Watching(crew, shards)
        driver = Driver(journal, Finisher(out, journal, Form(("person",))), crew, view, LabelSettings())
        began, cpu = time.perf_counter(), time.process_time()
        driver.run(interrupts)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        done = len(journal.entries("done"))
    assert done == len(paths)
    each, cpu_each = (wall - crew.wall_s) / crew.done * 1e3, (cpu - crew.cpu_s) / crew.done * 1e3
    memory = markdown([f"{tenth * 10} % done" for tenth in view.memory], [[f"{mb:.0f} MB" for mb in view.memory.values()]])
    text = (
        f"{crew.done:,} shards of {frames:,} frames, of {done:,} sources, {workers:,} workers: {each:.2f} ms a shard, of which "
        f"{cpu_each:.2f} ms CPU: plans, journal, shards and final files, all on the disk.\n\nMemory of the driver:\n\n{memory}"
    )
    return text, each


class TimedCrew(StubCrew):
    """What the simulated workers take is not the driver's."""

    wall_s = cpu_s = 0.0

    def wait(self, timeout_s: float) -> list[ShardOutcome]:
        began, cpu = time.perf_counter(), time.process_time()
        outcomes = super().wait(timeout_s)
        self.wall_s += time.perf_counter() - began
        self.cpu_s += time.process_time() - cpu
        return outcomes


class Watching(View):
    """Shows nothing, and looks at the process's memory at each fifth of the shards. memory: MB, by tenths done."""

    def __init__(self, crew: StubCrew, shards: int) -> None:
        super().__init__(io.StringIO(), quiet=True)
        self._crew, self._shards = crew, shards
        self.memory: dict[int, float] = {}

    def update(self, state: State) -> None:
        tenth = self._crew.done * 10 // self._shards
        if tenth >= 1 and tenth not in self.memory and (tenth == 1 or tenth % 2 == 0):
            self.memory[tenth] = memory_mb()


def stubs(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{i:06d}.mp4" for i in range(count)]
    for path in paths:
        path.write_bytes(b"stub")
    return paths


def rerun(out: Path, shards: int) -> float:
    """Seconds that a run over an archive takes of which all is done: sources looked for and compared, the journal read."""
    paths = stubs(out / "in", shards // PER_SOURCE)
    with Journal(out) as journal:
        journal.add((SourceSpec(str(p), "camera"), p.stem, fingerprint(str(p))) for p in paths)
        stats = stats_text(RunStats(FRAMES * PER_SOURCE))
        with journal.transaction() as db:
            db.execute("UPDATE sources SET status = 'done', settings = ?, stats = ?", (settings_text(LabelSettings()), stats))
            rows = ((e + 1, i, i, i + 1, FRAMES, "done", "0" * 64, stats) for e in range(len(paths)) for i in range(PER_SOURCE))
            db.executemany(
                "INSERT INTO shards (source, idx, start_pts, end_pts, frames, status, sha256, stats) VALUES (?,?,?,?,?,?,?,?)", rows
            )
    began = time.perf_counter()
    with Journal(out) as journal, Interrupts() as interrupts:
        specs, known = find_sources([str(out / "in")]), journal.known()
        assert all(is_same(spec.path, known[spec.path].fingerprint) for spec in specs)
        crew = StubCrew(1, labels(1), 1)
        finisher = Finisher(out, journal, Form(()))
        Driver(journal, finisher, crew, View(io.StringIO(), quiet=True), LabelSettings()).run(interrupts)
        assert crew.done == 0
    return time.perf_counter() - began


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
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
