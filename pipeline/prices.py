"""What the rungs that a policy may choose cost on this machine: looked up, or measured once, before a run begins."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

from everyframe.operators.base import Detector, Prices
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.region.sizes import crop_sizes
from everyframe.pipeline.cost_table import CostTable, default_table
from everyframe.pipeline.costs import cost_row, load, look_ms, measure_costs, settled, translated
from everyframe.pipeline.decoder import Decoder
from everyframe.pipeline.fields import FieldBuilder
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.policies.base import Steerable
from everyframe.policies.registry import make_policy

DECODED = 32
"""Frames of a video by which the cost of its decoding is judged."""


def priced(
    settings: LabelSettings, width: int, height: int, detector: Detector | None = None, path: str | None = None
) -> LabelSettings:
    """The settings with prices for pictures of a size, where their policy chooses by price and none are given.

    path: the video, whose decoding is measured where the policy can be steered by cost.

    The same prices must reach every worker of a run: labels depend on them. settings: with runtime and precision
    settled. detector: what to measure with; loaded where None is given and something is unknown.
    """
    policy = make_policy(settings.policy, settings.mode)
    traits = policy.traits
    prices = settings.prices
    if "region" in (*traits.rungs, traits.look_back_rung) and not prices.crops:
        prices = prices_for(settings.model, width, height, detector)
    if path is not None and isinstance(policy, Steerable) and "decode" not in prices.rungs:
        look = whole_look_ms(settings.model, width, height)
        prices = replace(prices, rungs={**prices.rungs, **decoding_ms(path), "detect": look})
    return settings if prices is settings.prices else replace(settings, prices=prices)


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


def whole_look_ms(model: ModelSettings, width: int, height: int) -> float:
    """CPU ms of a look at the whole picture, with its preparation. Raises DetectorError."""
    rows = measure_costs(model, width, height, again=False)
    wanted = {"detect": model.runtime, "prepare": ""}
    return sum(row.ms for row in rows if wanted.get(row.rung) == row.runtime and row.precision in ("", model.precision))


def decoding_ms(path: str, frames: int = DECODED) -> dict[str, float]:
    """CPU ms of a frame of this video: `decode` with its motion, `plain` without. Of its first frames, to two digits: so
    two runs mostly get the same. Raises SourceError."""
    with FileSource(path) as source:
        decoder, fields = Decoder(source), FieldBuilder(source.info)
        spent, motion, count = 0.0, 0.0, 0
        for packet in source.packets():
            for slot in decoder.push(packet, True):
                spent += slot.decode_ms
                count += 1
                start = process_time()
                fields.push(slot)
                motion += (process_time() - start) * 1e3
            if count >= frames:
                break
    plain = spent / max(count, 1)
    both = plain + motion / max(count, 1)
    return {"decode": float(f"{both:.1e}"), "plain": float(f"{plain:.1e}")}
