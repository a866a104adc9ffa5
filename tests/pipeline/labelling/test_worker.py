"""The whole path in one process, on real video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from media import make_clip

from everyframe.operators.types import Origin
from everyframe.pipeline.engines.base import Chunk, Finished
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.errors import SourceBroken
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.settings import LabelSettings, ModelSettings

SMALL = ModelSettings(imgsz=192, runtime="torch", precision="f32")
LIMIT = 60
POLICIES = ["dense", "stride:7", "iframes", "random:0.2", "motion"]
CLIPS = ["pets_s2l1/pets_s2l1_b3", "parking/parking", "crossing/crossing", "walkway/walkway"]


def label(path: Path, **settings):
    engine = LocalEngine()
    labels, finished = [], None
    for event in engine.run([str(path)], LabelSettings(model=SMALL, **settings)):
        if isinstance(event, Chunk):
            labels += event.labels
        elif isinstance(event, Finished):
            finished = event
    engine.close()
    return labels, finished


def full_decode(path: Path, limit: int) -> list[int]:
    with av.open(str(path)) as container:
        return [f.pts for f, _ in zip(container.decode(video=0), range(limit), strict=False)]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", ["causal", "lookahead"])
@pytest.mark.parametrize("clip", CLIPS)
def test_one_record_for_every_frame_of_a_full_decode(data_dir, clip, mode, policy):
    path = data_dir / f"{clip}.mp4"
    limit = 21 if policy == "dense" else LIMIT
    labels, finished = label(path, policy=policy, mode=mode, limit=limit)
    assert finished.error is None
    assert [r.pts for r in labels] == full_decode(path, limit)
    assert [r.frame_index for r in labels] == list(range(limit))
    for r in labels:
        boxes = r.objects.xyxy
        assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert (r.objects.score >= 0.45).all() and (r.objects.track_id > 0).all()
        assert len(set(r.objects.track_id.tolist())) == len(r.objects)
        assert r.key_age >= 0 and (r.key_age == 0) == (r.origin == Origin.DETECTED)
        assert mode == "lookahead" or r.origin != Origin.INTERPOLATED
    assert finished.stats.frames == limit
    assert finished.stats.cnn_frames == sum(r.origin == Origin.DETECTED for r in labels)
    assert all(ms >= 0 for r in labels for ms in r.cost_ms.values())


@pytest.mark.parametrize("policy", ["motion", "iframes", "stride:7"])
def test_equal_runs_give_equal_digests(data_dir, policy):
    digests = set()
    for _ in range(2):
        labels, _ = label(data_dir / "parking" / "parking.mp4", policy=policy, limit=LIMIT)
        digest = LabelDigest()
        digest.update(labels)
        digests.add(digest.hexdigest())
    assert len(digests) == 1


def test_shards_join_frames_and_names(data_dir):
    path = str(data_dir / "street" / "street.mp4")
    settings = LabelSettings(policy="stride:8", limit=144, model=replace(SMALL, imgsz=384))
    runs = {}
    for frames in (48, 10_000):
        engine = LocalEngine(frames_per_shard=frames)
        runs[frames] = [r for e in engine.run([path], settings) if isinstance(e, Chunk) for r in e.labels]
    cut, whole = runs[48], runs[10_000]
    assert [r.pts for r in cut] == [r.pts for r in whole]
    for record in cut:  # a parked car keeps its name over the cuts
        assert len(set(record.objects.track_id.tolist())) == len(record.objects)
    names = [set(r.objects.track_id.tolist()) for r in cut]
    assert set.intersection(names[40], names[56]) and set.intersection(names[90], names[100])


def test_a_break_in_the_middle_keeps_what_came_before(data_dir, tmp_path):
    cut = tmp_path / "cut.mkv"
    with av.open(str(data_dir / "street" / "street.mp4")) as source, av.open(str(cut), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 3])
    labels, finished = label(cut, policy="stride:20")
    assert isinstance(finished.error, SourceBroken)
    assert 100 < len(labels) < 500
    assert [r.frame_index for r in labels] == list(range(len(labels)))


def test_a_break_among_the_frames_that_are_measured_costs_no_label(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    plain, _ = label(cut, policy="stride:20")
    labels, finished = label(cut, policy="learned")
    assert isinstance(finished.error, SourceBroken)
    assert 0 < len(plain) < 48
    assert len(labels) == len(plain)
