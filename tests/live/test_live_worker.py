"""A live camera's worker on real clips with the real CNN: a record of every frame, looks that come late."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feeding import Counts, Fed, LateLooker, arrivals, f1
from media import make_clip

from everyframe.operators.base import Detector
from everyframe.operators.detectors import load_detector
from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.labelling.audits import estimate
from everyframe.pipeline.labelling.report import Reporter
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.live.pending import MOST_FIELDS
from everyframe.pipeline.live.pool import DetectorPool, LocalLooker
from everyframe.pipeline.live.types import Arrival, Camera, LiveLabels
from everyframe.pipeline.live.worker import LiveWorker, live_policy
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.pipeline.sources.file import FileSource

SIZE = 320
SETTINGS = LabelSettings("stride:10", "causal", model=ModelSettings(imgsz=SIZE))
FRAMES = 100


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(imgsz=SIZE)


@pytest.fixture(scope="module")
def dense(data_dir: Path, detector: Detector) -> list[FrameLabels]:
    """What the CNN finds in the first frames of a clip."""
    return of_stream(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", detector, replace(SETTINGS, policy="dense"), 120)


def fed(detector: Detector, late: int = 0, settings: LabelSettings = SETTINGS) -> Fed:
    return Fed(settings, detector, LateLooker(detector, late))


def of_stream(path: Path, detector: Detector, settings: LabelSettings, count: int) -> list[FrameLabels]:
    with FileSource(path) as source:
        worker = StreamWorker(source, detector, replace(settings, limit=count))
        return [record for chunk in worker.chunks() for record in chunk]


@pytest.mark.parametrize("clip", ["pets_s2l1/pets_s2l1_ip.mp4", "pets_s2l1/pets_s2l1_b3.mp4"])
def test_with_immediate_answers_it_labels_as_files_are_labelled(clip: str, data_dir: Path, detector: Detector) -> None:
    live = fed(detector)
    live.feed(arrivals(data_dir / clip, FRAMES))
    expected = of_stream(data_dir / clip, detector, SETTINGS, FRAMES - 6)  # which frames the cut leaves out differs
    assert len(live.out) == FRAMES
    for ours, theirs in zip(live.out, expected, strict=False):
        record = ours.labels
        assert (record.frame_index, record.pts, record.origin, record.key_age) == (
            theirs.frame_index,
            theirs.pts,
            theirs.origin,
            theirs.key_age,
        )
        np.testing.assert_array_equal(record.objects.track_id, theirs.objects.track_id)
        np.testing.assert_allclose(record.objects.xyxy, theirs.objects.xyxy, atol=0.05)
        np.testing.assert_allclose(record.objects.score, theirs.objects.score, atol=1e-4)


@pytest.mark.parametrize("clip", ["pets_s2l1/pets_s2l1_ip.mp4", "pets_s2l1/pets_s2l1_b3.mp4"])
def test_every_frame_has_a_record_in_order_when_looks_are_late(clip: str, data_dir: Path, detector: Detector) -> None:
    live = fed(detector, late=7)
    most_behind = 0
    for count, arrival in enumerate(arrivals(data_dir / clip, FRAMES), 1):
        live.feed([arrival])
        most_behind = max(most_behind, count - len(live.out))
    records = [labels.labels for labels in live.out]
    assert [record.frame_index for record in records] == list(range(FRAMES))
    times = [record.pts for record in records if record.pts is not None]
    assert len(times) == FRAMES and times == sorted(times)
    assert most_behind <= 6  # of reordering, never of the CNN
    assert {record.origin for record in records} == {Origin.PROPAGATED}
    assert records[0].reason.endswith("asked") and not len(records[0].objects)
    assert len(records[30].objects)
    gaps = np.diff([request.number for request in live.looker.asked])
    assert set(gaps.tolist()) <= {10, 11}  # a frame more where the answer comes just then
    assert (records[14].key_age, records[22].key_age) == (14, 12)  # the look at frame 10 is there by now
    assert sum(live.worker.rungs.count(number) for number in Origin) == FRAMES
    assert live.counts.of["rung.propagated"] == live.counts.of["decoded"] == FRAMES
    assert records[0].time_s == 1000.0


def test_accuracy_falls_gently_with_delay(data_dir: Path, detector: Detector, dense: list[FrameLabels]) -> None:
    clip, found = data_dir / "pets_s2l1/pets_s2l1_ip.mp4", []
    for late in (0, 5, 20):
        live = fed(detector, late)
        live.feed(arrivals(clip, len(dense)))
        found.append(f1([labels.labels for labels in live.out][25:], dense[25:], detector))
    assert found[0] > 0.75
    assert found[0] - 0.1 < found[1]
    assert 0.5 < found[2] < found[0]  # 20 frames are 3 s of this clip


def test_lost_looks_are_counted_and_asked_for_again(data_dir: Path, detector: Detector) -> None:
    clip = data_dir / "pets_s2l1/pets_s2l1_ip.mp4"
    looker = LateLooker(detector, 2, drops=lambda request: request.number < 25)
    live = Fed(replace(SETTINGS, policy="stride:1000"), detector, looker)
    live.feed(arrivals(clip, 60))
    live.close()
    lost = [request for request in looker.asked if request.number < 25]
    assert 3 <= len(lost) <= 6
    assert live.counts.of["looks_dropped"] == len(lost)
    assert live.counts.of["looks"] == 1
    assert len(live.out[-1].labels.objects) > 0


def test_a_new_session_goes_on_with_its_tracks_and_numbers(data_dir: Path, detector: Detector) -> None:
    clip = data_dir / "pets_s2l1/pets_s2l1_ip.mp4"
    live = fed(detector)
    live.feed(arrivals(clip, 45))
    before = set(live.out[-1].labels.objects.track_id.tolist())
    live.feed(arrivals(clip, 45))
    records = [labels.labels for labels in live.out]
    assert [record.frame_index for record in records] == list(range(90))
    assert records[45].origin == Origin.DETECTED  # a look is owed
    assert before & set(records[45].objects.track_id.tolist())
    assert records[45].objects.track_id.max() < 60


def test_another_size_begins_without_tracks(data_dir: Path, detector: Detector, tmp_path: Path) -> None:
    live = fed(detector, late=4)
    live.feed(arrivals(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", 42))
    assert len(live.out[-1].labels.objects)
    live.feed(arrivals(make_clip(tmp_path / "other.mp4", frames=20)))
    live.close()
    records = [labels.labels for labels in live.out]
    assert [record.frame_index for record in records] == list(range(62))
    assert (records[42].width, records[42].height) == (64, 48)
    assert not len(records[42].objects)
    assert live.counts.of["looks_dropped"] >= 1  # the look at frame 40 says nothing of this picture
    assert any(request.number == 42 for request in live.looker.asked)


def test_damaged_pictures_are_not_sent(data_dir: Path, detector: Detector) -> None:
    live = fed(detector)
    live.feed(arrivals(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", 40, suspects=range(5, 24)))
    assert [request.number for request in live.looker.asked] == [0, 24, 34]
    assert len(live.out) == 40


def test_audits_measure_what_was_published(data_dir: Path, detector: Detector, dense: list[FrameLabels]) -> None:
    clip = data_dir / "pets_s2l1/pets_s2l1_ip.mp4"
    live = fed(detector, 3, replace(SETTINGS, audit=0.5))
    live.feed(arrivals(clip, FRAMES))
    sums = live.worker.audits
    records = [labels.labels for labels in live.out]
    assert sums.open == FRAMES and 10 <= sums.n <= 50
    told = estimate(sums)
    assert told is not None
    assert told.low <= f1(records, dense, detector) <= told.high


def test_answers_that_never_come_are_let_go(data_dir: Path, detector: Detector) -> None:
    live = fed(detector, 10_000, replace(SETTINGS, policy="stride:1000"))
    live.feed(arrivals(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", MOST_FIELDS + 12))
    assert live.counts.of["looks_dropped"] == 1
    assert len(live.looker.asked) == 2
    live.close()
    assert live.counts.of["looks_dropped"] == 2


def test_a_real_pool_beside_it(data_dir: Path, detector: Detector) -> None:
    """Fed faster than the CNN can look: every frame has its record, every look is accounted for."""
    pool = DetectorPool(lambda: detector, 64.0)
    looker, counts, out = LocalLooker(pool), Counts(), list[LiveLabels]()
    worker = LiveWorker(Camera("yard", "file", replace(SETTINGS, policy="dense")), looker, detector, counts, out.append)
    for number, arrival in enumerate(arrivals(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", 60)):
        worker.take(replace(arrival, since=time.monotonic()))
        while number == 40 and not counts.of.get("looks"):
            worker.idle()
            time.sleep(0.01)
    worker.close()
    pool.close(60.0)
    assert [labels.labels.frame_index for labels in out] == list(range(60))
    assert len(out[-1].labels.objects)
    assert counts.of["looks"] >= 1
    assert counts.of["looks"] + counts.of.get("looks_dropped", 0) <= 60
    assert pool.looks >= counts.of["looks"]


def test_what_is_remembered_of_tracks_is_let_go() -> None:
    report = Reporter(0.4, np.zeros(0, np.int32))
    boxes = [[0, 0, 9, 9], [50, 0, 59, 9]]
    assert report(Objects.of(boxes, [0.9, 0.9], [0, 0], [7, 3])).track_id.tolist() == [1, 2]
    report.keep(np.array([3, 99], np.int32))
    assert report(Objects.of(boxes, [0.9, 0.9], [0, 0], [3, 8])).track_id.tolist() == [2, 3]


def late(path: Path, count: int, seconds: float) -> list[Arrival]:
    return [replace(arrival, since=time.monotonic() - seconds) for arrival in arrivals(path, count)]


def test_overload_decodes_key_frames_only_and_each_frame_has_a_record(data_dir: Path, detector: Detector) -> None:
    live = fed(detector)
    live.feed(late(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", 80, 2.0))
    assert live.worker.level == 3 and live.worker.level_name == "key frames only"
    assert len(live.out) == 80
    assert live.counts.of["decoded"] < 10
    assert live.counts.of["rung.held"] > 70


def test_the_worst_overload_drops_groups_and_counts_them(tmp_path: Path, detector: Detector) -> None:
    clip = make_clip(tmp_path / "groups.mp4", frames=60, gop=10, bframes=2)
    live = fed(detector)
    for number, arrival in enumerate(arrivals(clip)):
        is_late = 15 <= number < 35
        live.feed([replace(arrival, since=time.monotonic() - 9.0)] if is_late else [arrival])
    live.close()
    dropped = live.counts.sum("dropped.")
    assert live.counts.of["dropped.overload"] == 20  # two whole groups
    assert len(live.out) + dropped == 60
    assert [labels.labels.frame_index for labels in live.out] == list(range(40))
    times = [labels.labels.pts for labels in live.out if labels.labels.pts is not None]
    assert times == sorted(times)


def test_a_preview_is_made_when_asked_for(data_dir: Path, detector: Detector) -> None:
    live = fed(detector)
    assert live.worker.picture() is None
    live.feed(arrivals(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", 12))
    found = live.worker.picture()
    assert found is not None
    assert found[0].shape == (576, 768, 3)
    assert len(found[1]) == live.worker.tracks == len(live.out[-1].labels.objects)


@pytest.mark.parametrize("policy", ["motion", "learned", "region:20", "flow:10", "residual", "iframes", "lattice:10"])
def test_every_policy_labels_a_camera(policy: str, data_dir: Path, detector: Detector) -> None:
    live = fed(detector, 2, replace(SETTINGS, policy=policy))
    live.feed(arrivals(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", 50))
    assert [labels.labels.frame_index for labels in live.out] == list(range(50))
    assert any(len(labels.labels.objects) for labels in live.out)
    assert live.worker.policy_name == live_policy(policy).name


def test_a_camera_process_has_no_pytorch() -> None:
    code = "import sys, everyframe.pipeline.live.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
