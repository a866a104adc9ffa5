"""A user's own model goes through the whole product: labels with its class names, prices, region, evaluation, clear errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.errors import OperatorError
from everyframe.pipeline.cli import call
from everyframe.pipeline.models import class_names, describe, kind_of, model_digest, open_model
from everyframe.pipeline.settings import ModelSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "operators"))
from media import make_clip
from own.tiny import SIDE, export, picture

pytest.importorskip("openvino")

ADAPTER = """
import numpy as np
NAMES = ("square", "disc")

class Detector:
    def detect(self, picture):
        rows, cols = np.nonzero(picture[:, :, 2] > 128)
        if not len(rows):
            return np.zeros((0, 4)), [], []
        return [[cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]], [0.9], [0]
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A red square that moves a cell every 8 frames."""
    path = tmp_path_factory.mktemp("own") / "square.mp4"
    return str(make_clip(path, 48, 320, 192, pix_fmt="yuv444p", draw=lambda i, w, h: picture(w, h, (1 + i // 8, 2))))


def labels_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "square.labels.jsonl").read_text().splitlines()]


def test_a_model_with_classes_of_its_own_labels_a_clip(clip: str, tmp_path: Path) -> None:
    model = export(tmp_path / "mine.onnx", "yolov8", None, classes=3)
    (tmp_path / "mine.yaml").write_text("names: [walker, bike, wagon]\n")
    out = tmp_path / "out"
    assert call(["run", clip, "--model", model, "--imgsz", "320", "--policy", "stride:6", "--causal", "--classes", "walker",
                 "--out", str(out), "--engine", "local", "--quiet"]) == 0  # fmt: skip
    records = labels_of(out)
    assert len(records) == 48
    detected = [r for r in records if r["origin"] == "detected"]
    assert detected and all(o["label"] == "walker" for r in records for o in r["objects"])
    for record in detected:
        cell = 1 + record["frame_index"] // 8
        np.testing.assert_allclose(record["objects"][0]["xyxy"], [cell * SIDE, 64, (cell + 1) * SIDE, 96], atol=1)


def test_region_and_evaluation_work_with_it(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = export(tmp_path / "mine.onnx", "yolox", None)
    assert call(["evaluate", clip, "--model", model, "--imgsz", "320", "--policy", "region:12", "--policy", "dense", "--causal",
                 "--json"]) == 0  # fmt: skip
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["policy"] for row in rows} >= {"region:12", "dense"}


def test_an_adapter_labels_a_clip(clip: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(ADAPTER)
    assert call(["run", clip, "--model", str(path), "--policy", "motion", "--out", str(tmp_path / "out"), "--engine", "local",
                 "--quiet"]) == 0  # fmt: skip
    records = labels_of(tmp_path / "out")
    assert len(records) == 48 and {o["label"] for r in records for o in r["objects"]} == {"square"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NAMES = ()", "no NAMES"),
        ("NAMES = ('a',)", "no class Detector"),
        ("raise ValueError('no key')", "cannot be loaded (ValueError: no key)"),
        ("NAMES = ('a',)\nclass Detector:\n    def detect(self, picture): return [[0, 0, 1]], [0.9], [0]", "(n, 4) boxes"),
        ("NAMES = ('a',)\nclass Detector:\n    def detect(self, picture): return [[0, 0, 9, 9]], [0.9], [4]", "class number"),
        ("NAMES = ('a',)\nclass Detector:\n    def detect(self, picture): return [[0, 0, 9, 9]], [float('nan')], [0]", "no number"),
    ],
)
def test_a_faulty_adapter_is_one_sentence(
    text: str, said: str, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert call(["run", clip, "--model", str(path), "--out", str(tmp_path / "out"), "--engine", "local", "--quiet"]) != 0
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and len(error.splitlines()) == 1


def test_wrong_classes_name_the_nearest(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(ADAPTER)
    assert call(["run", clip, "--model", str(path), "--classes", "sqare", "--out", str(tmp_path)]) == 2
    assert "square" in capsys.readouterr().err


def test_what_a_yaml_file_says(tmp_path: Path) -> None:
    model = export(tmp_path / "net.onnx", "yolox", (320, 192), classes=3)
    said = tmp_path / "cam.yaml"
    said.write_text("model: net.onnx\nnames: [a, b, c]\ngroups: [x, x, y]\nlayout: yolox\ncolor: bgr\n")
    detector = open_model(ModelSettings(str(said), runtime="auto"))
    assert (detector.names, detector.supercategory) == (("a", "b", "c"), ("x", "x", "y"))
    assert class_names(str(said)) == ("a", "b", "c") and describe(str(said)).path == model
    before = model_digest(str(said))
    said.write_text("model: net.onnx\nnames: [a, b, d]\n")
    assert model_digest(str(said)) != before
    for text, what in (("nams: [a]", "nams"), ("names: 3", "names"), ("[", "not YAML"), ("layout: yolo", "layout")):
        said.write_text(text)
        with pytest.raises(OperatorError, match=what):
            describe(str(said))


def test_kinds() -> None:
    assert [kind_of(name) for name in ("nanodet-g", "a.safetensors", "b.ONNX", "c.yml", "d.py")] == [
        "nanodet", "nanodet", "onnx", "onnx", "python",
    ]  # fmt: skip
