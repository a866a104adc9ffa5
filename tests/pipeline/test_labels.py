"""Reading labels back from files, folders and Redis, whole or while they are written; and into supervision."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe.operators.types import Objects
from everyframe.pipeline.errors import RedisError, SinkError, UsageError
from everyframe.pipeline.labels import Since, read_labels
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.schema import Record, to_record
from everyframe.pipeline.sinks import RedisTarget, make_sinks
from everyframe.pipeline.sinks.embedded import EmbeddedRedis
from everyframe.pipeline.sinks.redis import RedisSink

NAMES = ("person", "bicycle", "car")


def write(folder: Path, info: SourceInfo, labels: list[Any], stem: str = "clip") -> Path:
    (sink,) = make_sinks(["jsonl"], folder, info, NAMES, stem=stem)
    with sink:
        sink.write(labels)
    return Path(sink.location)


def frames(records: Iterator[Record]) -> list[int]:
    return [record["frame_index"] for record in records]


def test_a_file_reads_back_as_it_was_written(tmp_path: Path, source_info: SourceInfo, make_labels: Any) -> None:
    labels = make_labels(200)
    path = write(tmp_path, source_info, labels)
    assert list(read_labels(path)) == [to_record(record, NAMES) for record in labels]
    assert frames(read_labels(path, source="clip")) == list(range(200))
    assert frames(read_labels(path, source="other")) == []


@pytest.mark.parametrize(
    ("since", "first"), [("0", 0), ("150", 150), ("0s", 0), ("4s", 100), ("4.01s", 101), (".04s", 1), ("1000", 200)]
)
def test_since(tmp_path: Path, source_info: SourceInfo, make_labels: Any, since: str, first: int) -> None:
    path = write(tmp_path, source_info, make_labels(200))
    assert frames(read_labels(path, since=since)) == list(range(first, 200))


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1 s", "s", "1h", "0x10", "\u0663"])
def test_since_that_is_neither_time_nor_frame(text: str) -> None:
    with pytest.raises(UsageError, match=r"a time as in 12\.5s, or a frame number"):
        Since.parse(text)


def test_a_last_line_that_is_half_written_is_left_out(
    tmp_path: Path, source_info: SourceInfo, make_labels: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, source_info, make_labels(10))
    data = path.read_bytes()
    for cut in range(1, len(data.splitlines()[-1]), 6):
        path.write_bytes(data[:-cut])
        assert frames(read_labels(path)) == list(range(10 if cut == 1 else 9))
    assert "half written" in caplog.text


@pytest.mark.parametrize(("text", "why"), [("hello\n", "not JSON"), ("hello", "not JSON"), ('{"a": 1}\n', "not a label record")])
def test_a_file_that_holds_something_else(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.labels.jsonl").write_text(text)
    with pytest.raises(SinkError, match=rf"x\.labels\.jsonl, line 1: {why}"):
        list(read_labels(tmp_path / "x.labels.jsonl"))


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    (tmp_path / "x.labels.jsonl").write_text('{"schema": 9, "frame_index": 0}\n')
    with pytest.raises(SinkError, match="schema version 9"):
        list(read_labels(tmp_path))


def test_a_folder_with_several_sources(tmp_path: Path, source_info: SourceInfo, make_labels: Any) -> None:
    for stem in ("b", "a"):
        write(tmp_path, source_info, make_labels(3, source=stem), stem)
    assert [r["source"] for r in read_labels(tmp_path)] == ["a"] * 3 + ["b"] * 3
    assert [r["source"] for r in read_labels(tmp_path, source="b")] == ["b"] * 3
    with pytest.raises(UsageError, match=r"no source 'c' in .*; there is a, b"):
        read_labels(tmp_path, source="c")


def test_places_without_labels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no labels at .*none\.jsonl: name a"):
        read_labels(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match=r"it holds no \.labels\.jsonl file"):
        read_labels(tmp_path)


def test_follow_reads_a_file_while_it_is_written(tmp_path: Path, source_info: SourceInfo, make_labels: Any) -> None:
    (sink,) = make_sinks(["jsonl"], tmp_path, source_info, NAMES)
    labels = make_labels(100)
    with ExitStack() as stack:
        stack.enter_context(sink)
        sink.write(labels[:50])
        with pytest.raises(UsageError, match="still being written"):
            read_labels(sink.location)
        for where in (sink.location, tmp_path):
            records = read_labels(where, follow=True)
            assert frames(islice(records, 50)) == list(range(50))
        with ThreadPoolExecutor(1) as other:
            rest = other.submit(frames, records)
            sink.write(labels[50:])
            stack.close()
            assert rest.result(60) == list(range(50, 100))
    assert frames(read_labels(sink.location, follow=True)) == list(range(100))


def test_a_redis_url(redis_server: EmbeddedRedis, make_labels: Any) -> None:
    with RedisSink(redis_server.url, "reader test", NAMES) as sink:
        sink.write(make_labels(200, source="reader test"))
    whole = list(read_labels(redis_server.url, source="reader test"))
    assert whole == [to_record(record, NAMES) for record in make_labels(200, source="reader test")]
    assert frames(read_labels(redis_server.url, source=sink.key, since="4.01s")) == list(range(101, 200))
    assert frames(read_labels(redis_server.url, source="reader test", since="190")) == list(range(190, 200))
    assert "reader test" in {record["source"] for record in read_labels(redis_server.url)}
    with pytest.raises(UsageError, match=r"no source 'raeder_test-\w*'|did you mean"):
        read_labels(redis_server.url, source="raeder_test")


def test_follow_reads_a_stream_while_it_is_written(redis_server: EmbeddedRedis, make_labels: Any) -> None:
    labels = make_labels(100, source="followed")
    records = read_labels(redis_server.url, source="followed", follow=True)
    with RedisSink(redis_server.url, "followed", NAMES) as sink, ThreadPoolExecutor(1) as other:
        early = other.submit(lambda: frames(islice(records, 100)))
        for start in range(0, 100, 10):
            sink.write(labels[start : start + 10])
        assert early.result(60) == list(range(100))


def test_follow_finds_streams_that_come_later(tmp_path: Path, make_labels: Any) -> None:
    with EmbeddedRedis(tmp_path) as server, ThreadPoolExecutor(1) as other:
        records = read_labels(server.url, follow=True, since="2")
        found = other.submit(lambda: [(r["source"], r["frame_index"]) for r in islice(records, 6)])
        for name in ("one", "two"):
            with RedisSink(server.url, name, NAMES) as sink:
                sink.write(make_labels(5, source=name))
        assert sorted(found.result(60)) == [(name, i) for name in ("one", "two") for i in (2, 3, 4)]


def test_an_embedded_servers_data_after_the_run(
    tmp_path: Path, source_info: SourceInfo, make_labels: Any
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, RedisSink(server.url, "clip", NAMES) as sink:
        sink.write(make_labels(20))
        # A reader beside the run joins its server and leaves it running.
        assert frames(read_labels(tmp_path / "redis")) == list(range(20))
        assert server.pid is not None
    assert frames(read_labels(tmp_path)) == list(range(20))
    assert frames(read_labels(tmp_path / "redis", source="clip", since="15")) == list(range(15, 20))
    assert next(read_labels(tmp_path))["frame_index"] == 0  # a reader that stops early ends its server
    with EmbeddedRedis(tmp_path / "redis") as server:
        assert server.is_owner


def test_an_empty_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, pytest.raises(UsageError, match="no labels in Redis at"):
        read_labels(server.url)


def test_with_redis_there_is_always_a_json_lines_file(
    tmp_path: Path, source_info: SourceInfo, redis_server: EmbeddedRedis, make_labels: Any
) -> None:
    sinks = make_sinks(["mot"], tmp_path, source_info, NAMES, "kept", RedisTarget(redis_server.url))
    assert [Path(sink.location).name for sink in sinks[:2]] == ["kept.labels.jsonl", "kept.mot.txt"]
    assert sinks[2].location.endswith("everyframe:kept:labels")
    with pytest.raises(RedisError, match="is not a Redis URL"):
        make_sinks(["mot"], tmp_path, source_info, NAMES, "kept", RedisTarget("http://x"))


def test_to_supervision(make_labels: Any) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    labels = make_labels(1)[0]
    found = labels.to_supervision(NAMES)
    np.testing.assert_array_equal(found.xyxy, labels.objects.xyxy)
    np.testing.assert_array_equal(found.tracker_id, labels.objects.track_id)
    assert list(found.data["class_name"]) == [NAMES[i] for i in labels.objects.class_id]
    assert list(found[1:].data["origin"]) == ["detected"] * (len(labels.objects) - 1)
    assert labels.to_supervision().data["class_name"].dtype.kind == "U"


def test_to_supervision_of_an_empty_frame(make_labels: Any) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    labels = make_labels(7)[6]
    assert len(labels.objects) == 0
    assert len(labels.to_supervision()) == 0
    untracked = Objects.of([[0, 0, 9, 9]], [0.5], [0])
    assert type(labels)(**{**_fields(labels), "objects": untracked}).to_supervision().tracker_id is None


def _fields(labels: Any) -> dict[str, Any]:
    return {name: getattr(labels, name) for name in type(labels).__dataclass_fields__}


def test_to_supervision_without_the_package(make_labels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UsageError, match=r"pip install 'everyframe\[peers\]'"):
        make_labels(1)[0].to_supervision()
