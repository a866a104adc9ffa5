"""Archives: kill -9 at random moments against an undisturbed run; one worker against two; `batch` against `run`.

    python benchmarks/archive.py --kills 20
    python benchmarks/archive.py --workers
    python benchmarks/archive.py --overhead
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import DATA

LABELS = ("--policy", "stride:10", "--redis", "none", "--quiet")
CLIPS = ("crossing/crossing.mp4", "idle/one_by_one_person.mp4", "fall/fall_ip.mp4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=0, help="of the driver, an actor, Ray's raylet or all, in turns")
    parser.add_argument("--workers", action="store_true", help="two workers against one")
    parser.add_argument("--overhead", action="store_true", help="batch against run on the same files")
    parser.add_argument("--limit", type=int, default=400, help="frames of each clip")
    parser.add_argument("--times", type=int, default=1, help="copies of each clip")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        sources = copies(folder / "in", given.times)
        limit = ("--limit", str(given.limit))
        if given.kills:
            kills(folder, sources, given.kills, (*LABELS, *limit, "--shard-frames", "100"))
        if given.workers:
            compare(folder, "1 worker", batch(sources, folder / "w1", 1, limit), "2 workers", batch(sources, folder / "w2", 2, limit))
            print("the same labels:", digest(folder / "w1") == digest(folder / "w2"))
        if given.overhead:
            files = [str(path) for path in sorted(sources.rglob("*.mp4"))]
            plain = command("run", *files, "--out", str(folder / "run"), "--engine", "local", *LABELS, *limit)
            compare(folder, "run", plain, "batch", batch(sources, folder / "b", 1, (*limit, "--format", "jsonl")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copies(folder: Path, times: int) -> Path:
    """Each clip some times, under names of its own."""
    folder.mkdir(parents=True)
    for clip in CLIPS:
        for i in range(times):
            (folder / f"{Path(clip).stem}-{i:03d}.mp4").symlink_to(DATA / clip)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "everyframe", *arguments]


def batch(sources: Path, out: Path, workers: int, more: tuple[str, ...]) -> list[str]:
    return command("batch", str(sources), "--out", str(out), "--workers", str(workers), *LABELS, *more)


def compare(folder: Path, one: str, first: list[str], other: str, second: list[str]) -> None:
    """Wall and CPU of two commands, all of their processes included, start-up too."""
    for name, run in ((one, first), (other, second)):
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(run, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{name}: {time.monotonic() - began:.1f} s wall, {cpu:.1f} s CPU")


def kills(folder: Path, sources: Path, count: int, more: tuple[str, ...]) -> None:
    """Runs undisturbed, then killed again and again, then to the end; compares every byte."""
    clean, out = folder / "clean", folder / "killed"
    subprocess.run(command("batch", str(sources), "--out", str(clean), "--workers", "1", *more), check=True)
    run = command("batch", str(sources), "--out", str(out), "--workers", "2", *more)
    rng = random.Random(1)
    done, what, family = 0, "", list[int]()
    process = subprocess.Popen(run, start_new_session=True)
    while done < count:
        time.sleep(rng.uniform(1.0, 12.0))
        if process.poll() is not None:  # it was done before all kills: from the start again
            shutil.rmtree(out)
        else:
            what = ("driver", "actor", "raylet", "all")[done % 4]
            family = below(process.pid)  # whom nobody would know as such once the driver is gone
            hit = kill(process.pid, what)
            done += hit
            print(f"kill {done}: {what}{'' if hit else ' (not there)'}", flush=True)
        if process.poll() is not None or what != "actor":
            end(family)
            process.wait()
            process = subprocess.Popen(run, start_new_session=True)
    code = process.wait()
    if code:
        code = subprocess.run(run, check=False).returncode
    whole = subprocess.run(command("verify", str(out)), check=False).returncode
    print(f"after {done} kills: exit {code}, verify {whole}, the same bytes: {digest(clean) == digest(out)}")


def kill(driver: int, what: str) -> bool:
    """Signal 9 to the driver, or to those below it whose command line says so. False where there is none."""
    named = {"actor": "ray::ShardLabeller", "raylet": "raylet/raylet"}
    family = below(driver)
    targets = family if what == "all" else [driver] if what == "driver" else [p for p in family if named[what] in line(p)][:1]
    end(targets)
    return bool(targets)


def end(processes: list[int]) -> None:
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def below(root: int) -> list[int]:
    """A process and its descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {root}
    while more := {process for process, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def digest(out: Path) -> str:
    """Of all labels of an archive, names and bytes."""
    total = hashlib.sha256()
    for path in sorted(p for kind in ("labels", "files") for p in (out / kind).rglob("*") if p.is_file()):
        total.update(path.relative_to(out).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    main()
