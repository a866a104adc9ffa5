"""`everyframe watch` and `everyframe status` as a user runs them, on real video, with real Redis."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redisserver import RedisServer
from watching import QUICK, SMALL, check_stream, entries, wait_for, watched

from everyframe.pipeline.cli import call
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.sinks.control import send_command


def everyframe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "everyframe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_camera_is_watched_asked_changed_and_stopped(
    clip: str, server: RedisServer, tmp_path: Path
) -> None:
    config = tmp_path / "cameras.yaml"
    config.write_text(f"cameras:\n  - {{name: one, url: {clip}}}\n")
    options = (*QUICK, "--config", str(config), "--realtime", "--loop", "--redis", server.url)
    with watched(tmp_path, *options) as running:
        running.published(60, "one")
        config.write_text(
            f"cameras:\n  - {{name: one, url: {clip}}}\n  - {{name: two, url: {clip}, weight: 2}}\n"
        )
        running.published(30, "two")
        config.write_text("cameras: nothing")
        wait_for(lambda: "stay as they are" in running.words())
        asked = everyframe("status", "--state", str(running.state), "--json")
        assert asked.returncode == 0, asked.stderr
        assert {camera["name"] for camera in json.loads(asked.stdout)["cameras"]} == {"one", "two"}
        over_http = everyframe("status", "--http", f":{running.port}")
        assert over_http.returncode == 0 and "2 of 2 cameras live" in over_http.stdout
        second = everyframe(
            "watch", clip, "--state", str(running.state), "--redis", "none", "--out", str(tmp_path)
        )
        assert second.returncode == 2 and "another everyframe watch" in second.stderr
        row = {"name": "three", "url": clip, "policy": "stride:5"}
        assert send_command(server.url, "add", row)["cameras"] == ["three"]
        with pytest.raises(UsageError, match="already"):
            send_command(server.url, "add", row)
        running.published(20, "three")
        assert send_command(server.url, "remove", {"name": "three"})["cameras"] == ["three"]
        config.write_text(f"cameras:\n  - {{name: two, url: {clip}, weight: 2}}\n")
        wait_for(lambda: set(running.cameras()) == {"two"})
        cameras = running.check(running.stop())
    assert set(cameras) == {"two"} and cameras["two"]["state"] == "stopped"
    for name in ("one", "two", "three"):
        check_stream(entries(server.url, name))
    assert len(entries(server.url, "two")) == cameras["two"]["counts"]["received"]
    after = everyframe("status", "--state", str(running.state))
    assert after.returncode == 1 and "was stopped" in after.stderr


def test_files_are_played_to_the_end(data_dir: Path, server: RedisServer, tmp_path: Path) -> None:
    clip = str(data_dir / "moving" / "dashcam.mp4")
    with watched(tmp_path, clip, *QUICK, "--realtime", "--redis", server.url) as running:
        cameras = running.check(running.ended())
    assert cameras["dashcam"]["counts"]["received"] == cameras["dashcam"]["counts"]["published"] == 38
    found = entries(server.url, "dashcam")
    check_stream(found)
    assert [number for _, number in found] == list(range(38))


def test_ctrl_c_under_load_loses_nothing(clip: str, server: RedisServer, tmp_path: Path) -> None:
    options = (*SMALL, "--policy", "dense", "--realtime", "--redis", server.url)
    with watched(tmp_path, clip, *options) as running:
        running.published(20)
        cameras = running.check(running.stop(signal.SIGINT), status=130)
    check_stream(entries(server.url, "street"), holes=cameras["street"]["counts"].get("dropped.overload", 0))


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ((), 2, "no camera given"),
        (("rtsp://u:hunter2@h/x",), 2, "nowhere to put labels"),
        (("rtsp://u:hunter2@h/x", "--redis", "hunter2"), 2, "write a URL"),
        (("rtsp://u:hunter2@h/x", "--cpus", "0", "--redis", "none"), 2, "--cpus: write a number above 0"),
        (("rtsp://u:hunter2@h/x", "--redis", "embedded", "--http", "0.0.0.0:0"), 2, "--http-token"),
        (("--config", "no-such.yaml"), 2, "no file or preset"),
        (("rtsp://u:hunter2@h/x", "--redis", "embedded", "--model", "no.onnx"), 1, "no.onnx"),
    ],
)
def test_a_wrong_command_is_one_sentence(
    arguments: tuple[str, ...],
    status: int,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert call(["watch", *arguments, "--state", str(tmp_path / "state"), "--engine", "local"]) == status
    out, err = capsys.readouterr()
    assert sentence in err and len(err.strip().splitlines()) <= 2 and "hunter2" not in out + err


def test_the_settings_in_force_are_printed_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["watch", "rtsp://u:hunter2@h/x", "--retain", "24h", "--print-config"]) == 0
    out, _ = capsys.readouterr()
    assert "retain: 24h" in out and "hunter2" not in out


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("--state", str(tmp_path)),
        ("--http", "127.0.0.1:9"),
        ("--http", ":9", "--redis", "redis://h"),
    ):
        assert call(["status", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
