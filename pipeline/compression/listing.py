"""What is known of models without looking at a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from everyframe.operators.detectors import weights
from everyframe.operators.errors import OperatorError
from everyframe.pipeline.compression.judge import HEIGHT, WIDTH
from everyframe.pipeline.costs.measure import choose_runtime, detect_costs
from everyframe.pipeline.errors import DetectorError
from everyframe.pipeline.models import F1, SHIPPED, kind_of
from everyframe.pipeline.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class Row:
    """f1: against the model it was made from, on the pictures that it was judged by; None where it is the first of its line.
    fault: why it cannot be used."""

    model: str
    recipe: str
    megabytes: float
    f1: float | None
    runtime: str = ""
    precision: str = ""
    cpu_ms: float | None = None
    fault: str = ""


def listed(paths: Sequence[str], imgsz: int) -> list[Row]:
    """The shipped models, then those of the paths."""
    return [_row(model, imgsz) for model in (*SHIPPED, *paths)]


def _row(model: str, imgsz: int) -> Row:
    try:
        if kind_of(model) == "nanodet":
            data = weights.read(model)
            said = weights.metadata(data)
            row = Row(model, said.get("recipe", "NanoDet-g, trained on COCO"), len(data) / 1e6, _number(said.get(F1)))
        else:
            row = Row(model, "your own", Path(model).stat().st_size / 1e6, None)
        settings = ModelSettings(model, imgsz)
        runtime, precision = choose_runtime(settings, WIDTH, HEIGHT)
        costs = detect_costs(replace(settings, runtime=runtime, precision=precision), WIDTH, HEIGHT)
        return replace(row, runtime=runtime, precision=precision, cpu_ms=costs[0].ms)
    except (OperatorError, DetectorError, OSError) as e:
        return Row(model, "", 0.0, None, fault=str(e))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
