"""An ONNX model of the user's as a detector, run by OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from everyframe.operators.detectors import coco, weights
from everyframe.operators.detectors.decode import IOU, MOST, suppress
from everyframe.operators.detectors.detector import MIN_SCORE, Prepared
from everyframe.operators.detectors.letterbox import MEAN, STD, Letterbox, fit, resize
from everyframe.operators.detectors.own.layouts import Layout, LayoutName, recognise
from everyframe.operators.detectors.runtimes import SIZES
from everyframe.operators.errors import OperatorError, WeightsError
from everyframe.operators.types import U8, Objects


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a picture becomes the model's input: (value - mean) / std of each channel, the rest of the input filled with `pad`.

    color: order of the channels. fit: letterbox keeps the picture's proportions, stretch fills the input.
    """

    color: Literal["bgr", "rgb"] = "bgr"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Literal["letterbox", "stretch"] = "letterbox"
    pad: float = 114.0


PIXELS: dict[str, Pixels] = {
    "yolox": Pixels(),
    "nanodet-plus": Pixels(mean=MEAN, std=STD, pad=0.0),
    "yolov8": Pixels("rgb", std=(255.0, 255.0, 255.0)),
    "detr": Pixels("rgb", std=(255.0, 255.0, 255.0), fit="stretch"),
}
"""What the models of each layout are trained with."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the user says of a model; None: to be found out.

    names: of its classes, COCO's 80 if None. groups: of each class, for matching that ignores mix-ups of like classes.
    """

    path: str
    layout: LayoutName | None = None
    names: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    pixels: Pixels | None = None


_Opened = tuple[Any, Any, tuple[int, int] | None]
"""OpenVINO's core, the graph, and the input's width and height where they are fixed."""


class OnnxDetector:
    """Satisfies `operators.base.Detector`.

    names, supercategory: of the classes; a class that COCO does not know is a group of its own.
    """

    runtime = "openvino"

    def __init__(
        self, what: Description, opened: _Opened, imgsz: int, precision: str, threads: int, min_score: float
    ) -> None:
        self.model = what.path
        self.precision = precision
        self.min_score = min_score
        self.digest = weights.digest(read(what.path))
        self._threads = threads
        self._core, self._graph, self._fixed = opened
        self.imgsz = imgsz if self._fixed is None else max(self._fixed)
        self._compiled: dict[tuple[int, int], Any] = {}
        size = self._fixed or (imgsz, imgsz)
        self._layout = self._recognise(what, size)
        self._pixels = what.pixels or PIXELS[self._layout.name]
        self.names, self.supercategory = _classes(what, self._layout.classes)

    @property
    def describe(self) -> str:
        """Model, size, runtime and precision in one short line."""
        return f"{Path(self.model).name} ({self._layout.name}) at {self.imgsz} on {self.runtime} {self.precision}"

    def detect(self, picture: U8) -> Objects:
        """Objects of a BGR picture (height, width, 3) uint8, boxes in its pixels, sorted by falling score."""
        return self.infer(self.prepare(picture))

    def prepare(self, picture: U8) -> Prepared:
        """Resizes, normalises and pads a BGR picture (height, width, 3) uint8."""
        height, width = picture.shape[:2]
        return self._filled(picture, self._box(width, height))

    def _filled(self, picture: U8, box: Letterbox) -> Prepared:
        pixels = self._pixels
        small = resize(picture, *box.inner)
        if pixels.color == "rgb":
            small = small[:, :, ::-1]
        mean, std = np.array(pixels.mean, np.float32), np.array(pixels.std, np.float32)
        out = np.empty((1, 3, box.outer[1], box.outer[0]), np.float32)
        out[0] = ((np.float32(pixels.pad) - mean) / std)[:, None, None]
        out[0, :, : box.inner[1], : box.inner[0]] = ((small - mean) / std).transpose(2, 0, 1)
        return Prepared(out, box)

    def infer(self, prepared: Prepared) -> Objects:
        """Objects of a prepared picture, as `detect`."""
        size = prepared.box.outer
        request = self._compiled.get(size) or self._compile(size)
        result = request.infer({0: prepared.input})
        outputs = [np.asarray(result[i], np.float32) for i in range(len(self._graph.outputs))]
        score, class_id, xyxy = self._layout.decode(outputs, size, self.min_score)
        xyxy = prepared.box.to_source(xyxy)
        whole = np.flatnonzero((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))
        order = whole[np.argsort(-score[whole], kind="stable")][:MOST]
        xyxy, score, class_id = xyxy[order], score[order], class_id[order]
        if self._layout.suppresses:
            keep = suppress(xyxy, score, class_id, IOU)
            xyxy, score, class_id = xyxy[keep], score[keep], class_id[keep]
        return Objects.of(xyxy, score, class_id)

    def _box(self, width: int, height: int) -> Letterbox:
        if self._fixed is None:
            return fit(width, height, self.imgsz)
        if self._pixels.fit == "stretch":
            return Letterbox((width, height), self._fixed, self._fixed)
        scale = min(self._fixed[0] / width, self._fixed[1] / height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        return Letterbox((width, height), inner, self._fixed)

    def _recognise(self, what: Description, size: tuple[int, int]) -> Layout:
        request = self._compile(size)
        shapes = [tuple(tensor.get_shape()) for tensor in request.output_tensors]
        classes = None if what.names is None else len(what.names)
        try:
            return recognise(shapes, size, what.layout, classes)
        except OperatorError as error:
            raise OperatorError(f"The model {what.path} cannot be used: {error}") from error

    def _compile(self, size: tuple[int, int]) -> Any:
        graph = self._graph.clone()
        config = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            graph.reshape([1, 3, size[1], size[0]])
            request = self._core.compile_model(graph, "CPU", config).create_infer_request()
            request.infer({0: np.zeros((1, 3, size[1], size[0]), np.float32)})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].rstrip(".")
            raise OperatorError(f"The model {self.model} does not run at {size[0]}x{size[1]} ({reason}).") from error
        self._compiled[size] = request
        if len(self._compiled) > SIZES:
            del self._compiled[next(iter(self._compiled))]
        return request


