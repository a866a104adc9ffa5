"""`everyframe simulate` and what reads its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from everyframe.pipeline import cli
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.synthetic.detections import synthetic_detections, synthetic_truth
from everyframe.pipeline.synthetic.make import INDEX

CLIP = "pets_s2l1/pets_s2l1_ip.mp4"


def test_simulate_leaves_videos_truth_and_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    words = [
        "simulate",
        "--out",
        str(out),
        "--cameras",
        "2",
        "--seconds",
        "2",
        "--seed",
        "7",
        "--size",
        "160x120",
    ]
    assert cli.call([*words, "--rate", "10", "--json"]) == 0
    stdout, stderr = capsys.readouterr()
    assert "camera001: 2 of 2" in stderr
    assert orjson.loads(stdout)["videos"] == [str(out / f"camera00{i}.mp4") for i in range(2)]
    index = orjson.loads((out / INDEX).read_bytes())
    assert index["order"]["seed"] == 7
    assert [c["frames"] for c in index["cameras"]] == [20, 20]
    for camera in index["cameras"]:
        video = out / camera["video"]
        found = synthetic_detections(video)
        assert found is not None
        assert len(found) == 20
        again = synthetic_detections(str(video))
        assert again is not None
        assert all(np.array_equal(a.xyxy, b.xyxy) for a, b in zip(found, again, strict=True))
        truth = synthetic_truth(video)
        assert truth is not None
        assert (truth.frames, truth.width, truth.height, truth.rate) == (20, 160, 120, 10.0)
        assert camera["coding"]["profile"] in ("baseline", "main", "high")


def test_other_videos_have_no_synthetic_detections(tmp_path: Path) -> None:
    assert synthetic_detections(tmp_path / "clip.mp4") is None
    (tmp_path / INDEX).write_bytes(orjson.dumps({"format": 1, "cameras": []}))
    assert synthetic_detections(tmp_path / "clip.mp4") is None
    assert synthetic_truth(tmp_path / "clip.mp4") is None


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": 9, "cameras": []}', b'{"format": 1}'])
def test_a_damaged_index_is_one_sentence(tmp_path: Path, text: bytes) -> None:
    (tmp_path / INDEX).write_bytes(text)
    with pytest.raises(SourceError, match="everyframe simulate again"):
        synthetic_detections(tmp_path / "clip.mp4")


def test_missing_or_damaged_truth_is_one_sentence(tmp_path: Path) -> None:
    words = [
        "simulate",
        "--out",
        str(tmp_path),
        "--cameras",
        "1",
        "--seconds",
        "1",
        "--size",
        "96x64",
        "--quiet",
    ]
    assert cli.call(words) == 0
    truth = tmp_path / "camera000.gt.txt"
    truth.write_text("1,2,3\n")
    with pytest.raises(SourceError, match="not the ground truth"):
        synthetic_detections(tmp_path / "camera000.mp4")
    truth.unlink()
    with pytest.raises(SourceError, match="not the ground truth"):
        synthetic_detections(tmp_path / "camera000.mp4")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("simulate", "--out"),
        ("simulate --out x --cameras 0", "--cameras"),
        ("simulate --out x --seconds 0", "--seconds"),
        ("simulate --out x --seed -1", "--seed"),
        ("simulate --out x --rate 0", "--rate"),
        ("simulate --out x --jobs 0", "--jobs"),
        ("simulate --out x --size 33x20", "--size"),
        ("simulate --out x --size wide", "--size"),
    ],
)
def test_misuse(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(line.split()) == 2
    assert words in capsys.readouterr().err


def test_a_missing_source_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["simulate", "--out", str(tmp_path), "--from", str(tmp_path / "none.mp4")]) == 1
    assert "none.mp4 does not exist" in capsys.readouterr().err


def test_dressed_from_real_video(tmp_path: Path, data_dir: Path) -> None:
    """Background and people come from the clip: where nobody is, the pictures are the clip's."""
    words = ["simulate", "--out", str(tmp_path), "--cameras", "1", "--seconds", "2", "--seed", "1", "--quiet"]
    assert cli.call([*words, "--size", "384x288", "--rate", "10", "--from", str(data_dir / CLIP)]) == 0
    camera = orjson.loads((tmp_path / INDEX).read_bytes())["cameras"][0]
    assert camera["place"]["layout"] == "borrowed"
    assert 2 < camera["place"]["ground"]["height_m"] < 20
    found = synthetic_detections(tmp_path / camera["video"])
    assert found is not None
    assert len(found) == 20
