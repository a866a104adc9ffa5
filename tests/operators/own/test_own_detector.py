"""Models of the usual layouts find what they should, through every way in which the product runs a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.detectors.own.detector import Description, FreeOnnxDetector, load_onnx
from everyframe.operators.errors import OperatorError, WeightsError
from everyframe.operators.region.crops import InParts, look_at

from .tiny import LAYOUTS, SIDE, export, picture

openvino = pytest.importorskip("openvino")
PERSON, CAR = 0, 2


def boxes(*cells: tuple[int, int], scale: float = 1.0) -> np.ndarray:
    return np.array([[c * SIDE, r * SIDE, (c + 1) * SIDE, (r + 1) * SIDE] for c, r in cells], np.float32) * scale


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(320, 192), None], ids=["fixed", "free"])
def test_each_layout_finds_the_squares(layout: str, size: tuple[int, int] | None, tmp_path: Path) -> None:
    detector = load_onnx(Description(export(tmp_path / "m.onnx", layout, size)), imgsz=320)
    found = detector.detect(picture(320, 192, (2, 3), (7, 1)))
    assert sorted(found.class_id.tolist()) == [PERSON, CAR]
    order = np.argsort(found.class_id)
    np.testing.assert_allclose(found.xyxy[order], boxes((2, 3), (7, 1)), atol=0.6)
    assert detector.names[PERSON] == "person" and detector.supercategory[CAR] == "vehicle"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_are_in_pixels_of_a_larger_picture(layout: str, tmp_path: Path) -> None:
    detector = load_onnx(Description(export(tmp_path / "m.onnx", layout, (320, 320))), imgsz=640)
    big = picture(640, 640 if layout == "detr" else 384, (2, 3), scale=2)
    found = detector.detect(big)
    np.testing.assert_allclose(found.xyxy, boxes((2, 3), scale=2), atol=1.5)
    assert detector.imgsz == 320, "a fixed input is what it is"


def test_only_a_free_model_is_looked_at_in_parts(tmp_path: Path) -> None:
    fixed = load_onnx(Description(export(tmp_path / "a.onnx", "yolov8", (320, 192))), imgsz=320)
    free = load_onnx(Description(export(tmp_path / "b.onnx", "yolov8", None)), imgsz=320)
    assert not isinstance(fixed, InParts)
    assert isinstance(free, FreeOnnxDetector) and isinstance(free, InParts)
    shown = picture(320, 192, (2, 3), (7, 1))
    found = look_at(free, shown, np.array([[32, 64, 160, 192]], np.int32))
    np.testing.assert_allclose(found.xyxy, boxes((2, 3)), atol=0.6)


def test_fewer_classes_want_names(tmp_path: Path) -> None:
    path = export(tmp_path / "three.onnx", "yolox", (320, 192), classes=3)
    with pytest.raises(OperatorError, match=r"has 3 classes, not COCO's 80: name them in three\.yaml"):
        load_onnx(Description(path), imgsz=320)
    detector = load_onnx(Description(path, names=("walker", "bike", "car")), imgsz=320)
    assert detector.supercategory == ("walker", "bike", "vehicle")
    assert detector.detect(picture(320, 192, None, (1, 1))).class_id.tolist() == [2]
    with pytest.raises(OperatorError, match="with 2 classes"):
        load_onnx(Description(path, names=("walker", "car")), imgsz=320)


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_onnx(Description(str(tmp_path / "none.onnx")))
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="no ONNX model"):
        load_onnx(Description(str(bad)))
