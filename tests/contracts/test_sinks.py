"""What every file format and Redis must do. A new row in the table of formats is tested by this file as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from everyframe.pipeline.errors import SinkError, SourceBroken, UsageError
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.sinks import FORMATS, make_sinks
from everyframe.pipeline.sinks.base import Sink
from everyframe.pipeline.sinks.embedded import EmbeddedRedis
from everyframe.pipeline.sinks.redis import RedisSink

NAMES = ("person", "bicycle", "car")
COUNT = 30
MakeSink = Callable[[Path], Sink]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> SourceInfo:
    """A real H.264 file of 30 frames with B frames, because the video format reads its source again."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1", "bf": "2", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(COUNT):
            picture = np.full((240, 320, 3), 40, np.uint8)
            picture[60:120, 4 * index : 4 * index + 50] = (40, 160, 220)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return SourceInfo("clip", str(path), "h264", 320, 240, 0, Fraction(1, 12800), Fraction(25), COUNT, None)


@pytest.fixture(params=[*FORMATS, "redis"])
def make_sink(request: pytest.FixtureRequest, clip: SourceInfo) -> MakeSink:
    """A function from a folder to a new sink of the format under test."""
    if request.param == "redis":
        server: EmbeddedRedis = request.getfixturevalue("redis_server")
        name = request.node.name
        return lambda folder: RedisSink(server.url, f"{name} {folder}", NAMES)
    return lambda folder: make_sinks([request.param], folder, clip, NAMES)[0]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def final(sink: Sink, folder: Path) -> list[str]:
    return [] if isinstance(sink, RedisSink) else [Path(sink.location).relative_to(folder).name]


def test_a_clean_run_leaves_one_whole_file(make_sink: MakeSink, make_labels: Any, tmp_path: Path) -> None:
    sink = make_sink(tmp_path / "a" / "b")
    labels = make_labels(COUNT)
    with sink as entered:
        assert entered is sink
        for start in range(0, COUNT, 7):
            sink.write(labels[start : start + 7])
        sink.write([])
        assert not any(name in files(tmp_path / "a" / "b") for name in final(sink, tmp_path / "a" / "b"))
    assert files(tmp_path / "a" / "b") == final(sink, tmp_path / "a" / "b")


def test_chunks_do_not_change_the_file(make_sink: MakeSink, make_labels: Any, tmp_path: Path) -> None:
    labels, found = make_labels(COUNT), []
    for size in (1, COUNT):
        sink = make_sink(tmp_path / str(size))
        with sink:
            for start in range(0, COUNT, size):
                sink.write(labels[start : start + size])
        found.append([Path(tmp_path / str(size) / name).read_bytes() for name in files(tmp_path / str(size))])
    assert found[0] == found[1]


@pytest.mark.parametrize("error", [SourceBroken("broke at 0.4 s"), KeyboardInterrupt()])
def test_labels_before_a_break_are_kept(
    make_sink: MakeSink, make_labels: Any, tmp_path: Path, error: BaseException
) -> None:
    sink = make_sink(tmp_path)
    with pytest.raises(type(error)), sink:
        sink.write(make_labels(10))
        raise error
    assert files(tmp_path) == final(sink, tmp_path)
    if not isinstance(sink, RedisSink):
        assert Path(sink.location).stat().st_size > 100


@pytest.mark.parametrize("error", [ValueError("a bug"), SinkError("another sink failed")])
def test_any_other_error_leaves_no_file(
    make_sink: MakeSink, make_labels: Any, tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(type(error)), make_sink(tmp_path) as sink:
        sink.write(make_labels(10))
        raise error
    assert files(tmp_path) == []


def test_a_break_before_the_first_frame_leaves_no_file(make_sink: MakeSink, tmp_path: Path) -> None:
    with pytest.raises(SourceBroken), make_sink(tmp_path):
        raise SourceBroken("nothing could be decoded")
    assert files(tmp_path) == []


def test_an_older_file_is_replaced_only_by_a_whole_one(
    make_sink: MakeSink, make_labels: Any, tmp_path: Path
) -> None:
    sink = make_sink(tmp_path)
    names = final(sink, tmp_path)
    for name in names:
        (tmp_path / name).write_text("older")
    with pytest.raises(ValueError), make_sink(tmp_path) as failing:
        failing.write(make_labels(10))
        raise ValueError
    assert all((tmp_path / name).read_text() == "older" for name in names)
    with make_sink(tmp_path) as whole:
        whole.write(make_labels(10))
    assert all((tmp_path / name).read_bytes() != b"older" for name in names)
    assert files(tmp_path) == names


def test_frames_without_pts_or_objects(make_sink: MakeSink, make_labels: Any, tmp_path: Path) -> None:
    with make_sink(tmp_path) as sink:
        sink.write(make_labels(COUNT, pts=False, objects=0))
    assert files(tmp_path) == final(sink, tmp_path)


def test_arguments_are_left_as_they_were(make_sink: MakeSink, make_labels: Any, tmp_path: Path) -> None:
    labels = make_labels(10)
    before = [replace(record) for record in make_labels(10)]
    with make_sink(tmp_path) as sink:
        sink.write(labels)
    for ours, theirs in zip(labels, before, strict=True):
        np.testing.assert_array_equal(ours.objects.xyxy, theirs.objects.xyxy)
        assert ours.cost_ms == theirs.cost_ms


def test_two_sources_in_one_folder(make_labels: Any, clip: SourceInfo, tmp_path: Path) -> None:
    for stem in ("a-clip", "b-clip"):
        for sink in make_sinks(list(FORMATS), tmp_path, clip, NAMES, stem=stem):
            with sink:
                sink.write(make_labels(5))
    assert len(files(tmp_path)) == 2 * len(FORMATS)


def test_an_unknown_format_offers_the_nearest(clip: SourceInfo, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no label format 'jsonn', did you mean 'jsonl'"):
        make_sinks(["jsonn"], tmp_path, clip, NAMES)
