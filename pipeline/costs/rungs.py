"""CPU ms of the rungs that run a part of the CNN, on a scene of which a tenth moves: what `everyframe costs` shows of them.

What such a rung costs depends on what there is to do; on a video, `everyframe evaluate` measures it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import process_time

import numpy as np

from everyframe.operators.base import Detector, Prices
from everyframe.operators.registry import OPERATORS
from everyframe.pipeline.costs.measure import cost_row, open_detector, settled, translated
from everyframe.pipeline.costs.prices import prices_for
from everyframe.pipeline.costs.table import Cost, CostTable, default_table
from everyframe.pipeline.labelling.ladder import ALWAYS, Ladder
from everyframe.pipeline.labelling.scene import moving_scene
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.settings import ModelSettings

FRAMES = 8


def measure_rungs(settings: ModelSettings, width: int, height: int, table: CostTable | None = None) -> list[Cost]:
    """Every rung between propagate and detect, measured on the runtime that "auto" comes to; kept in the table.

    The median of a few frames after the first. Raises DetectorError.
    """
    table = table or default_table()
    detector = open_detector(settings, width, height, table=table)
    model = settled(settings, detector)
    prices = prices_for(model, width, height, detector, table)
    rows = []
    for name in OPERATORS:
        if name in ALWAYS:
            continue
        row = cost_row(name, (width, height), detector.digest, model.runtime, model.precision, model.threads)
        with translated():
            ms = float(np.median(list(_frames(name, detector, prices, width, height))))
        rows.append(replace(row, ms=ms))
    table.put(rows)
    return rows


def _frames(name: str, detector: Detector, prices: Prices, width: int, height: int) -> Iterator[float]:
    """CPU ms of the rung, what it keeps up to date included, for each frame after a whole look and a first try."""
    ladder = Ladder(detector, (name,), prices, Meter())
    for index in range(FRAMES + 2):
        view, objects = moving_scene(width, height, index)
        start = process_time()
        ladder.follow(view)
        ladder.look("detect" if index == 0 else name, view, objects)
        if index > 1:
            yield (process_time() - start) * 1e3
