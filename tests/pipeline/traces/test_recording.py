"""A trace holds what the decoder, the motion field and the detector gave; its file is whole or absent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tracing import MODEL, Recorded

from everyframe.pipeline.errors import SinkError, SourceError
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.fields import FieldBuilder
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.recording import is_recorded, recipe, record


@pytest.mark.parametrize("name", ["busy", "with_b"])
def test_motion_is_that_of_a_full_decode(name: str, request: pytest.FixtureRequest) -> None:
    clip: Recorded = request.getfixturevalue(name)
    fields = []
    with FileSource(clip.video) as source:
        decoder, builder = Decoder(source), FieldBuilder(source.info)
        for packet in source.packets():
            for slot in decoder.push(packet, True):
                fields += [item.field for item in builder.push(slot)]
            if len(fields) >= clip.limit:
                break
    for ours, theirs in zip(clip.trace.fields(), fields, strict=False):
        assert ours is not None and theirs is not None
        np.testing.assert_array_equal(ours.motion, theirs.motion)
        np.testing.assert_array_equal(ours.known, theirs.known)


def test_detections_are_those_of_the_dense_detector(busy: Recorded) -> None:
    assert len(busy.trace) == busy.limit
    for ours, theirs in zip(busy.trace.objects, busy.known.frames, strict=True):
        np.testing.assert_array_equal(ours.xyxy, theirs.xyxy)
        np.testing.assert_array_equal(ours.score, theirs.score)
        np.testing.assert_array_equal(ours.class_id, theirs.class_id)


def test_file_round_trip_and_size(busy: Recorded, tmp_path: Path) -> None:
    path = tmp_path / f"busy{tf.SUFFIX}"
    size = tf.save(busy.trace, path)
    assert size == path.stat().st_size < 10_000 * busy.limit
    again = tf.load(path)
    assert again.meta["costs"] == busy.trace.meta["costs"]
    np.testing.assert_array_equal(again.packets.size, busy.trace.packets.size)
    np.testing.assert_array_equal(again.motion, busy.trace.motion)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_recorded_with_equal_settings_is_kept(busy: Recorded, tmp_path: Path) -> None:
    path = tmp_path / f"busy{tf.SUFFIX}"
    wanted = recipe(busy.video, busy.detector, busy.limit)
    assert not is_recorded(path, wanted)
    tf.save(busy.trace, path)
    assert is_recorded(path, wanted)
    assert not is_recorded(path, recipe(busy.video, busy.detector, busy.limit + 1))
    path.write_bytes(path.read_bytes()[:1000])
    assert not is_recorded(path, wanted)


def test_what_is_no_trace_is_told(busy: Recorded, tmp_path: Path) -> None:
    path = tmp_path / f"x{tf.SUFFIX}"
    with pytest.raises(SourceError, match="There is no trace"):
        tf.load(path)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(SourceError, match="no trace, or damaged"):
        tf.load(path)
    meta = np.frombuffer(json.dumps({"format": tf.FORMAT + 1}).encode(), np.uint8)
    np.savez(path, meta=meta)
    with pytest.raises(SourceError, match=f"of trace format {tf.FORMAT + 1}"):
        tf.load(path)
    np.savez(path, meta=np.frombuffer(json.dumps({"format": tf.FORMAT}).encode(), np.uint8))
    with pytest.raises(SourceError, match="record it again"):
        tf.load(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="Cannot write"):
        tf.save(busy.trace, tmp_path / "file" / "a.trace.npz")


def test_a_real_clip_is_not_synthetic(busy: Recorded) -> None:
    with pytest.raises(SourceError, match="not made by everyframe simulate"):
        record(busy.video, MODEL, 4, detector=busy.detector, detections="synthetic")


def test_frames_not_decoded_have_no_field(busy: Recorded) -> None:
    kinds = busy.trace.frames.motion.copy()
    kinds[-1] = tf.NONE
    cut = replace(busy.trace, frames=replace(busy.trace.frames, motion=kinds))
    assert list(cut.fields())[-1] is None
