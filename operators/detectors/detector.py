"""The detector as a whole: picture in, objects out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from everyframe.operators.detectors import coco, weights
from everyframe.operators.detectors.decode import decode
from everyframe.operators.detectors.letterbox import Letterbox, fit, to_input
from everyframe.operators.detectors.nanodet import Maps, NanoDet
from everyframe.operators.detectors.runtimes import Runtime, make_runtime
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32, U8, Objects

MIN_SCORE = 0.2


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture made ready for the net: input (1, h, w, 3) float32, and where the picture lies in it."""

    input: F32
    box: Letterbox


class NanoDetDetector:
    """NanoDet-g on one runtime. Satisfies `operators.base.Detector`.

    names, supercategory: of the 80 COCO classes. model: "nanodet-g" or the path given. digest: hash of the weights.
    net: the network in torch, for operators that run parts of it; the torch runtime has it on its device.
    """

    names = coco.NAMES
    supercategory = coco.SUPERCATEGORY

    def __init__(self, runtime: Runtime, net: NanoDet, model: str, digest: str, imgsz: int, min_score: float) -> None:
        self._runtime = runtime
        self.net = net
        self.runtime = runtime.name
        self.precision = runtime.precision
        self.model = model
        self.digest = digest
        self.imgsz = imgsz
        self.min_score = min_score

    @property
    def describe(self) -> str:
        """Model, size, runtime and precision in one short line."""
        return f"{self.model} at {self.imgsz} on {self.runtime} {self.precision}"

    def detect(self, picture: U8) -> Objects:
        """Objects of a BGR picture (height, width, 3) uint8, boxes in its pixels, sorted by falling score."""
        return self.infer(self.prepare(picture))

    def prepare(self, picture: U8) -> Prepared:
        """Resizes, normalises and pads a BGR picture (height, width, 3) uint8."""
        height, width = picture.shape[:2]
        return self.prepare_in(picture, fit(width, height, self.imgsz))

    def prepare_in(self, picture: U8, box: Letterbox) -> Prepared:
        """As `prepare`, with the place in the input given."""
        return Prepared(to_input(picture, box), box)

    def infer(self, prepared: Prepared) -> Objects:
        """Objects of a prepared picture, as `detect`."""
        return decode(self._runtime.run(prepared.input), prepared.box, self.min_score)

    def infer_many(self, prepared: Sequence[Prepared]) -> list[Objects]:
        """Objects of several prepared pictures, or parts of one, whose inputs have one size."""
        maps = self._runtime.run_many(np.concatenate([p.input for p in prepared]))
        return [decode(one, p.box, self.min_score) for one, p in zip(maps, prepared, strict=True)]

    def features(self, prepared: Prepared) -> Maps:
        """The neck's maps: (1, 128, h / s, w / s) for the strides s of 8, 16, 32."""
        return self._runtime.features(prepared.input)

    def head(self, features: Maps, box: Letterbox) -> Objects:
        """Objects from the maps of `features`, fresh or changed, for a picture that lies in the input as `box`."""
        return decode(self._runtime.head(features), box, self.min_score)


def load_detector(
    model: str = weights.SHIPPED,
    imgsz: int = 640,
    runtime: str = "torch",
    precision: str = "f32",
    device: str = "cpu",
    threads: int = 1,
    min_score: float = MIN_SCORE,
) -> NanoDetDetector:
    """Loads a detector.

    model: a name in `weights.FILES` or a safetensors file of the same architecture. imgsz: longer side of what the net sees, 32 to
    4096 pixels. runtime: torch or openvino; precision: f32, bf16, or int8 for a quantized model; "auto" means the reference, torch and f32: the
    pipeline measures which is fastest. device: cpu, cuda, cuda:N (torch only). threads: of the net, and for this
    process of torch and OpenCV, 1 or more.
    min_score: lowest score given out, between 0 and 1. Raises `OperatorError` (`WeightsError` for the file).
    """
    runtime = "torch" if runtime == "auto" else runtime
    precision = "f32" if precision == "auto" else precision
    _check(imgsz, runtime, precision, threads, min_score)
    data = weights.read(model)
    net = weights.load_nanodet(data, model)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    made = make_runtime(net, runtime, precision, device, threads)
    return NanoDetDetector(made, net, model, weights.digest(data), imgsz, min_score)


def _check(imgsz: int, runtime: str, precision: str, threads: int, min_score: float) -> None:
    if not 32 <= imgsz <= 4096:
        raise OperatorError(f"The picture size {imgsz} is not usable: give 32 to 4096 pixels.")
    if runtime not in ("torch", "openvino"):
        raise OperatorError(f'Unknown runtime "{runtime}": use torch or openvino.')
    if precision not in ("f32", "bf16", "int8"):
        raise OperatorError(f'Unknown precision "{precision}": use f32, bf16 or int8.')
    if threads < 1:
        raise OperatorError(f"The number of threads is {threads}: give 1 or more.")
    if not 0 < min_score < 1:
        raise OperatorError(f"The lowest score is {min_score}: give a number between 0 and 1.")
