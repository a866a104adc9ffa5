"""Labels in a real Redis server: layout, ids, idempotence, trimming, groups; and the embedded server itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from everyframe.pipeline.errors import RedisError
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.schema import to_record
from everyframe.pipeline.sinks.embedded import EmbeddedRedis, is_data_folder
from everyframe.pipeline.sinks.entries import FIELDS, OBJECT_COLUMNS, from_fields, stream_key
from everyframe.pipeline.sinks.redis import Connection, RedisSink, list_sources, read_stream

NAMES = ("person", "bicycle", "car")


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(redis_server.url)


def publish(server: EmbeddedRedis, source: str, labels: list[FrameLabels], **options: Any) -> RedisSink:
    with RedisSink(server.url, source, NAMES, **options) as sink:
        for start in range(0, len(labels), 64):
            sink.write(labels[start : start + 64])
    return sink


def test_every_entry_has_the_documented_fields(
    redis_server: EmbeddedRedis, client: redis.Redis, make_labels: Any
) -> None:
    labels = make_labels(20, source="layout")
    publish(redis_server, "layout", labels)
    entries = client.xrange("everyframe:layout:labels")
    assert len(entries) == 20
    for (entry, fields), record in zip(entries, labels, strict=True):
        assert tuple(key.decode() for key in fields) == FIELDS
        assert entry.decode() == f"{round(record.time_s * 1000)}-{record.frame_index + 1}"
        rows = json.loads(fields[b"objects"])
        assert all(len(row) == len(OBJECT_COLUMNS) for row in rows)
        assert from_fields(fields) == to_record(record, NAMES)


def test_publishing_again_adds_nothing(redis_server: EmbeddedRedis, client: redis.Redis, make_labels: Any) -> None:
    labels = make_labels(150, source="again")
    first = publish(redis_server, "again", labels[:100])
    assert (first.published, first.already, first.note) == (100, 0, None)
    before = client.xrange("everyframe:again:labels")
    costlier = [replace(record, cost_ms={"cnn": 9.0}) for record in labels]
    second = publish(redis_server, "again", costlier)
    assert (second.published, second.already, second.note) == (50, 100, None)
    assert client.xrange("everyframe:again:labels")[:100] == before
    assert client.xlen("everyframe:again:labels") == 150


def test_other_labels_under_the_same_name_are_not_mixed_in_silently(
    redis_server: EmbeddedRedis, make_labels: Any
) -> None:
    publish(redis_server, "other", make_labels(10, source="other"))
    changed = [replace(record, policy="dense") for record in make_labels(10, source="other")]
    sink = publish(redis_server, "other", changed)
    assert sink.published == 0
    assert sink.note is not None
    assert "redis-cli DEL everyframe:other:labels" in sink.note


def test_times_that_stand_still_fall_or_are_negative(redis_server: EmbeddedRedis, make_labels: Any) -> None:
    times = [-0.5, -0.1, 0.0, 0.0, 2.0, 1.0, 1.0, float("nan"), 3.0]
    labels = [
        replace(record, time_s=time) for record, time in zip(make_labels(9, source="times"), times, strict=True)
    ]
    assert publish(redis_server, "times", labels).published == 9
    assert publish(redis_server, "times", labels).published == 0


@pytest.mark.parametrize(("maxlen", "least", "most"), [(0, 5000, 5000), (1000, 1000, 1200)])
def test_the_stream_is_trimmed(
    redis_server: EmbeddedRedis, client: redis.Redis, make_labels: Any, maxlen: int, least: int, most: int
) -> None:
    name = f"trim{maxlen}"
    publish(redis_server, name, make_labels(5000, objects=0), maxlen=maxlen)
    assert least <= client.xlen(f"everyframe:{name}:labels") <= most
    assert client.xrevrange(f"everyframe:{name}:labels", count=1)[0][1][b"frame_index"] == b"4999"


def test_consumer_groups_share_the_work(redis_server: EmbeddedRedis, client: redis.Redis, make_labels: Any) -> None:
    key = "everyframe:groups:labels"
    publish(redis_server, "groups", make_labels(30))
    client.xgroup_create(key, "counters", id="0")
    seen: list[int] = []
    for turn in range(6):
        ((_, entries),) = client.xreadgroup("counters", f"worker-{turn % 2}", {key: ">"}, count=5)
        seen += [int(fields[b"frame_index"]) for _, fields in entries]
        client.xack(key, "counters", *[entry for entry, _ in entries])
    assert seen == list(range(30))
    assert client.xpending(key, "counters")["pending"] == 0


@pytest.mark.parametrize(
    ("source", "safe"),
    [("clip", "clip"), ("a.b_c-1", "a.b_c-1"), ("my clip", "my_clip-"), ("a:b/c*?", "a_b_c_-"), ("", "-")],
)
def test_keys_hold_only_safe_characters(source: str, safe: str) -> None:
    assert stream_key(source).startswith(f"everyframe:{safe}")
    assert stream_key(source).count(":") == 2


def test_two_sources_never_share_a_key() -> None:
    names = ["my clip", "my_clip", "my/clip", "my  clip", "", "_", "x" * 300, "x" * 301, "caf\udce9", "caf\udce8x"]
    assert len({stream_key(name) for name in names}) == len(names)


def test_reading_back_and_listing(redis_server: EmbeddedRedis, make_labels: Any) -> None:
    labels = make_labels(1200, source="reading", objects=1)
    publish(redis_server, "reading", labels)
    connection = Connection(redis_server.url)
    assert stream_key("reading") in list_sources(connection)
    whole = list(read_stream(connection, stream_key("reading")))
    assert whole == [to_record(record, NAMES) for record in labels]
    late = read_stream(connection, stream_key("reading"), since_s=40.0)
    assert [r["frame_index"] for r in late] == list(range(1000, 1200))
    late = read_stream(connection, stream_key("reading"), since_frame=1190)
    assert [r["frame_index"] for r in late] == list(range(1190, 1200))


def test_foreign_entries_are_passed_over(redis_server: EmbeddedRedis, client: redis.Redis, make_labels: Any) -> None:
    key = "everyframe:foreign:labels"
    client.xadd(key, {"hello": "world"}, id="0-1")
    publish(redis_server, "foreign", make_labels(5, start=1, source="foreign"))
    client.xadd(key, {"schema": "1", "frame_index": "x"})
    good = client.xrange(key)[1][1]
    client.xadd(key, good | {b"objects": b"7"})
    client.xadd(key, {b"\xff": b"\xff"})
    found = list(read_stream(Connection(redis_server.url), key))
    assert [r["frame_index"] for r in found] == [1, 2, 3, 4, 5]


def test_embedded_data_survive_a_restart(tmp_path: Path, make_labels: Any) -> None:
    folder = tmp_path / "redis"
    assert not is_data_folder(folder)
    with EmbeddedRedis(folder) as server:
        publish(server, "kept", make_labels(50))
        assert server.is_owner
    assert is_data_folder(folder)
    with EmbeddedRedis(folder) as server:
        assert len(list(read_stream(Connection(server.url), stream_key("kept")))) == 50


def test_a_second_user_of_the_folder_joins_the_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first:
        second = EmbeddedRedis(tmp_path)
        assert (second.is_owner, second.url) == (False, first.url)
        second.stop()
        assert first.pid is not None
    with EmbeddedRedis(tmp_path) as third:
        assert third.is_owner


def test_it_listens_on_no_port_and_only_for_this_user(redis_server: EmbeddedRedis, client: redis.Redis) -> None:
    assert client.config_get("port")["port"] == "0"
    path = redis_server.url.removeprefix("unix://")
    assert os.stat(path).st_mode & 0o077 == 0
    assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0


def test_it_ends_with_a_parent_that_is_killed_and_keeps_the_data(tmp_path: Path) -> None:
    code = (
        "import sys, time; from everyframe.pipeline.sinks.embedded import EmbeddedRedis;"
        "s = EmbeddedRedis(sys.argv[1]); print(s.pid, s.url, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    other = redis.Redis.from_url(url)
    other.xadd("everyframe:x:labels", {"a": "b"}, id="1-1")
    watched = os.pidfd_open(int(pid))
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    signal_done = __import__("select").select([watched], [], [], 10)[0]
    os.close(watched)
    assert signal_done, "the server outlived its parent"
    with EmbeddedRedis(tmp_path) as again:
        assert redis.Redis.from_url(again.url).xlen("everyframe:x:labels") == 1


def test_a_folder_that_cannot_hold_data_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RedisError, match=r"cannot write .*file: it is a file, not a folder"):
        EmbeddedRedis(tmp_path / "file")
    (tmp_path / "bad" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "bad" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense")
    with pytest.raises(RedisError, match="the embedded Redis server did not start on"):
        EmbeddedRedis(tmp_path / "bad")
