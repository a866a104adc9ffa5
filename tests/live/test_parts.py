"""Looks at parts of pictures on real clips with the real CNN: at once they label as files are labelled; late, they still help."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feeding import Fed, LateLooker, arrivals, f1

from everyframe.operators.base import Detector
from everyframe.operators.detectors import load_detector
from everyframe.operators.types import Origin
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.live import parts
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.pipeline.sources.file import FileSource

SIZE, FRAMES = 320, 100
SETTINGS = LabelSettings("region", "causal", model=ModelSettings(imgsz=SIZE))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(imgsz=SIZE)


@pytest.fixture(scope="module")
def clip(data_dir: Path) -> Path:
    return data_dir / "pets_s2l1/pets_s2l1_ip.mp4"


def of_file(path: Path, detector: Detector, settings: LabelSettings, count: int) -> list[FrameLabels]:
    with FileSource(path) as source:
        worker = StreamWorker(source, detector, replace(settings, limit=count))
        return [record for chunk in worker.chunks() for record in chunk]


def test_at_once_they_label_as_files_are_labelled(
    clip: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "EVERY_S", 0.0)
    live = Fed(SETTINGS, detector, LateLooker(detector))
    live.feed(arrivals(clip, FRAMES))
    expected = of_file(clip, detector, SETTINGS, FRAMES)
    assert sum(record.origin == Origin.REGION for record in expected) >= 10
    for ours, theirs in zip(live.out, expected, strict=True):
        record = ours.labels
        assert (record.frame_index, record.origin) == (theirs.frame_index, theirs.origin)
        np.testing.assert_array_equal(record.objects.track_id, theirs.objects.track_id)
        np.testing.assert_allclose(record.objects.xyxy, theirs.objects.xyxy, atol=0.05)
        np.testing.assert_allclose(record.objects.score, theirs.objects.score, atol=1e-4)
    assert live.counts.of["looks_at_parts"] == sum(record.origin == Origin.REGION for record in expected)


def test_late_ones_are_carried_and_set_tracks_right(clip: Path, detector: Detector) -> None:
    dense = of_file(clip, detector, replace(SETTINGS, policy="dense"), FRAMES)
    found = {}
    for policy in ("region", "stride:1000"):
        live = Fed(replace(SETTINGS, policy=policy), detector, LateLooker(detector, 3))
        live.feed(arrivals(clip, FRAMES))
        records = [labels.labels for labels in live.out]
        assert [record.frame_index for record in records] == list(range(FRAMES))
        assert {record.origin for record in records} == {Origin.PROPAGATED}
        found[policy] = f1(records, dense, detector), live
    live = found["region"][1]
    asked = [request for request in live.looker.asked if request.crops is not None]
    whole = [request for request in live.looker.asked if request.crops is None]
    assert len(asked) >= 5 and live.counts.of["looks_at_parts"] + 1 >= len(asked)
    for request in asked:
        assert request.crops is not None
        height, width = request.picture.shape[:2]
        assert (request.crops >= 0).all() and (request.crops <= [width, height, width, height]).all()
        assert request.cost < whole[0].cost and request.value > 0
    assert found["region"][0] > found["stride:1000"][0] + 0.1


def test_one_is_under_way_at_a_time_and_lost_ones_are_counted(clip: Path, detector: Detector) -> None:
    looker = LateLooker(detector, 4, drops=lambda request: request.crops is not None)
    live = Fed(SETTINGS, detector, looker)
    live.feed(arrivals(clip, FRAMES))
    live.close()
    asked = [request.number for request in looker.asked if request.crops is not None]
    assert len(asked) >= 5 and min(np.diff(asked)) >= 4
    assert live.counts.of["looks_dropped"] >= len(asked)
    assert "looks_at_parts" not in live.counts.of


def test_a_new_session_of_another_size_forgets_what_was_proposed(
    clip: Path, data_dir: Path, detector: Detector
) -> None:
    live = Fed(SETTINGS, detector, LateLooker(detector, 3))
    for path in (clip, data_dir / "highway/highway_ip.mp4", clip):
        live.feed(arrivals(path, 40))
    live.close()
    assert [labels.labels.frame_index for labels in live.out] == list(range(120))
    assert live.out[-1].labels.width == 768 and len(live.out[-1].labels.objects) > 0
