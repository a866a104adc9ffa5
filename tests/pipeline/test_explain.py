"""explain: the frame of a run, asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from everyframe.pipeline.cli import call
from everyframe.pipeline.errors import SourceError, UsageError
from everyframe.pipeline.explain import explain
from everyframe.pipeline.settings import LabelSettings, ModelSettings

SETTINGS = LabelSettings(policy="stride:4", mode="causal", model=ModelSettings(imgsz=192, runtime="torch", precision="f32"))


def test_the_record_is_that_of_the_run(data_dir: Path) -> None:
    found = explain(str(data_dir / "parking" / "parking.mp4"), 6, SETTINGS)
    assert found.record.frame_index == 6
    assert found.record.key_age == 2
    assert found.why == {}


def test_frames_that_are_not_there(data_dir: Path) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        explain("any.mp4", -1, SETTINGS)
    video = str(data_dir / "moving" / "dashcam.mp4")
    with pytest.raises(SourceError, match=r"has 38 frames: name one from 0 to 37\."):
        explain(video, 1000, SETTINGS)


def test_labels_in_place_of_their_video(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["explain", "out/clip.labels.jsonl", "--frame", "3"]) == 2
    assert "name the video" in capsys.readouterr().err
