"""Which file is which kind of model, and how it is opened: shipped weights, an ONNX file with what a YAML file says of it, or
a Python adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from everyframe.operators.base import Detector
from everyframe.operators.detectors import coco, load_detector, weights
from everyframe.operators.detectors.detector import MIN_SCORE
from everyframe.operators.detectors.guarded import GuardedDetector
from everyframe.operators.detectors.own.adapter import AdaptedDetector, adapter_names
from everyframe.operators.detectors.own.detector import Description, OnnxDetector, Pixels, load_onnx, read
from everyframe.operators.detectors.own.layouts import LayoutName
from everyframe.operators.errors import OperatorError
from everyframe.pipeline.settings import ModelSettings

Kind = Literal["nanodet", "onnx", "python"]
GUARD = "guard"
"""Key of the metadata of models for one camera: the F1 with the model they were made from below which that takes over."""
CLASSES = "classes"
"""Key of the metadata of models that were taught some classes only: their names with commas, none for all."""
IMGSZ = "imgsz"
"""Key of the metadata of models that were made for one size of picture: its longer side in pixels, whatever the settings say."""
F1 = "f1_against_teacher"
"""Key of the metadata of compressed models: their F1 against the model that they were made from."""
SHIPPED = ("full", "fast")
"""Models that ship, by their short names."""
_YAML = (".yaml", ".yml")


class LoadedDetector(Detector, Protocol):
    """A detector as it was loaded. model: as the user named it. digest: of its file. min_score: lowest it gives out."""

    model: str
    digest: str
    imgsz: int
    min_score: float

    @property
    def describe(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Declared:
    """What a YAML file beside an ONNX model may say; all of it is optional.

    model: the ONNX file, relative to the YAML file. names: classes in order. groups: of each, for matching that ignores
    mix-ups. layout, color, mean, std, fit, pad: as `operators.detectors.own` has them.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    model: str | None = None
    layout: LayoutName | None = None
    names: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    color: Literal["bgr", "rgb"] | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Literal["letterbox", "stretch"] = "letterbox"
    pad: float = 114.0


def kind_of(model: str) -> Kind:
    """By the name alone."""
    suffix = Path(model).suffix.lower()
    return "onnx" if suffix in (".onnx", *_YAML) else "python" if suffix == ".py" else "nanodet"


def open_model(settings: ModelSettings, min_score: float = MIN_SCORE) -> LoadedDetector:
    """The detector that the settings name; "auto" in them means the reference. Raises `OperatorError`."""
    s = settings
    match kind_of(s.model):
        case "nanodet":
            return _open_nanodet(s, min_score)
        case "python":
            return AdaptedDetector(s.model, s.imgsz, min_score)
        case "onnx":
            if s.runtime == "torch" or s.device != "cpu":
                raise OperatorError(f"{s.model} is run by OpenVINO on the CPU: leave --runtime and --device out.")
            return _open_onnx(s, min_score)


def seen_imgsz(settings: ModelSettings) -> int:
    """The longer side in pixels of what the model sees: what its file was made for, else what the settings say. Raises `OperatorError`."""
    if kind_of(settings.model) != "nanodet":
        return settings.imgsz
    said = weights.metadata(weights.read(settings.model)).get(IMGSZ, "")
    return int(said) if said.isdecimal() else settings.imgsz


def told_error(model: str, otherwise: float) -> float:
    """1 - F1 against the model that a compressed one was made from, as its file says; `otherwise` where it does not. Raises
    `OperatorError`."""
    if kind_of(model) != "nanodet":
        return otherwise
    said = weights.metadata(weights.read(model)).get(F1)
    try:
        return otherwise if said is None else min(max(1 - float(said), 0.0), 1.0)
    except ValueError:
        return otherwise


def names_of(models: Sequence[str]) -> dict[str, str]:
    """Models by their digests, for tables: those given, and those that ship. Raises `OperatorError`."""
    return {model_digest(model): model for model in (*models, *SHIPPED)}


def _open_nanodet(settings: ModelSettings, min_score: float) -> LoadedDetector:
    """A model that was made for one camera brings the model it was made from, which watches it."""
    s = settings
    small = load_detector(s.model, seen_imgsz(s), s.runtime, s.precision, s.device, s.threads, min_score)
    said = weights.metadata(weights.read(s.model))
    if GUARD not in said:
        return small
    precision = "f32" if s.precision in ("auto", "int8") else s.precision
    teacher = load_detector(said.get("teacher", weights.SHIPPED), s.imgsz, s.runtime, precision, s.device, s.threads, min_score)
    classes = tuple(coco.NAMES.index(name) for name in said.get(CLASSES, "").split(",") if name in coco.NAMES)
    return GuardedDetector(small, teacher, float(said[GUARD]), classes)


def _open_onnx(settings: ModelSettings, min_score: float) -> OnnxDetector:
    precision = "f32" if settings.precision == "auto" else settings.precision
    return load_onnx(describe(settings.model), settings.imgsz, precision, settings.threads, min_score)


def model_digest(model: str) -> str:
    """Short hash of all that a model's answers depend on: its file, and what is declared of it. Raises `OperatorError`."""
    if kind_of(model) == "nanodet":
        return weights.digest(weights.read(model))
    if kind_of(model) == "python":
        return weights.digest(read(model))
    what = describe(model)
    return weights.digest(read(what.path) + repr((what.layout, what.names, what.groups, what.pixels)).encode())


def is_quantized(model: str) -> bool:
    """Whether a model can be computed in int8. Raises `OperatorError`."""
    return kind_of(model) == "nanodet" and weights.QUANTIZED in weights.metadata(weights.read(model))


@lru_cache(maxsize=8)
def class_names(model: str) -> tuple[str, ...]:
    """Names of a model's classes, without running it. Raises `OperatorError`."""
    match kind_of(model):
        case "python":
            return adapter_names(model)
        case "onnx":
            return describe(model).names or coco.NAMES
        case _:
            return coco.NAMES


def describe(model: str) -> Description:
    """What is known of an ONNX model: from the YAML file that is given, or lies beside it. Raises `OperatorError`."""
    path = Path(model)
    if path.suffix.lower() in _YAML:
        said = _declared(path)
        onnx = path.parent / said.model if said.model else path.with_suffix(".onnx")
    else:
        beside = [path.with_suffix(suffix) for suffix in _YAML if path.with_suffix(suffix).is_file()]
        said, onnx = _declared(beside[0]) if beside else Declared(), path
    if said.groups is not None and said.names is not None and len(said.groups) != len(said.names):
        raise OperatorError(f"{model}: {len(said.groups)} groups for {len(said.names)} names: give one for each.")
    pixels = None if said.color is None else Pixels(said.color, said.mean, said.std, said.fit, said.pad)
    return Description(str(onnx), said.layout, said.names, said.groups, pixels)


def _declared(path: Path) -> Declared:
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except OSError as error:
        raise OperatorError(f"{path} cannot be read ({(error.strerror or 'read error').lower()}): check the path.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} is not YAML that can be read: docs/models.md shows an example.") from error
    try:
        return TypeAdapter(Declared).validate_python({} if values is None else values)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg'].lower()}" for e in error.errors(include_input=False)]
        raise OperatorError(f"{path}: {'; '.join(found)}; docs/models.md lists the keys.") from error
