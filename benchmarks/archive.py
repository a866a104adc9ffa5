"""Archives: kill -9 at random moments against an undisturbed run; two workers against one; `batch` against `run`.

    python benchmarks/archive.py --kills 20 --write
    python benchmarks/archive.py --workers --times 14 --limit 0 --write
    python benchmarks/archive.py --overhead --limit 0 --write

CPU is that of a command and of all below it, Ray's processes and actors too: looked at ten times a second, because Ray ends its
actors without waiting for them, and then the kernel does not count them as children.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import DATA, markdown, need_data, publish
from processes import below, stat

LABELS = ("--policy", "stride:10", "--redis", "none", "--quiet")
CLIPS = ("crossing/crossing.mp4", "idle/one_by_one_person.mp4", "fall/fall_ip.mp4")
FEW = 10
"""Frames of each clip of a run that is nearly all start."""
LOOK_S = 0.1
TICKS = os.sysconf("SC_CLK_TCK")
Taken = tuple[float, float]
"""Wall and CPU seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="of the driver, an actor, Ray's raylet or all, in turns")
    parser.add_argument("--workers", action="store_true", help="two workers against one")
    parser.add_argument("--overhead", action="store_true", help="batch against run on the same files")
    parser.add_argument("--limit", type=int, default=400, help="frames of each clip, 0 for all")
    parser.add_argument("--times", type=int, default=1, help="copies of each clip")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    given = parser.parse_args()
    need_data()
    folder = Path(tempfile.mkdtemp())
    try:
        sources = copies(folder / "in", 1 if given.overhead else given.times)  # `run` leaves out links to the same file
        limit = ("--limit", str(given.limit)) if given.limit else ()
        if given.kills:
            text = kills(folder, sources, given.kills, (*LABELS, *limit, "--shard-frames", "100"))
            publish("archive kills", text, given.write)
        if given.workers:
            publish("archive workers", workers(folder, sources, limit), given.write)
        if given.overhead:
            publish("archive overhead", overhead(folder, sources, limit), given.write)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def workers(folder: Path, sources: Path, limit: tuple[str, ...]) -> str:
    one, two = (taken(batch(sources, folder / f"w{n}", n, limit)) for n in (1, 2))
    same = "the same" if digest(folder / "w1") == digest(folder / "w2") else "NOT THE SAME"
    rows = [["1", f"{one[0]:.1f}", f"{one[1]:.1f}"], ["2", f"{two[0]:.1f}", f"{two[1]:.1f}"]]
    rows.append(["2 against 1", f"{two[0] / one[0]:.2f} x", f"{two[1] / one[1]:.2f} x"])
    table = markdown(["workers", "wall s", "CPU s"], rows)
    return f"{len(list(sources.iterdir()))} files; start, Ray's processes and the end are all in it. Labels: {same} bytes.\n\n{table}"


def overhead(folder: Path, sources: Path, limit: tuple[str, ...]) -> str:
    """CPU of `run` and `batch` beyond that of a run over a few frames of the same files."""
    files = [str(path) for path in sorted(sources.iterdir())]
    rows, beyond = [], []
    for name in ("run", "batch"):
        costs = []
        for frames in (("--limit", str(FEW)), limit):
            out = folder / f"{name}-{len(costs)}"
            more = (*frames, "--format", "jsonl")
            plain = command("run", *files, "--out", str(out), "--engine", "local", *LABELS, *more)
            costs.append(taken(plain if name == "run" else batch(sources, out, 1, more))[1])
        beyond.append(costs[1] - costs[0])
        rows.append([name, f"{costs[0]:.1f}", f"{costs[1]:.1f}", f"{beyond[-1]:.1f}"])
    table = markdown(["command", f"CPU s, {FEW} frames of each file", "CPU s, all", "beyond the start, CPU s"], rows)
    return f"{len(files)} files, JSON Lines by both, Parquet too by batch: {beyond[1] / beyond[0] - 1:+.1%} CPU.\n\n{table}"


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


def taken(run: list[str]) -> Taken:
    """Of a command with all that it starts."""
    began, used = time.monotonic(), dict[tuple[int, str], int]()
    process = subprocess.Popen(run)
    while process.poll() is None:
        for pid in below(process.pid):
            fields = stat(pid)
            if fields:  # pid and moment of start: a number may be given again
                used[pid, fields[19]] = int(fields[11]) + int(fields[12])
        time.sleep(LOOK_S)
    if process.returncode:
        sys.exit(f"{' '.join(run)} failed")
    return time.monotonic() - began, sum(used.values()) / TICKS


def kills(folder: Path, sources: Path, count: int, more: tuple[str, ...]) -> str:
    """Runs undisturbed, then killed again and again, then to the end; compares every byte."""
    clean, out = folder / "clean", folder / "killed"
    undisturbed, _ = taken(command("batch", str(sources), "--out", str(clean), "--workers", "1", *more))
    longest = max(12.0, undisturbed / 3)
    run = command("batch", str(sources), "--out", str(out), "--workers", "2", *more)
    rng = random.Random(1)
    hits, what, family, whole_runs = dict[str, int](), "", list[int](), 0
    process = subprocess.Popen(run, start_new_session=True)
    while (done := sum(hits.values())) < count:
        time.sleep(rng.uniform(1.0, longest))
        if process.poll() is not None:  # it was done before all kills: looked at, and from the start again
            whole_runs += 1
            if process.returncode or digest(clean) != digest(out):
                sys.exit(f"after {done} kills a run ended with {process.returncode}, with other bytes than the undisturbed one")
            shutil.rmtree(out)
            what = ""
        else:
            what = ("driver", "actor", "raylet", "all")[done % 4]
            family = below(process.pid)  # whom nobody would know as such once the driver is gone
            hit = kill(process.pid, what)
            hits[what] = hits.get(what, 0) + hit
            print(f"kill {done + hit}: {what}{'' if hit else ' (not there)'}", flush=True)
        if process.poll() is not None or what != "actor":
            end(family)
            process.wait()
            process = subprocess.Popen(run, start_new_session=True)
    code = process.wait()
    if code:
        code = subprocess.run(run, check=False).returncode
    whole = subprocess.run(command("verify", str(out)), check=False).returncode
    same = digest(clean) == digest(out)
    told = ", ".join(f"{number} of {name}" for name, number in hits.items())
    return (
        f"{sum(hits.values())} kills ({told}), in {whole_runs + 1} archives one after the other. The last run: exit code {code}; "
        f"verify: exit code {whole}; bytes of all labels {'the same as' if same else 'OTHER THAN'} those of an undisturbed run."
    )


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
