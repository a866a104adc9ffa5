"""`everyframe cameras` against a real supervisor's roster over a real Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from everyframe.pipeline.cli import call
from everyframe.pipeline.live.roster import Roster
from everyframe.pipeline.live.settings import load_settings
from everyframe.pipeline.sinks.control import ControlReader
from everyframe.pipeline.sinks.embedded import EmbeddedRedis


@pytest.fixture
def roster(redis_server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Roster]:
    """Of one camera `yard`, which takes commands as `watch` does; $REDIS_URL names the server."""
    config = tmp_path / "cameras.yaml"
    config.write_text("cameras: [{name: yard, url: 'rtsp://user:hunter2@h/yard'}]")
    roster = Roster(load_settings([], {}, str(config)))

    def handle(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
        if name == "list":
            return {"cameras": roster.rows()}
        done = roster.command(name, row)
        return {"done": name, "cameras": [*(c.name for c in (*done.added, *done.changed)), *done.removed]}

    position = tmp_path / "position"
    with ControlReader(redis_server.url, handle, position):
        until = time.monotonic() + 30
        while not position.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        monkeypatch.setenv("REDIS_URL", redis_server.url)
        yield roster


def test_cameras_are_listed_added_changed_and_removed(
    roster: Roster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATE_PASSWORD", "s3cret")
    add = ["cameras", "add", "rtsp://user:${GATE_PASSWORD}@h/gate", "--set", "weight=2"]
    zone = "zones=[{name: door, points: [[0, 0], [1, 0], [1, 1]]}]"
    assert call([*add, "--set", zone, "--name", "gate"]) == 0
    gate = roster.cameras["gate"]
    assert gate.url == "rtsp://user:s3cret@h/gate" and gate.weight == 2.0
    assert gate.zones[0].points == ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
    assert call(["cameras", "change", "yard", "--set", "classes=[person, car]"]) == 0
    assert roster.cameras["yard"].labels.classes == ("person", "car")
    assert call(["cameras", "list", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["added gate", "changed yard"]
    assert {row["name"] for row in json.loads(out[2])["cameras"]} == {"yard", "gate"}
    assert "hunter2" not in "".join(out) and "s3cret" not in "".join(out)
    assert call(["cameras", "remove", "gate"]) == 0
    assert set(roster.cameras) == {"yard"}


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (["remove", "yart"], "there is no camera 'yart', did you mean 'yard'?"),
        (["add", "rtsp://h/yard", "--name", "yard"], "there is a camera 'yard' already"),
        (["change", "yard", "--set", "weigth=2"], "weigth"),
        (["add", "rtsp://user:${NO_SUCH_NAME}@h/x"], "the environment has no NO_SUCH_NAME"),
    ],
)
def test_what_watch_refuses_is_one_sentence_and_exit_1(
    tokens: list[str], sentence: str, roster: Roster, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(roster.cameras)
    assert call(["cameras", *tokens]) == 1
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and not said.out
    assert roster.cameras == before


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (["add"], "name the camera by its URL"),
        (["remove"], "name the camera by its name"),
        (["list", "yard"], "takes no camera"),
        (["change", "yard"], "say what with --set"),
        (["change", "yard", "--set", "weight"], "write KEY=VALUE"),
        (["change", "yard", "--set", "url=[s3cret"], "not valid YAML"),
        (["change", "yard", "--set", "name=gate"], "not by --set"),
        (["remove", "yard", "--name", "gate"], "--name is for cameras add"),
        (["list", "--wait", "0"], "--wait"),
        (["explode"], "explode"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_exit_2(
    tokens: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert call(["cameras", *tokens]) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and "s3cret" not in said.err


def test_without_redis_or_without_a_watch(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert call(["cameras", "list"]) == 2
    assert "--redis" in capsys.readouterr().err
    assert call(["cameras", "list", "--redis", redis_server.url, "--wait", "0.3"]) == 1
    assert "no everyframe watch answered" in capsys.readouterr().err
