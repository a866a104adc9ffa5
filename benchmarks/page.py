"""What the live page costs: CPU of `everyframe watch` over four cameras without --http, with nobody looking, and with one
viewer (Chromium, whose own CPU is not counted), by turns in one run.

    python benchmarks/page.py --seconds 120 --rounds 2 --write        about 15 minutes
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common import CLIPS, markdown, need_data, publish, tell
from playwright.sync_api import sync_playwright

CAMERAS = 4
WARM_S = 8.0
START_S = 180.0
HOW = ("without --http", "nobody looks", "one viewer")
MOST = {"nobody looks": 5.0, "one viewer": 25.0}
"""% of a core that each may add."""


@dataclass(frozen=True)
class Run:
    pid: int
    url: str


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and all that it started, those that have ended included."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    total = 0.0
    for other, seconds in used.items():
        above = other
        while above not in (0, pid):
            above = parents.get(above, 0)
        total += seconds if above == pid else 0.0
    return total


@contextmanager
def watching(clip: Path, folder: Path, engine: str, has_http: bool) -> Iterator[Run]:
    """`everyframe watch` over the clip as so many cameras, ready."""
    cameras = [{"name": f"camera{i}", "url": str(clip), "realtime": True, "loop": True} for i in range(CAMERAS)]
    config = folder / "cameras.yaml"
    config.write_text(json.dumps({"policy": "stride:50", "redis": "embedded", "cameras": cameras}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    state = folder / f"state{time.monotonic_ns()}"
    command = [sys.executable, "-m", "everyframe", "watch", "--config", str(config), "--state", str(state)]
    command += ["--engine", engine, "--quiet", *(["--http", where] if has_http else [])]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        await_live(process, state)
        time.sleep(WARM_S)
        yield Run(process.pid, f"http://{where}/")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def await_live(process: subprocess.Popen[bytes], state: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        command = [sys.executable, "-m", "everyframe", "status", "--state", str(state)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(1.0)
    sys.exit("everyframe watch did not start: try its command line by hand")


def share(run: Run, seconds: float) -> float:
    """% of a core in use over so many seconds."""
    before, began = cpu_of(run.pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_of(run.pid) - before) / (time.monotonic() - began)


@contextmanager
def viewer(url: str) -> Iterator[None]:
    """A browser with the page open; checks that pictures change."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.wait_for_selector(f".tile:nth-child({CAMERAS})")
        page.wait_for_timeout(WARM_S * 1000)
        shown = page.evaluate("[...document.querySelectorAll('.tile img')].filter((i) => i.naturalWidth).length")
        if shown != CAMERAS:
            sys.exit(f"the page shows {shown} of {CAMERAS} pictures")
        yield
        browser.close()


def measure(options: argparse.Namespace, clip: Path, folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {how: [] for how in HOW}
    for number in range(options.rounds):
        with watching(clip, folder, options.engine, has_http=False) as run:
            found[HOW[0]].append(share(run, options.seconds))
        with watching(clip, folder, options.engine, has_http=True) as run:
            urllib.request.urlopen(run.url + "healthz", timeout=10).close()
            # Half of it before the viewer and half after: what drifts falls on both alike.
            first = share(run, options.seconds / 2)
            with viewer(run.url):
                found[HOW[2]].append(share(run, options.seconds))
            time.sleep(WARM_S)
            found[HOW[1]].append((first + share(run, options.seconds / 2)) / 2)
        tell(f"round {number + 1}: " + ", ".join(f"{how} {values[-1]:.1f} %" for how, values in found.items()))
    return found


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seconds", type=float, default=120.0, help="of each measurement")
    made.add_argument("--rounds", type=int, default=2)
    made.add_argument("--engine", default="local", choices=("local", "ray"))
    made.add_argument("--clip", default="pets_s2l1_ip", choices=sorted(CLIPS))
    made.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    options = made.parse_args()
    need_data()
    if shutil.which("chromium") is None:
        sys.exit("this benchmark needs a browser: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, CLIPS[options.clip].path, Path(folder))
    means = {how: statistics.fmean(values) for how, values in found.items()}
    rows = []
    for how, values in found.items():
        added = means[how] - means[HOW[0]] if how == HOW[1] else means[how] - means[HOW[1]] if how == HOW[2] else None
        spread = ", ".join(f"{value:.1f}" for value in values)
        rows.append([how, f"{means[how]:.1f}", spread, "-" if added is None else f"{added:+.1f}", f"{MOST.get(how, 0):.0f}" if how in MOST else "-"])
    text = f"{CAMERAS} cameras playing {options.clip} at its own pace, policy stride:50, engine {options.engine}, "
    text += f"{options.seconds:.0f} s each, {options.rounds} rounds; % of one core. 'One viewer' is compared with 'nobody looks'.\n\n"
    publish("page", text + markdown(["", "CPU", "rounds", "added", "at most"], rows), options.write)


if __name__ == "__main__":
    main()
