from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.detectors import NanoDetDetector, coco, load_detector
from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.engines.base import Chunk, Finished, RunStats, Started
from everyframe.pipeline.errors import SourceError, UsageError
from everyframe.pipeline.metrics import group_table
from everyframe.pipeline.peers import PeerEngine, check_peer, peer_mode
from everyframe.pipeline.peers.flow import _medians
from everyframe.pipeline.peers.linear import _interpolate
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings

FRAMES = 24


@pytest.fixture(scope="module")
def detector() -> NanoDetDetector:
    return load_detector(imgsz=320)


@pytest.fixture(scope="module")
def clip(data_dir: Path) -> str:
    return str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")


def label(
    path: str, policy: str, detector: NanoDetDetector, limit: int | None = FRAMES
) -> tuple[list[FrameLabels], RunStats]:
    settings = LabelSettings(policy=policy, limit=limit, classes=("person",), conf=0.35)
    events = list(PeerEngine(detector).run([path], settings))
    assert isinstance(events[0], Started) and isinstance(events[-1], Finished)
    assert events[-1].error is None
    return [r for e in events if isinstance(e, Chunk) for r in e.labels], events[-1].stats


def check_records(records: list[FrameLabels], stats: RunStats, policy: str) -> None:
    assert [r.frame_index for r in records] == list(range(FRAMES)) == list(range(stats.frames))
    assert {r.policy for r in records} == {policy}
    assert all((r.objects.class_id == 0).all() and (r.objects.score >= 0.35).all() for r in records)
    for record in records:
        boxes = record.objects.xyxy
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all() and (boxes <= [768, 576, 768, 576]).all()
        assert (record.objects.origin == record.origin).all()
    assert set(stats.cpu_ms) <= {"demux", "decode", "convert", "cnn", "propagate"}


@pytest.mark.parametrize(
    ("policy", "between"),
    [
        ("peer:stride-hold:10", Origin.HELD),
        ("peer:bytetrack:10", Origin.PROPAGATED),
        ("peer:dis-flow:10", Origin.PROPAGATED),
    ],
)
def test_stride_peers(clip: str, detector: NanoDetDetector, policy: str, between: Origin) -> None:
    if "bytetrack" in policy:
        pytest.importorskip("trackers", reason="ByteTrack is not installed")
    records, stats = label(clip, policy, detector)
    check_records(records, stats, policy)
    assert [r.origin == Origin.DETECTED for r in records] == [i % 10 == 0 for i in range(FRAMES)]
    assert {r.origin for r in records} == {Origin.DETECTED, between}
    assert [r.key_age for r in records] == [i % 10 for i in range(FRAMES)]
    assert (stats.decoded >= FRAMES, stats.cnn_frames) == (True, 3)
    assert any(len(r.objects) for r in records if r.origin == between)


def test_moving_peers_move(clip: str, detector: NanoDetDetector) -> None:
    held, _ = label(clip, "peer:stride-hold:10", detector)
    moved, _ = label(clip, "peer:dis-flow:10", detector)
    assert (held[10].objects.xyxy == moved[10].objects.xyxy).all()
    assert np.abs(held[9].objects.xyxy - moved[9].objects.xyxy).max() > 1


def test_iframes_linear_decodes_key_frames_only(clip: str, detector: NanoDetDetector) -> None:
    records, stats = label(clip, "peer:iframes-linear", detector)
    check_records(records, stats, "peer:iframes-linear")
    assert (stats.decoded, stats.cnn_frames) == (2, 2)
    assert [r.origin for r in records[:21]] == [Origin.DETECTED, *[Origin.INTERPOLATED] * 19, Origin.DETECTED]
    assert {r.origin for r in records[21:]} == {Origin.HELD}


def test_peers_label_every_frame_of_a_clip_that_begins_inside_a_group(
    data_dir: Path, detector: NanoDetDetector
) -> None:
    path = str(data_dir / "crossing" / "crossing.mp4")
    records, stats = label(path, "peer:iframes-linear", detector, limit=FRAMES)
    assert len(records) == stats.frames == FRAMES
    assert records[0].origin == Origin.DETECTED


def test_a_missing_file_ends_in_its_own_event(detector: NanoDetDetector, tmp_path: Path) -> None:
    settings = LabelSettings(policy="peer:stride-hold:2")
    [event] = PeerEngine(detector).run([str(tmp_path / "none.mp4")], settings)
    assert isinstance(event, Finished) and isinstance(event.error, SourceError)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("peer:bytetrak:10", "did you mean peer:bytetrack:N"),
        ("peer:zzz", "choose one of peer:stride-hold:N, "),
        ("peer:bytetrack", "needs a whole number"),
        ("peer:dis-flow:0", "needs a whole number"),
        ("peer:stride-hold:1.5", "needs a whole number"),
        ("peer:iframes-linear:3", "takes no number"),
    ],
)
def test_wrong_names_are_explained(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_peer(spec)


def test_modes() -> None:
    assert peer_mode("peer:bytetrack:10") == "causal"
    assert peer_mode("peer:iframes-linear") == "lookahead"


def test_interpolation_is_linear_and_unmatched_boxes_keep_to_their_side() -> None:
    a = Objects.of([[0, 0, 10, 10], [500, 0, 510, 10]], [0.9, 0.8], [0, 0])
    b = Objects.of([[8, 4, 18, 14], [900, 0, 910, 10]], [0.9, 0.7], [0, 0])
    quarter, half, late = _interpolate(a, b, group_table(coco.SUPERCATEGORY), 4)
    assert quarter.xyxy.tolist() == [[2, 1, 12, 11], [500, 0, 510, 10]]
    assert half.xyxy[:, 0].tolist() == [4, 900]
    assert late.xyxy.tolist() == [[6, 3, 16, 13], [900, 0, 910, 10]]


def test_flow_medians_of_boxes_inside_and_outside() -> None:
    flow = np.zeros((20, 30, 2), np.float32)
    flow[5:15, 5:15] = (3, -1)
    boxes = np.array([[5, 5, 15, 15], [-50, -50, -40, -40], [40, 30, 60, 50]], np.float32)
    assert _medians(flow, boxes).tolist() == [[3, -1], [0, 0], [0, 0]]
    assert _medians(flow, np.zeros((0, 4), np.float32)).shape == (0, 2)
