"""Processes below one: what they use is counted, also of those that end, and never twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from everyframe.pipeline.live.family import SEARCH_S, Family

BURN = (
    "import time\n"
    "def burn():\n"
    "    until = time.process_time() + 0.3\n"
    "    while time.process_time() < until: pass\n"
)
ONE = BURN + "burn(); print('done', flush=True); input(); burn(); print('done', flush=True); input()"
"""Uses CPU when it starts, and again when told to."""
NESTED = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def started(stack: ExitStack, *code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", *code]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def step(process: subprocess.Popen[str], tell: bool = False) -> None:
    """Waits until it has used CPU; tell: after it was told to."""
    assert process.stdin is not None and process.stdout is not None
    if tell:
        process.stdin.write("\n")
        process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_children_and_theirs_are_counted_and_stay_counted_when_they_end(stack: ExitStack) -> None:
    family = Family(os.getpid())
    child, nested = started(stack, ONE), started(stack, NESTED, ONE)
    step(child), step(nested)
    first = family.take(0.0, ())
    assert first.cpu_s >= 0.6 and first.rss_bytes > 8e6
    step(child, tell=True)
    second = family.take(1.0, ())
    assert second.cpu_s >= first.cpu_s + 0.25
    child.kill(), child.wait()
    third = family.take(2.0, ())
    assert third.cpu_s >= second.cpu_s and third.rss_bytes < second.rss_bytes


def test_what_is_counted_elsewhere_is_left_out_and_new_ones_are_found(stack: ExitStack) -> None:
    family = Family(os.getpid())  # other tests may have left this process children that are about to end
    assert family.take(0.0, ()).cpu_s >= 0
    child = started(stack, ONE)
    step(child)
    without = family.take(SEARCH_S + 1, [child.pid])
    step(child, tell=True)
    assert family.take(SEARCH_S + 2, [child.pid]).cpu_s < without.cpu_s + 0.25
    assert family.take(SEARCH_S + 3, ()).rss_bytes > family.take(SEARCH_S + 4, [child.pid]).rss_bytes


def test_a_number_that_is_used_again_counts_for_itself(tmp_path: Path) -> None:
    def write(pid: int, parent: int, ticks: int, started: int) -> None:
        (tmp_path / str(pid)).mkdir(exist_ok=True)
        row = ["S", str(parent), *"000000000", str(ticks), "0", *"00000", "1", str(started), "0", "1"]
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a ) b) {' '.join(row)}")

    ticks = os.sysconf("SC_CLK_TCK")
    write(10, 1, 5 * ticks, 100)
    family = Family(1, tmp_path)
    assert family.take(0.0, ()).cpu_s == 5.0
    write(10, 1, 1 * ticks, 200)
    assert family.take(1.0, ()).cpu_s == 5.0  # it is another, not yet found
    assert family.take(SEARCH_S, ()).cpu_s == 6.0
    write(10, 99, 3 * ticks, 300)  # of somebody else
    assert family.take(2 * SEARCH_S, ()).cpu_s == 6.0
    assert family.take(3 * SEARCH_S, ()).cpu_s == 6.0
