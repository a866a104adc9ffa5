"""The spool: an ordered queue on disk, against a model of it, cut off, damaged, full."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
from disks import small_files
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.sinks import spool as module
from everyframe.pipeline.sinks.spool import Spool
from everyframe.pipeline.sinks.spool_format import EVENT, LABELS, Entry, frame, frames

NONE = float("nan")


def put(spool: Spool, count: int, start: int = 0, size: int = 100, kind: int = LABELS) -> dict[str, int]:
    """Appends entries whose payload is their number."""
    dropped: dict[str, int] = {"disk": 0, "spool_full": 0}
    for i in range(start, start + count):
        found, _ = spool.append(kind, i + 1, 0, str(i).encode().ljust(size, b"."), NONE)
        for reason, n in found.items():
            dropped[reason] += n
    return dropped


def take(spool: Spool, count: int = 10**9, batch: int = 200) -> list[int]:
    """The numbers of the oldest entries; these are done."""
    taken: list[int] = []
    while len(taken) < count and (found := spool.read(min(batch, count - len(taken)))):
        assert [e.number for e in found] == sorted({e.number for e in found})
        taken += [int(entry.payload.rstrip(b".")) for entry in found]
        spool.done(found)
    return taken


def test_order_through_memory_disk_and_restarts(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10 << 20)
    put(spool, 3000)  # more than stays in memory
    assert spool.waiting() == spool.pending == 3000 and spool.size > 300_000
    assert take(spool, 1234) == list(range(1234))
    spool.close()
    again = Spool(tmp_path, 10 << 20)
    assert again.waiting() == 1766 and again.last_id == (3000, 0)
    put(again, 10, 3000)
    assert take(again) == list(range(1234, 3010))
    assert again.pending == again.size == 0
    assert len(list(tmp_path.glob("*.spool"))) <= 1
    again.close()
    assert Spool(tmp_path, 10 << 20).last_id == (3010, 0)  # also where all is done


@given(st.lists(st.one_of(st.integers(1, 40), st.integers(-40, -1), st.just(0)), max_size=30), st.booleans())
@settings(deadline=None, max_examples=60)
def test_it_is_a_queue(tmp_path_factory: pytest.TempPathFactory, steps: list[int], small: bool) -> None:
    """Append n, take n, or be killed and begin again (0): always what a queue in memory would do."""
    folder = tmp_path_factory.mktemp("spool")
    spool, model, n = Spool(folder, 1 << 20), deque[int](), 0
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(module, "RECENT_ENTRIES", 5)
        for step in steps:
            if step > 0:
                put(spool, step, n, size=2000)
                model.extend(range(n, n + step))
                n += step
            elif step < 0:
                assert take(spool, -step, batch=7) == [model.popleft() for _ in range(min(-step, len(model)))]
            else:
                spool = Spool(folder, 1 << 20)  # the old one is left as kill -9 leaves it
            assert spool.waiting() == len(model)
        assert take(spool) == list(model)


def test_a_full_spool_drops_the_oldest_and_says_how_many(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 << 10)
    put(spool, 5, kind=EVENT)
    dropped = put(spool, 2000)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= (64 << 10) + 8192
    assert dropped["disk"] == 0 and 0 < dropped["spool_full"] == 2000 - spool.waiting()
    assert spool.mark.dropped_full == dropped["spool_full"]
    left = take(spool)
    assert left == list(range(2000 - len(left), 2000)) and dropped["spool_full"] + len(left) == 2000
    spool.close()
    assert Spool(tmp_path, 64 << 10).mark.dropped_full == dropped["spool_full"]


def test_dropped_while_they_are_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 << 10)
    put(spool, 100)
    sent = spool.read(50)
    dropped = put(spool, 2000, 100)
    assert spool.done(sent) == (0, 0)  # the books have them already
    assert dropped["spool_full"] + spool.waiting() == 2100


@pytest.mark.parametrize("cut", [1, 20, 128, 129, 200])
def test_a_torn_tail_costs_what_is_torn(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, 1 << 20)
    put(spool, 10)
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - cut])
    again = Spool(tmp_path, 1 << 20)
    whole = (size - cut) * 10 // size
    assert again.waiting() == whole
    put(again, 3, 10)
    assert take(again) == [*range(whole), 10, 11, 12]


def test_damage_in_the_middle_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    put(spool, 3000, size=150)
    first = min(tmp_path.glob("*.spool"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0xFF
    first.write_bytes(bytes(data))
    taken, lost = [], 0
    while found := spool.read(100):
        taken += [int(entry.payload.rstrip(b".")) for entry in found]
        lost += spool.done(found)[1]
    assert taken == sorted(set(taken)) and lost > 0 and len(taken) + lost == 3000
    assert spool.mark.dropped_disk == lost and spool.pending == 0


def test_a_mark_that_is_lost_or_torn_sends_again_but_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    put(spool, 20)
    take(spool, 5)
    spool.close()
    mark = tmp_path / "mark"
    data = bytearray(mark.read_bytes())
    newest = (0, 256)[spool._marks._generation % 2]
    data[newest + 10] ^= 0xFF
    mark.write_bytes(bytes(data))
    again = Spool(tmp_path, 1 << 20)
    done = again.mark.number  # of the copy before
    assert done in (0, 5) and take(again) == list(range(done, 20))
    put(again, 5, 20)
    mark.unlink()
    assert take(Spool(tmp_path, 1 << 20)) == list(range(20, 25))


def test_a_disk_that_refuses_costs_nothing_while_memory_suffices(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    put(spool, 10)
    with small_files(0):
        dropped = put(spool, 500, 10)
    assert dropped["disk"] == 0 and spool.waiting() == 510
    put(spool, 10, 510)
    assert take(spool) == list(range(520)) and spool.pending == 0


def test_a_disk_that_refuses_for_long_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    put(spool, 10)
    with small_files(0):
        dropped = put(spool, 3000, 10)
    assert len(list(tmp_path.glob("*.spool"))) == 1
    lost = dropped["disk"] + put(spool, 100, 3010)["disk"]
    left = take(spool)
    assert left[:10] == list(range(10)) and left == sorted(left)
    assert dropped["disk"] > 1000 and lost == spool.mark.dropped_disk == 3110 - len(left)


def test_what_is_dropped_on_its_way_is_counted_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    with small_files(0):
        put(spool, module.RECENT_ENTRIES)
        sent = spool.read(200)  # and while the server is waited for, memory runs out
        dropped = put(spool, 50, module.RECENT_ENTRIES)
    assert dropped["disk"] == 50 and len(sent) == 200
    assert spool.done(sent) == (150, 0)
    assert spool.waiting() == spool.pending == module.RECENT_ENTRIES - 150
    assert take(spool) == list(range(200, module.RECENT_ENTRIES + 50))
    assert spool.pending == 0 and spool.mark.published == module.RECENT_ENTRIES and spool.mark.dropped_disk == 50


def test_a_disk_that_fills_in_the_middle_of_an_entry(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    with small_files(1000):
        put(spool, 50)
    put(spool, 10, 50)
    spool.close()
    assert take(spool) == list(range(60))


def test_frames_are_checked() -> None:
    entries = [Entry(i, LABELS, i, 0, b"x" * i) for i in range(5)]
    data = b"".join(map(frame, entries))
    assert [e.number for e in frames(data, 0, 0)] == [0, 1, 2, 3, 4]
    for at in range(len(data)):
        hurt = bytearray(data)
        hurt[at] ^= 0x55
        found = list(frames(bytes(hurt), 0, 0))
        assert len(found) < 5 and all(e.payload == b"x" * e.number for e in found)


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="--state"):
        Spool(tmp_path / "file", 1 << 20)
