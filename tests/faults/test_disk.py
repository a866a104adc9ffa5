"""Disks that are full, read-only or not folders: one sentence, and no half-written file under a final name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from disks import IS_ROOT, mounted, small_files

from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.sinks import FORMATS, make_sinks
from everyframe.pipeline.sinks.base import Sink

NAMES = ("person", "bicycle", "car")


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> SourceInfo:
    """A clip of noise, whose annotated video is large."""
    path = tmp_path_factory.mktemp("noise") / "noise.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(20):
            picture = rng.integers(0, 255, (240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return SourceInfo("noise", str(path), "h264", 320, 240, 0, Fraction(1, 12800), Fraction(25), 20, None)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    with mounted(tmp_path / "tiny", "64k") as folder:
        yield folder


def fill(sink: Sink, make_labels: Any) -> None:
    """Far more than fits."""
    with sink:
        for start in range(0, 2000, 20):
            sink.write(make_labels(20, start=start if start < 20 else 20 + start, objects=10))


def sentence(error: pytest.ExceptionInfo[SinkError], path: str) -> str:
    text = str(error.value)
    assert "\n" not in text and path in text and "--out" in text
    return text


@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk(tiny_disk: Path, noise: SourceInfo, make_labels: Any, kind: str) -> None:
    (sink,) = make_sinks([kind], tiny_disk / "out", noise, NAMES)
    with pytest.raises(SinkError) as error:
        fill(sink, make_labels)
    assert "the disk is full" in sentence(error, sink.location)
    assert list((tiny_disk / "out").iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_may_not_grow(tmp_path: Path, noise: SourceInfo, make_labels: Any, kind: str) -> None:
    (sink,) = make_sinks([kind], tmp_path, noise, NAMES)
    with pytest.raises(SinkError) as error, small_files(20_000):
        fill(sink, make_labels)
    assert "the file grew beyond" in sentence(error, sink.location)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_the_folder_is_a_file(tmp_path: Path, noise: SourceInfo, kind: str) -> None:
    (tmp_path / "out").write_text("mine")
    for folder, why in ((tmp_path / "out", "is a file, not a folder"), (tmp_path / "out" / "deeper", "a file, not a folder")):
        (sink,) = make_sinks([kind], folder, noise, NAMES)
        with pytest.raises(SinkError) as error, sink:
            raise AssertionError("not reached")
        assert why in sentence(error, str(folder))
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_has_the_files_name(tmp_path: Path, noise: SourceInfo, make_labels: Any, kind: str) -> None:
    (sink,) = make_sinks([kind], tmp_path, noise, NAMES)
    Path(sink.location).mkdir()
    with pytest.raises(SinkError) as error, sink:
        sink.write(make_labels(5))
    assert "a folder has that name" in sentence(error, sink.location)
    assert [path.name for path in tmp_path.iterdir()] == [Path(sink.location).name]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_read_only_folder(tmp_path: Path, noise: SourceInfo, kind: str) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    if IS_ROOT:  # whom permissions do not stop
        mount = shutil.which("mount")
        done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)], check=False)
        if not done or done.returncode:
            pytest.skip("a read-only file system cannot be mounted here")
    else:
        folder.chmod(0o500)
    try:
        for place in (folder, folder / "new"):
            (sink,) = make_sinks([kind], place, noise, NAMES)
            with pytest.raises(SinkError) as error, sink:
                raise AssertionError("not reached")
            assert ("read-only" if IS_ROOT else "permission denied") in sentence(error, str(place))
    finally:
        if IS_ROOT:
            subprocess.run(["umount", str(folder)], check=True)
        else:
            folder.chmod(0o700)


def test_a_name_that_is_too_long(tmp_path: Path, noise: SourceInfo) -> None:
    (sink,) = make_sinks(["jsonl"], tmp_path, noise, NAMES, stem="x" * 300)
    with pytest.raises(SinkError, match="the name is too long"), sink:
        raise AssertionError("not reached")


def test_the_folder_disappears(tmp_path: Path, noise: SourceInfo, make_labels: Any) -> None:
    (sink,) = make_sinks(["jsonl"], tmp_path / "out", noise, NAMES)
    with pytest.raises(SinkError, match="cannot write"), sink:
        sink.write(make_labels(5))
        shutil.rmtree(tmp_path / "out")
