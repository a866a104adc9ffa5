"""What each rung costs on this machine: CPU ms, measured once and kept in the user's cache folder.

Cost is CPU time of the whole process (all threads), never wall time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from time import process_time
from typing import cast

import cv2
import numpy as np

from everyframe.operators.base import Detector, Operator
from everyframe.operators.detectors.detector import MIN_SCORE
from everyframe.operators.detectors.letterbox import Letterbox, fit, to_input
from everyframe.operators.detectors.runtimes import available
from everyframe.operators.errors import OperatorError
from everyframe.operators.hold import Hold
from everyframe.operators.propagate import Propagate
from everyframe.operators.region.crops import InParts
from everyframe.operators.types import U8, MotionField, Objects, View
from everyframe.pipeline.costs.machine import has_native_bf16, machine_id
from everyframe.pipeline.costs.table import Cost, CostTable, default_table
from everyframe.pipeline.errors import DetectorError
from everyframe.pipeline.models import (
    LoadedDetector,
    is_quantized,
    kind_of,
    model_digest,
    open_model,
    seen_imgsz,
)
from everyframe.pipeline.settings import ModelSettings, Precision, Runtime

RUNS = 5
BOXES = 10
"""Objects that the cheap rungs are measured with."""


def candidates(settings: ModelSettings) -> list[tuple[Runtime, Precision]]:
    """Pairs of runtime and precision that the settings allow on this machine, the reference first."""
    if kind_of(settings.model) == "python":
        return [(settings.runtime, settings.precision)]
    on_cpu = settings.device == "cpu"
    names: list[Runtime] = [settings.runtime]
    if settings.runtime == "auto":
        names = ["torch", "openvino"] if "openvino" in available(settings.device) else ["torch"]
        names = ["openvino"] if kind_of(settings.model) == "onnx" else names
    precisions: list[Precision] = [settings.precision]
    with translated():
        rounds = settings.precision == "auto" and is_quantized(settings.model)
    if rounds:
        return [(name, "int8" if name == "openvino" else "f32") for name in names]
    if settings.precision == "auto":  # CPU time, the measure here, says nothing of a GPU
        precisions = ["f32", "bf16"] if on_cpu and has_native_bf16() else ["f32"]
    return [(name, precision) for name in names for precision in precisions]


def choose_runtime(
    settings: ModelSettings, width: int, height: int, table: CostTable | None = None
) -> tuple[Runtime, Precision]:
    """The cheapest allowed runtime and precision for pictures of a size, measured now where it never was.

    Raises `DetectorError` where the model or the only allowed runtime cannot be used.
    """
    allowed = candidates(settings)
    if len(allowed) == 1:
        return allowed[0]
    ms = {(row.runtime, row.precision): row.ms for row in detect_costs(settings, width, height, table)}
    return min((pair for pair in allowed if pair in ms), key=lambda pair: ms[pair])


def detect_costs(
    settings: ModelSettings, width: int, height: int, table: CostTable | None = None, again: bool = False
) -> list[Cost]:
    """CPU ms of the CNN on a picture of a size for each of `candidates`: looked up, or measured where it never was
    or if `again`. A runtime that nobody asked for and that does not work is left out."""
    table = table or default_table()
    with translated():
        digest = model_digest(settings.model)
    with translated():
        outer = fit(width, height, seen_imgsz(settings)).outer
    found = []
    for runtime, precision in candidates(settings):
        row = cost_row("detect", outer, digest, runtime, precision, settings.threads)
        ms = None if again else table.get(row)
        try:
            if ms is None:
                ms = look_ms(load(replace(settings, runtime=runtime, precision=precision)), outer)
        except DetectorError:
            if settings.runtime != "auto" or runtime == "torch":
                raise
            continue
        found.append(replace(row, ms=ms))
    table.put(found)
    return found


def measure_costs(
    settings: ModelSettings, width: int, height: int, table: CostTable | None = None, again: bool = True
) -> list[Cost]:
    """Every rung's CPU ms for pictures of a size, cheapest last: looked up, or measured where it never was or if `again`,
    and kept in the table."""
    table = table or default_table()
    with translated():
        settings = replace(settings, imgsz=seen_imgsz(settings))
    rows = detect_costs(settings, width, height, table, again)
    size = (width, height)
    cheap: list[tuple[Cost, Callable[[], float]]] = [
        (cost_row("prepare", size, f"to {settings.imgsz}", threads=settings.threads), partial(_prepare_ms, settings, size)),
        *((cost_row(rung.name, size), partial(_rung_ms, rung, size)) for rung in (Propagate(), Hold())),
    ]
    for row, measure in cheap:
        ms = None if again else table.get(row)
        rows.append(replace(row, ms=measure() if ms is None else ms))
    table.put(rows)
    return rows


def _prepare_ms(settings: ModelSettings, size: tuple[int, int]) -> float:
    picture, box = _picture(*size), fit(*size, settings.imgsz)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(settings.threads)
    ms = least_cpu_ms(lambda: to_input(picture, box), 20)
    cv2.setNumThreads(threads)
    return ms


def _rung_ms(rung: Operator, size: tuple[int, int]) -> float:
    view, objects = _scene(*size)
    return least_cpu_ms(partial(rung.apply, view, objects), 100)


def open_detector(
    settings: ModelSettings,
    width: int,
    height: int,
    min_score: float = MIN_SCORE,
    table: CostTable | None = None,
) -> LoadedDetector:
    """The detector for pictures of a size, with "auto" settled by `choose_runtime`. Raises `DetectorError`."""
    runtime, precision = choose_runtime(settings, width, height, table)
    return load(replace(settings, runtime=runtime, precision=precision), min_score)


def load(settings: ModelSettings, min_score: float = MIN_SCORE) -> LoadedDetector:
    """The detector that the settings name; "auto" in them means the reference. Raises `DetectorError`."""
    with translated():
        return open_model(settings, min_score)


def settled(settings: ModelSettings, detector: Detector) -> ModelSettings:
    """The settings with what "auto" came to in this detector."""
    runtime, precision = cast(Runtime, detector.runtime), cast(Precision, detector.precision)
    return replace(settings, runtime=runtime, precision=precision)


@contextmanager
def translated() -> Iterator[None]:
    """Operators' errors as the user's."""
    try:
        yield
    except OperatorError as error:
        raise DetectorError(str(error)) from error


def cost_row(
    rung: str,
    size: tuple[int, int],
    model: str = "",
    runtime: str = "",
    precision: str = "",
    threads: int = 1,
) -> Cost:
    """A row without its figure."""
    size_text = f"{size[0]}x{size[1]}"
    return Cost(
        machine_id(), rung, size_text, model, runtime, _version(runtime), precision, threads, math.nan
    )


def _version(runtime: str) -> str:
    try:
        return version(runtime) if runtime else ""
    except PackageNotFoundError:
        return ""


def least_cpu_ms(run: Callable[[], object], times: int) -> float:
    """CPU ms of one call: the least over a few rounds of `times` calls, after a warm-up."""
    run()
    run()
    least = math.inf
    for _ in range(RUNS):
        start = process_time()
        for _ in range(times):
            run()
        least = min(least, process_time() - start)
    return least / times * 1000


def _picture(width: int, height: int) -> U8:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def look_ms(detector: Detector, size: tuple[int, int]) -> float:
    """CPU ms of the CNN with its post-processing, on a picture of noise that is as large as the net's input, or as its part."""
    with translated():
        picture = _picture(*size)
        if isinstance(detector, InParts):
            prepared = detector.prepare_in(picture, Letterbox(size, size, size))
        else:
            prepared = detector.prepare(picture)
        return least_cpu_ms(lambda: detector.infer(prepared), 1)


def _scene(width: int, height: int) -> tuple[View, Objects]:
    """A picture in which everything moves a little, and boxes over a tenth of it."""
    rng = np.random.default_rng(0)
    still = MotionField.still(width, height)
    motion = rng.normal(1, 0.5, still.motion.shape).astype(np.float32)
    corner = rng.uniform(0, 0.8, (BOXES, 2)) * (width, height)
    xyxy = np.concatenate((corner, corner + np.array((width, height)) * 0.1), 1)
    objects = Objects.of(xyxy, np.full(BOXES, 0.9), np.zeros(BOXES), np.arange(BOXES))
    return View(width, height, replace(still, motion=motion)), objects
