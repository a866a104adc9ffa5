"""What the rungs that a policy may choose cost on this machine: looked up, or measured once, before a run begins."""

from __future__ import annotations

from dataclasses import replace

from everyframe.operators.base import Detector, Prices
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.region.sizes import crop_sizes
from everyframe.pipeline.cost_table import CostTable, default_table
from everyframe.pipeline.costs import cost_row, load, look_ms, translated
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.policies.registry import make_policy


def priced(settings: LabelSettings, width: int, height: int, detector: Detector | None = None) -> LabelSettings:
    """The settings with prices for pictures of a size, where their policy chooses by price and none are given.

    The same prices must reach every worker of a run: labels depend on them. settings: with runtime and precision
    settled. detector: what to measure with; loaded where None is given and something is unknown.
    """
    traits = make_policy(settings.policy, settings.mode).traits
    if "region" not in (*traits.rungs, traits.look_back_rung) or settings.prices.crops:
        return settings
    return replace(settings, prices=prices_for(settings.model, width, height, detector))


def prices_for(
    model: ModelSettings, width: int, height: int, detector: Detector | None = None, table: CostTable | None = None
) -> Prices:
    """Prices of the whole look and of each crop size for pictures of a size. Raises DetectorError."""
    table = table or default_table()
    with translated():
        digest = weights.digest(weights.read(model.model))
    whole = fit(width, height, model.imgsz)
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
