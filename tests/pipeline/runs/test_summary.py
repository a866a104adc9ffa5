"""The summary's arithmetic, and which engine auto means."""

from __future__ import annotations

from fractions import Fraction

import pytest

from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.runs.engine_choice import Choice, choose_engine, expected_frames
from everyframe.pipeline.runs.session import RunResult, SourceResult
from everyframe.pipeline.runs.summary import as_json, dense_ms, read_back_command
from everyframe.pipeline.settings import RunSettings

STATS = RunStats(
    frames=100,
    decoded=50,
    cnn_frames=10,
    cpu_ms={"demux": 1.0, "decode": 100.0, "convert": 20.0, "cnn": 400.0, "publish": 4.0},
    total_cpu_ms=530.0,
)


def info(frames: int | None) -> SourceInfo:
    return SourceInfo("a", "a.mp4", "h264", 64, 48, 0, Fraction(1, 25), Fraction(25), frames, None)


def result(*sources: SourceResult) -> RunResult:
    return RunResult(RunSettings(), Choice("local", "as asked"), list(sources))


def test_dense_is_every_step_for_every_frame() -> None:
    assert dense_ms(STATS) == pytest.approx(0.01 + 0.04 + 2.0 + 42.0)
    assert dense_ms(RunStats(frames=100, decoded=50)) is None


def test_json_has_the_documented_keys() -> None:
    shown = as_json(result(SourceResult("a.mp4", "a", STATS, ["out/a.labels.jsonl"], "d1", is_done=True)))
    assert (shown["frames"], shown["decoded"], shown["cnn_frames"]) == (100, 50, 10)
    assert shown["cpu_ms_per_frame"] == pytest.approx(5.3)
    assert shown["cpu_ms"]["other"] == pytest.approx(5.0)
    assert list(shown["cpu_ms"])[:4] == ["demux", "decode", "convert", "cnn"]
    assert shown["digest"] == "d1"
    assert shown["outputs"] == ["out/a.labels.jsonl"]


def test_one_digest_over_several() -> None:
    one, two = SourceResult("a", "a", digest="d1"), SourceResult("b", "b", digest="d2")
    assert result(one, two).digest != result(two, one).digest
    assert result(one).digest == "d1"
    assert result(one, SourceResult("c", "c")).digest is None


def test_secrets_stay_out_of_the_summary() -> None:
    where = "redis://me:secret@host/0 everyframe:a:labels"
    source = SourceResult("rtsp://me:secret@cam/1", "a", outputs=[where], errors=[SourceError(where)])
    assert "secret" not in str(as_json(result(source)))
    assert read_back_command(result(source), "redis://me:secret@host/0") == "everyframe labels 'redis://***@host/0'"


@pytest.mark.parametrize(
    ("settings", "frames", "cpus", "engine"),
    [
        (RunSettings(), [250], 2, "local"),
        (RunSettings(), [100_000], 2, "ray"),
        (RunSettings(), [100_000], 1, "local"),
        (RunSettings(limit=100), [100_000], 2, "local"),
        (RunSettings(), [1600, 1600], 2, "ray"),
        (RunSettings(), [None], 2, "local"),
        (RunSettings(), [None, None], 2, "ray"),
        (RunSettings(workers=1), [100_000], 2, "local"),
        (RunSettings(workers=2), [10], 2, "ray"),
        (RunSettings(address="ray://host:10001"), [10], 1, "ray"),
        (RunSettings(engine="local", workers=8), [100_000], 8, "local"),
    ],
)
def test_auto_takes_ray_where_it_pays(
    settings: RunSettings, frames: list[int | None], cpus: int, engine: str
) -> None:
    choice = choose_engine(settings, [info(n) for n in frames], cpus)
    assert choice.engine == engine
    assert choice.reason


def test_expected_frames_skip_what_cannot_be_opened() -> None:
    assert expected_frames([info(10), None, info(30)], 20) == 30
    assert expected_frames([info(None)], None) is None
    assert expected_frames([info(None)], 7) == 7