class FreeOnnxDetector(OnnxDetector):
    """A model that takes pictures of any size, so that parts of one cost less than the whole: `region.crops.InParts`."""

    def prepare_in(self, picture: U8, box: Letterbox) -> Prepared:
        """As `prepare`, with the place in the input given."""
        return self._filled(picture, box)

    def infer_many(self, prepared: Sequence[Prepared]) -> list[Objects]:
        """Objects of several prepared pictures, one after the other."""
        return [self.infer(one) for one in prepared]


def load_onnx(
    what: Description, imgsz: int = 640, precision: str = "f32", threads: int = 1, min_score: float = MIN_SCORE
) -> OnnxDetector:
    """Opens an ONNX model and checks that it gives what can be read. Raises `OperatorError`, `WeightsError`."""
    read(what.path)
    core, graph = _open(what.path)
    fixed = _size_of(graph, what.path)
    kind = FreeOnnxDetector if fixed is None else OnnxDetector
    return kind(what, (core, graph, fixed), imgsz, precision, threads, min_score)


def read(path: str) -> bytes:
    """Bytes of a model file. Raises `WeightsError`."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or "read error").lower()
        raise WeightsError(f"Cannot read the model {path}: {reason}; give the path of an ONNX file.") from error


def _open(path: str) -> tuple[Any, Any]:
    try:
        from everyframe.operators.detectors.graph import core
    except ImportError as error:
        raise OperatorError(
            f'{path} needs OpenVINO, which is not installed: run pip install "everyframe[openvino]".'
        ) from error
    made = core()
    try:
        return made, made.read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        raise WeightsError(f"{path} is no ONNX model that can be read ({reason}): export it again.") from error


def _size_of(graph: Any, path: str) -> tuple[int, int] | None:
    """Width and height of the one input, None where they are free. Raises `OperatorError`."""
    if len(graph.inputs) != 1:
        names = ", ".join(i.get_any_name() for i in graph.inputs)
        raise OperatorError(
            f"The model {path} has {len(graph.inputs)} inputs ({names}): export it with the picture as its only input, or "
            "write an adapter in Python (docs/models.md)."
        )
    shape = graph.input(0).partial_shape
    if shape.rank.is_static and (shape.rank.get_length() != 4 or (shape[1].is_static and shape[1].get_length() != 3)):
        raise OperatorError(
            f"The model {path} takes {shape.to_string()}: expected one colour picture, (1, 3, height, width)."
        )
    if shape.rank.is_dynamic or shape[2].is_dynamic or shape[3].is_dynamic:
        return None
    return shape[3].get_length(), shape[2].get_length()


def _classes(what: Description, classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = what.names
    if names is None:
        if classes != len(coco.NAMES):
            raise OperatorError(
                f"The model {what.path} has {classes} classes, not COCO's {len(coco.NAMES)}: name them in "
                f"{Path(what.path).with_suffix('.yaml').name} beside it, as in names: [person, car]."
            )
        names = coco.NAMES
    known = dict(zip(coco.NAMES, coco.SUPERCATEGORY, strict=True))
    return names, what.groups or tuple(known.get(name, name) for name in names)
