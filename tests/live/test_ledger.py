"""Counters in a file: kept by kill -9, read by others, begun anew where the file is torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.live.ledger import SLOTS, Ledger

COUNT = """
import sys
from pathlib import Path
from everyframe.pipeline.live.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for i in range(1, 10**9):
    ledger.add("received")
    if i % 3 == 0:
        ledger.add("dropped.overload")
    if i % 1000 == 0:
        print(i, flush=True)
"""


def test_it_counts_and_goes_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "ledger")
    ledger.add("received", 5)
    ledger.add("published")
    ledger.add("received")
    assert ledger.snapshot() == {"received": 6, "published": 1} == Ledger.read(ledger.path)
    ledger.close()
    again = Ledger(ledger.path)
    again.add("received")
    assert again.snapshot() == {"received": 7, "published": 1}
    assert Ledger.read(tmp_path / "none") == {}


def test_threads_lose_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    threads = [threading.Thread(target=lambda n=n: [ledger.add(f"own.{n}") or ledger.add("all") for _ in range(5000)]) for n in range(4)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ledger.snapshot() == {**{f"own.{n}": 5000 for n in range(4)}, "all": 20000}


def test_a_killed_process_keeps_its_counts(tmp_path: Path) -> None:
    path, least = tmp_path / "ledger", 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", COUNT, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(20):
                child.stdout.readline()
            seen = Ledger.read(path)["received"]  # while it runs
            child.send_signal(signal.SIGKILL)
            child.stdout.read()
            child.wait(30)
        found = Ledger.read(path)
        least += 20_000
        assert found["received"] >= max(least, seen)
        assert 0 <= found["received"] - 3 * found["dropped.overload"] <= 9  # a kill costs a count or two of thirds
        least = found["received"]


@pytest.mark.parametrize("keep", [0, 3, 40, 64, 100, 150, 200, 64 + 64 * SLOTS - 1])
def test_a_file_that_is_cut_off_keeps_what_is_whole(tmp_path: Path, keep: int) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for i, name in enumerate(("received", "decoded", "published"), 1):
        ledger.add(name, i)
    ledger.close()
    os.truncate(ledger.path, keep)
    again = Ledger(ledger.path)
    whole = [name for i, name in enumerate(("received", "decoded", "published")) if 64 + 64 * (i + 1) <= keep]
    assert list(again.snapshot()) == whole
    again.add("received")
    again.add("other", 9)
    assert Ledger.read(ledger.path) == again.snapshot()
    assert again.snapshot()["other"] == 9


def test_damage_costs_the_damaged_counter_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for i, name in enumerate(("received", "decoded", "published"), 1):
        ledger.add(name, i)
    ledger.close()
    data = bytearray(ledger.path.read_bytes())
    data[64 + 64 + 2] ^= 0xFF
    ledger.path.write_bytes(bytes(data))
    again = Ledger(ledger.path)
    assert again.snapshot() == {"received": 1, "published": 3}
    again.add("decoded")
    assert Ledger.read(ledger.path) == {"received": 1, "published": 3, "decoded": 1}
    ledger.path.write_bytes(b"something else" * 100)
    assert Ledger(ledger.path).snapshot() == {}


def test_names_that_cannot_be_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for i in range(SLOTS):
        ledger.add(f"n{i}")
    for name in ("one more", "", "x" * 49):
        with pytest.raises(ValueError, match="can't be counted"):
            ledger.add(name)
    assert len(Ledger.read(ledger.path)) == SLOTS


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="--state"):
        Ledger(tmp_path / "file" / "ledger")
