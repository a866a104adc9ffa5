"""What is the local engine's own; what all engines promise is in tests/contracts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.engines.base import Chunk, Started
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.settings import LabelSettings, ModelSettings

MODEL = ModelSettings(imgsz=192, runtime="torch", precision="f32")


def test_a_given_detector_is_used_and_events_come_as_frames_are_ready(data_dir: Path) -> None:
    clip = str(data_dir / "room" / "room.mp4")
    engine = LocalEngine(open_detector(MODEL, 1280, 720))
    settings = LabelSettings(policy="stride:5", mode="causal", limit=10, model=ModelSettings("no such model"))
    started, *rest = list(engine.run([clip], settings))
    assert isinstance(started, Started)
    assert (started.runtime, started.precision) == ("torch", "f32")
    assert sum(len(event.labels) for event in rest if isinstance(event, Chunk)) == 10


def test_a_run_can_be_left_and_another_begun(data_dir: Path) -> None:
    clip = str(data_dir / "moving" / "dashcam.mp4")
    engine = LocalEngine()
    events = engine.run([clip], LabelSettings(policy="stride:5", model=MODEL))
    next(event for event in events if isinstance(event, Chunk))
    events.close()  # type: ignore[attr-defined]
    labels = [
        record
        for event in engine.run([clip, clip], LabelSettings(policy="stride:20", model=MODEL))
        if isinstance(event, Chunk)
        for record in event.labels
    ]
    engine.close()
    assert [record.frame_index for record in labels] == [*range(38), *range(38)]


def test_a_low_conf_is_looked_for(data_dir: Path) -> None:
    clip = str(data_dir / "room" / "room.mp4")
    settings = LabelSettings(policy="dense", mode="causal", conf=0.05, limit=2, model=MODEL)
    events = LocalEngine().run([clip], settings)
    scores = np.concatenate([r.objects.score for e in events if isinstance(e, Chunk) for r in e.labels])
    assert 0.05 <= scores.min() < 0.1
