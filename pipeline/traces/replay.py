"""What policies would have cost and missed on a recorded clip: the product's worker on its trace, in seconds.

Labels are those of a run; what `region` finds in crops is modelled (see `playback`). Costs are put together: demuxing, decoding, motion and converting as they were
when the clip was recorded, the CNN from the table of the machine that is asked about, tracks and policy as they are now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.operators.base import Prices
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.costs.prices import weighs_decoding
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.evaluation.dense import Dense, Progress
from everyframe.pipeline.evaluation.rows import Row
from everyframe.pipeline.evaluation.run import Judge, class_ids, row_of
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.settings import Capacity, LabelSettings, Mode
from everyframe.pipeline.traces.format import Trace
from everyframe.pipeline.traces.overhead import dense_ms, look_ms, rest_ms
from everyframe.pipeline.traces.playback import Player, TraceDetector, player, prices_of
from everyframe.pipeline.traces.second import Second
from everyframe.pipeline.truth import Truth
from everyframe.policies.base import LOOK, Steerable
from everyframe.policies.registry import PolicyError, make_policy

KNOWN = frozenset({"hold", "propagate", "region", "detect"})
"""Rungs that a trace can play; the others need the pixels themselves."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What another machine costs, in CPU ms for a frame; None where it is as the trace says. detect: the CNN; decode:
    decoding with motion vectors, to which demuxing, plain decoding, motion and converting are in proportion."""

    detect: float | None = None
    decode: float | None = None

    def costs(self, trace: Trace) -> dict[str, float]:
        costs = trace.costs
        if self.detect is not None:
            costs["prepare"] *= self.detect / max(costs["detect"], 1e-9)
            costs["detect"] = self.detect
        if self.decode is not None:
            scale = self.decode / max(costs["decode"], 1e-9)
            for name in ("demux", "decode", "plain", "motion", "convert", "propagate", "policy", "track", "rest"):
                costs[name] *= scale
        return costs


def machine_from(path: str, trace: Trace, decode: float | None = None) -> Machine:
    """Another machine by what its `everyframe costs --json` printed: its fastest runtime for the trace's model and pictures.

    Raises UsageError where the file is not that, or lacks the size.
    """
    size = fit(trace.info.width, trace.info.height, trace.meta["model"]["imgsz"]).outer
    wanted = f"{size[0]}x{size[1]}"
    model = str(trace.meta["model"]["digest"])[:12]
    try:
        rows = json.loads(Path(path).read_text())["costs"]
        known: dict[str, list[float]] = {}
        for row in rows:
            if row["rung"] == "detect" and row.get("model", model) == model:
                known.setdefault(row["size"], []).append(float(row["cpu_ms"]))
    except OSError as e:
        raise UsageError(f"Cannot read {path}: {e.strerror or e}.") from e
    except (ValueError, KeyError, TypeError) as e:
        raise UsageError(f"{path} is not what everyframe costs --json prints.") from e
    if wanted not in known:
        sizes = ", ".join(sorted(known)) or "none"
        raise UsageError(
            f"{path} has no cost of the CNN at {wanted} (but: {sizes}): run everyframe costs --measure --size "
            f"{trace.info.width}x{trace.info.height} there."
        )
    return Machine(min(known[wanted]), decode)


def replay(
    trace: Trace,
    policies: Sequence[str],
    settings: LabelSettings | None = None,
    machine: Machine | None = None,
    truth: Truth | None = None,
    progress: Progress | None = None,
    seconds: Sequence[Second] = (),
    own: Second | None = None,
) -> list[Row]:
    """Plays policies on a trace. settings: mode, classes, limit and seed of all; objects count from `metrics.SCORE` up.
    seconds: what the settings' capacities found, in their order, costs set. own: a capacity that is played as the run's model,
    for which `machine` then speaks; F1 stays against the trace's.

    Raises UsageError: unknown policy or class, or a policy that looks at pictures.
    """
    settings = replace(settings or LabelSettings(), conf=metrics.SCORE)
    for policy in policies:
        _check(policy, settings.mode)
    costs = (machine or Machine()).costs(trace)
    detector = TraceDetector(trace)
    objects = trace.objects[: settings.limit]
    reference = Dense(objects, np.zeros(len(objects), np.uint64), dense_ms(costs))
    judge = Judge.of(reference, detector, class_ids(detector, settings.classes), truth)
    rows = []
    for policy in policies:
        wanted = replace(settings, policy=policy)
        found, stats = _play(trace, wanted, costs, progress, seconds, own)
        rows.append(row_of(str(trace.meta["video"]), wanted, found, stats, reference, judge, detector, True))
    return rows


def _check(policy: str, mode: Mode) -> None:
    try:
        traits = make_policy(policy, mode).traits
    except PolicyError as e:
        raise UsageError(str(e)) from e
    rungs = {*traits.rungs, *([traits.look_back_rung] if traits.look_back else [])} - KNOWN
    if rungs:
        raise UsageError(
            f"policy {policy} looks at pictures ({', '.join(sorted(rungs))}), which a trace does not hold: use everyframe "
            "evaluate on the video."
        )


def _play(
    trace: Trace, settings: LabelSettings, costs: dict[str, float], progress: Progress | None, seconds: Sequence[Second],
    own: Second | None,
) -> tuple[list[Objects], RunStats]:
    warm_up(settings.policy, settings.mode)
    scale = costs["detect"] / max(trace.costs["detect"], 1e-9)
    played = player(trace, replace(settings, prices=_prices(trace, settings, costs, scale)), seconds, own)
    found: list[Objects] = []
    for chunk in played.worker.chunks():
        found += [record.objects for record in chunk]
        if progress is not None:
            progress(settings.policy, len(found), len(trace))
    return found, _charged(played, trace, costs, settings.capacities)


def _prices(trace: Trace, settings: LabelSettings, costs: dict[str, float], scale: float) -> Prices:
    """What a run would be told: as `pipeline.costs.prices.priced` measures it."""
    prices = prices_of(trace, scale)
    policy = make_policy(settings.policy, settings.mode)
    if not weighs_decoding(policy, settings.mode):
        return prices
    decode = costs["decode"] + costs["motion"] + costs["propagate"] + costs["policy"]
    stream = {"plain": costs["demux"] + costs["plain"], "decode": decode, "frame": costs["demux"] + costs["rest"]}
    look = {"detect": look_ms(costs) + costs["track"]} if isinstance(policy, Steerable) else {}
    return replace(prices, rungs={**prices.rungs, **stream, **look})


def _charged(
    played: Player, trace: Trace, costs: dict[str, float], capacities: Sequence[Capacity]
) -> RunStats:
    """The counts with the costs of a real run in place of those of playing the trace."""
    stats, parts = played.worker.stats, played.detector
    recorded: dict[str, Any] = trace.costs
    factor = costs["decode"] / max(recorded["decode"], 1e-9)
    steps = {step: stats.cpu_ms.get(step, 0.0) * factor for step in ("demux", "decode", "policy", "track")}
    own = {step: stats.cpu_ms.get(step, 0.0) for step in ("region", "propagate")}
    luma = played.decoder.luma_ms  # the real one is there at no cost
    for step, ms in own.items():
        taken = min(ms, luma)
        luma -= taken
        own[step] = (ms - taken) * factor
    steps |= own
    looks = sum(stats.looks.values()) + parts.part_looks
    prices = {LOOK: 1.0, **{capacity.rung.name: capacity.cost for capacity in capacities}}
    whole = sum(prices[rung] * n for rung, n in stats.looks.items())
    steps["region"] += parts.crop_ms * costs["detect"] / max(recorded["detect"], 1e-9) + costs["prepare"] * parts.part_looks
    steps["motion"] = costs["motion"] * stats.decoded
    steps["convert"] = costs["convert"] * looks
    steps["cnn"] = (look_ms(costs) - costs["convert"]) * whole
    total = sum(steps.values()) + max(rest_ms(stats) - luma, 0.0) * factor
    return replace(stats, cpu_ms=steps, total_cpu_ms=total)
