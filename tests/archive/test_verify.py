"""What `everyframe verify` finds when somebody has been at an archive's files."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.archive.archives import label, make_recordings

from everyframe.pipeline.archive.verify import verify
from everyframe.pipeline.errors import UsageError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    label(make_recordings(tmp_path / "in", (60,)), tmp_path / "out")
    return tmp_path / "out"


def table(out: Path) -> Path:
    return next((out / "labels").rglob("*.parquet"))


def test_a_changed_byte_is_named(archive: Path) -> None:
    path = table(archive)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert any("checksum" in problem for problem in verify(archive).problems)


def test_a_missing_file_is_named(archive: Path) -> None:
    path = table(archive)
    path.unlink()
    problems = verify(archive).problems
    assert any(f"{path.name}: is missing" in problem for problem in problems)
    assert any("60 of 60 frames have no record" in problem for problem in problems)


def test_a_table_of_nobody_is_named(archive: Path) -> None:
    path = table(archive)
    pq.write_table(pq.read_table(path, partitioning=None), path.with_name("stranger.parquet"))
    assert any("stranger.parquet: belongs to no source" in problem for problem in verify(archive).problems)


def test_packets_that_no_picture_can_be_decoded_of_are_no_gap(data_dir: Path, tmp_path: Path) -> None:
    """A recording that begins inside a group of pictures, as those of cameras do."""
    label(data_dir / "crossing" / "crossing.mp4", tmp_path / "out")
    verdict = verify(tmp_path / "out")
    assert verdict.problems == [] and verdict.unchecked == 0 and verdict.frames == 734


def test_a_folder_without_an_archive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no archive"):
        verify(tmp_path)
    assert not list(tmp_path.iterdir())
