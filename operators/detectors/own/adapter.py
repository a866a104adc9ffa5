"""A detector that the user wrote in Python: a file with `NAMES` and a class `Detector`.

    NAMES = ("person", "car")

    class Detector:
        def detect(self, picture):          # BGR (height, width, 3) uint8
            ...
            return xyxy, score, class_id    # (n, 4) pixels, (n,) 0..1, (n,) indices into NAMES
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from everyframe.operators.detectors import coco, weights
from everyframe.operators.detectors.detector import MIN_SCORE
from everyframe.operators.detectors.own.detector import read
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import U8, Objects


class AdaptedDetector:
    """Satisfies `operators.base.Detector`. What the adapter gives is checked on every picture."""

    runtime = "python"
    precision = "f32"

    def __init__(self, path: str, imgsz: int, min_score: float = MIN_SCORE) -> None:
        module = _module(path)
        self.model = path
        self.digest = weights.digest(read(path))
        self.imgsz = imgsz
        self.min_score = min_score
        self.names = adapter_names(path, module)
        known = dict(zip(coco.NAMES, coco.SUPERCATEGORY, strict=True))
        self.supercategory = tuple(known.get(name, name) for name in self.names)
        made = getattr(module, "Detector", None)
        if made is None or not callable(getattr(made, "detect", None)):
            raise OperatorError(f"{path} has no class Detector with a method detect(picture): docs/models.md shows one.")
        self._inner: Any = made()

    @property
    def describe(self) -> str:
        """Model, size and runtime in one short line."""
        return f"{Path(self.model).name} on {self.runtime}"

    def detect(self, picture: U8) -> Objects:
        """Objects of a BGR picture (height, width, 3) uint8, boxes in its pixels, sorted by falling score."""
        answer = self._inner.detect(picture)
        try:
            xyxy, score, class_id = (np.asarray(part) for part in answer)
            objects = Objects.of(xyxy, score, class_id)
        except (TypeError, ValueError) as error:
            raise OperatorError(
                f"{self.model}: detect() must give (n, 4) boxes, (n,) scores and (n,) class numbers ({error})."
            ) from error
        if len(objects) and not (objects.class_id.min() >= 0 and objects.class_id.max() < len(self.names)):
            raise OperatorError(f"{self.model}: detect() gave a class number outside of its {len(self.names)} NAMES.")
        if not (np.isfinite(objects.xyxy).all() and np.isfinite(objects.score).all()):
            raise OperatorError(f"{self.model}: detect() gave a box or score that is no number.")
        good = np.flatnonzero(objects.score >= self.min_score)
        return objects[good[np.argsort(-objects.score[good], kind="stable")]]

    def prepare(self, picture: U8) -> U8:
        return picture

    def infer(self, prepared: U8) -> Objects:
        return self.detect(prepared)


def adapter_names(path: str, module: ModuleType | None = None) -> tuple[str, ...]:
    """The class names that an adapter file declares. Raises `OperatorError`."""
    names = getattr(module or _module(path), "NAMES", None)
    if not isinstance(names, tuple | list) or not names or not all(isinstance(name, str) for name in names):
        raise OperatorError(f"{path} has no NAMES: write a tuple of its class names, as in NAMES = ('person', 'car').")
    return tuple(names)


def _module(path: str) -> ModuleType:
    """Runs the file once in this process."""
    name = "everyframe_adapter_" + weights.digest(read(path) + str(Path(path).resolve()).encode())
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OperatorError(f"{path} cannot be loaded: give a Python file.")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises
        raise OperatorError(f"{path} cannot be loaded ({type(error).__name__}: {error}): mend it.") from error
    sys.modules[name] = module
    return module
