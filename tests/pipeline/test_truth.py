from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everyframe.pipeline.errors import SourceError, UsageError
from everyframe.pipeline.truth import load_truth

DATA = Path(__file__).parents[2].parent / "shared" / "data"
ROWS = "3,7,10,20,5,6,1,-1,-1,-1\n5,7,11,20,5,6.5,1\n5,8,0,0,4,4,0,-1,-1,-1\n\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "gt.txt"
    file.write_text(ROWS)
    return file


def test_rows_become_boxes_of_frames_from_0(path: Path) -> None:
    truth = load_truth(str(path))
    assert (truth.first, truth.last) == (2, 4)
    assert truth.objects(2, 0).xyxy.tolist() == [[10, 20, 15, 26]]
    assert truth.objects(4, 3).track_id.tolist() == [7]
    assert truth.objects(4, 3).class_id.tolist() == [3]
    assert len(truth.objects(3, 0)) == 0
    assert truth.ignored_boxes(4).tolist() == [[0, 0, 4, 4]]
    assert len(truth.ignored_boxes(2)) == 0


def test_labelled_range_is_inferred_or_given(path: Path) -> None:
    assert list(load_truth(str(path)).frames(100)) == [2, 3, 4]
    assert list(load_truth(str(path)).frames(4)) == [2, 3]
    assert list(load_truth(str(path)).frames(1)) == []
    assert list(load_truth(str(path), (1, 3)).frames(100)) == [0, 1, 2]
    assert len(load_truth(str(path), (1, 3)).frame) == 1


@pytest.mark.parametrize(
    "text",
    [
        "1,1,0,0,5,5",
        "0,1,0,0,5,5,1",
        "1,1,0,0,nan,5,1",
        "1,1,0,0,0,5,1",
        "frame,id",
        "1,1,0,0,5,5,1\n\x00\x01",
    ],
)
def test_what_is_not_mot_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "gt.txt"
    file.write_text(text)
    with pytest.raises(SourceError, match=r"Line [12] of the ground truth .*gt\.txt is not MOT format"):
        load_truth(str(file))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No ground truth file"):
        load_truth(str(tmp_path / "none.txt"))
    with pytest.raises(SourceError, match="Cannot read"):
        load_truth(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="Cannot read"):
        load_truth(str(tmp_path / "binary"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SourceError, match="is empty"):
        load_truth(str(tmp_path / "empty"))


@pytest.mark.parametrize("labelled", [(0, 5), (5, 4)])
def test_ranges_that_make_no_sense(path: Path, labelled: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="counted from 1"):
        load_truth(str(path), labelled)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_real_truth() -> None:
    truth = load_truth(str(DATA / "pets_s2l1" / "gt.txt"))
    assert list(truth.frames(795)) == list(range(795))
    assert int(truth.ignored.sum()) == 174
    assert sum(len(truth.objects(i, 0)) for i in range(795)) == 4476
    assert np.isfinite(truth.xyxy).all()
