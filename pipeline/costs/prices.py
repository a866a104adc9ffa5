"""What the rungs that a policy may choose cost on this machine: looked up, or measured once, before a run begins."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from everyframe.operators.base import Detector, Prices
from everyframe.operators.detectors import coco
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.region.sizes import crop_sizes
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.costs.measure import (
    choose_runtime,
    cost_row,
    load,
    look_ms,
    measure_costs,
    settled,
    translated,
)
from everyframe.pipeline.costs.table import CostTable, default_table
from everyframe.pipeline.errors import SourceBroken
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.models import model_digest, seen_imgsz, told_error
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.settings import Capacity, Goal, LabelSettings, ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.policies.base import Mode, Policy, Steerable
from everyframe.policies.leap import Leaping
from everyframe.policies.registry import make_policy

MEASURED, ROUNDS = 32, 2
"""Frames of a video by which its costs beside the CNN are judged, and how often: a machine that was busy for a moment must not
make decoding look dear for a whole run."""
CROWD = 8


def priced(
    settings: LabelSettings, width: int, height: int, detector: Detector | None = None, path: str | None = None
) -> LabelSettings:
    """The settings with prices for pictures of a size, where their policy chooses by price and none are given, and with what
    capacities cost.

    path: the video, whose decoding is measured where the policy weighs it.

    The same prices must reach every worker of a run: labels depend on them. settings: with runtime and precision
    settled. detector: what to measure with; loaded where None is given and something is unknown.
    """
    if settings.capacities:
        settings = replace(settings, capacities=priced_capacities(settings, width, height))
    policy = make_policy(settings.policy, settings.mode)
    prices = settings.prices
    if policy.traits.looks_at_crops and not prices.crops:
        prices = prices_for(settings.model, width, height, detector)
    if path is not None and weighs_decoding(policy, settings.mode) and "decode" not in prices.rungs:
        look = {} if "detect" in prices.rungs else {"detect": whole_look_ms(settings.model, width, height)}
        prices = replace(prices, rungs={**prices.rungs, **stream_ms(path, settings), **look})
    return settings if prices is settings.prices else replace(settings, prices=prices)


def weighs_decoding(policy: Policy, mode: Mode) -> bool:
    """Whether it must be known what decoding costs beside the CNN."""
    return isinstance(policy, Steerable) or (isinstance(policy, Leaping) and mode == "lookahead")


def priced_for(settings: LabelSettings, detector: Detector, info: SourceInfo, path: str) -> LabelSettings:
    """The settings with what "auto" came to in this detector, and with the prices that their policy asks for."""
    model = settled(settings.model, detector)
    return priced(replace(settings, model=model), info.width, info.height, detector, path)


def prices_for(
    model: ModelSettings, width: int, height: int, detector: Detector | None = None, table: CostTable | None = None
) -> Prices:
    """Prices of the whole look and of each crop size for pictures of a size. Raises DetectorError."""
    table = table or default_table()
    with translated():
        digest = model_digest(model.model)
        whole = fit(width, height, seen_imgsz(model))
    known: dict[tuple[int, int], float] = {}
    measured = []
    for size in [whole.outer, *map(tuple, crop_sizes(whole).tolist())]:
        row = cost_row("detect", size, digest, model.runtime, model.precision, model.threads)
        ms = table.get(row)
        if ms is None:
            detector = detector or load(model)
            ms = look_ms(detector, size)
            measured.append(replace(row, ms=ms))
        known[size] = ms
    table.put(measured)
    return Prices({"detect": known.pop(whole.outer)}, known)


def priced_capacities(settings: LabelSettings, width: int, height: int) -> tuple[Capacity, ...]:
    """The capacities with runtime and precision for pictures of a size, the error that their files tell of, and what a look costs, in
    looks of the run's model. Raises DetectorError for one that cannot be used."""
    full = whole_look_ms(settings.model, width, height)
    return tuple(_priced_capacity(capacity, full, width, height) for capacity in settings.capacities)


def _priced_capacity(capacity: Capacity, full_ms: float, width: int, height: int) -> Capacity:
    runtime, precision = choose_runtime(capacity.model, width, height)
    model = replace(capacity.model, runtime=runtime, precision=precision)
    with translated():
        error = told_error(capacity.name, capacity.error)
    return replace(capacity, model=model, error=error, cost=float(f"{whole_look_ms(model, width, height) / full_ms:.2g}"))


def whole_look_ms(model: ModelSettings, width: int, height: int, table: CostTable | None = None) -> float:
    """CPU ms of a look at the whole picture, with its preparation. model: with runtime and precision settled. Raises
    DetectorError."""
    rows = measure_costs(model, width, height, table, again=False)
    return sum(row.ms for row in rows if row.rung in ("detect", "prepare"))


class _Crowd:
    """A detector that costs nothing and always finds the same: with it a run's other costs can be measured."""

    runtime = precision = ""

    def __init__(self, names: tuple[str, ...], supercategory: tuple[str, ...]) -> None:
        self.names = names
        self.supercategory = supercategory

    def detect(self, picture: U8) -> Objects:
        height, width = picture.shape[:2]
        left = np.linspace(0, 0.9 * width, CROWD)
        xyxy = np.stack((left, 0 * left + 0.4 * height, left + 0.08 * width, 0 * left + 0.7 * height), 1)
        return Objects.of(xyxy, np.full(CROWD, 0.9), np.zeros(CROWD))

    def prepare(self, picture: U8) -> U8:
        return picture

    def infer(self, prepared: U8) -> Objects:
        return self.detect(prepared)


def stream_ms(path: str, settings: LabelSettings, frames: int = MEASURED) -> dict[str, float]:
    """CPU ms of this video beside the CNN: `plain`, decoding a frame; `decode`, that with its motion, tracks and policy;
    `frame`, what every frame costs besides. Of its first frames, the least of `ROUNDS`, to two digits: so two runs mostly get the same;
    of those before a break, if there is one. Raises SourceError where it cannot be opened."""
    rounds = [_stream_ms(path, settings, frames) for _ in range(ROUNDS)]
    return {name: float(f"{min(ms[name] for ms in rounds):.1e}") for name in rounds[0]}


def _stream_ms(path: str, settings: LabelSettings, frames: int) -> dict[str, float]:
    few = replace(settings, limit=frames, audit=0.0, goal=Goal(), prices=Prices(), capacities=())
    with FileSource(path) as source:
        worker = StreamWorker(source, _Crowd(coco.NAMES, coco.SUPERCATEGORY), few)
        with suppress(SourceBroken):  # the run itself will tell, after the labels before the break
            for _ in worker.chunks():
                pass
    stats = worker.stats
    decoded, count = max(stats.decoded, 1), max(stats.frames, 1)
    plain = stats.cpu_ms.get("decode", 0.0) / decoded
    own = sum(stats.cpu_ms.get(step, 0.0) for step in ("motion", "propagate", "policy")) / decoded
    looks = sum(stats.cpu_ms.get(step, 0.0) for step in ("cnn", "convert"))
    rest = (stats.total_cpu_ms - looks) / count - (plain + own) * decoded / count
    return {"plain": plain, "decode": plain + own, "frame": max(rest, 0.0)}
