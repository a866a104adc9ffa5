"""What prices come to: the policy `learned` replayed on traces, so that looks back and blending are in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.settings import LabelSettings, Mode
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.overhead import costs_of
from everyframe.pipeline.traces.replay import Machine, replay
from everyframe.pipeline.traces.second import Second
from everyframe.policies.base import LOOK
from everyframe.policies.brain import Brain, Curve, save
from everyframe.policies.simulation.optimum import Point

PRICES = tuple(np.geomspace(0.05, 30, 6).tolist())
LEAST_FRAMES = 120
"""Shorter clips say nothing of a price."""
MOST_FRAMES = 200
"""Of each clip."""


def with_curve(
    brain: Brain, traces: Sequence[str], mode: Mode, classes: Sequence[str], folder: Path, prices: Sequence[float] = PRICES
) -> Brain:
    """The brain with the median over traces of 120 frames and more with objects in them; over all where there are none.
    folder: for weights that are taken away again. Raises SourceError, UsageError."""
    with TemporaryDirectory(dir=folder) as own:  # files are read once by their name
        file = Path(own) / "weights.safetensors"
        save({mode: brain}, file, {})
        policies = [f"learned:{price:g}:{file}" for price in prices]
        played = [points_of(tf.load(path), policies, mode, classes) for path in traces]
    long = [points for frames, points in played if frames >= LEAST_FRAMES] or [points for _, points in played]
    if not long:
        raise UsageError("A curve of prices needs at least one trace.")
    f1 = np.median([[p.f1 for p in points] for points in long], 0)
    cost = np.median([[p.cost for p in points] for points in long], 0)
    return replace(brain, curve=Curve(tuple(prices), tuple(f1.tolist()), tuple(cost.tolist())))


def points_of(
    trace: tf.Trace,
    policies: Sequence[str],
    mode: Mode,
    classes: Sequence[str],
    limit: int | None = MOST_FRAMES,
    ratio: float | None = None,
    capacities: Sequence[tuple[Second, float]] = (),
    own: tuple[Second, float] | None = None,
) -> tuple[int, list[Point]]:
    """Frames played, 0 where no object is in them, and what each policy comes to there: cost by what the trace says of its
    machine, in dense frames, the same however busy the machine is that replays, but for the own time of looks at parts. ratio: cost of decoding a frame in looks, on
    another machine. capacities: what further ones found, and what a look of each costs in looks of the trace's own; own: one that
    stands for the trace's."""
    costs, machine = costs_of(trace), Machine()
    if ratio is not None:
        scale = ratio * costs.look / max(float(costs.decode.mean()), 1e-9)
        costs, machine = costs.with_ratio(ratio), Machine(decode=trace.costs["decode"] * scale)
    cnn = machine.costs(trace)["prepare"] + machine.costs(trace)["detect"]
    alone = costs.look if own is None else costs.look - (1 - own[1]) * cnn
    if own is not None:
        machine = replace(machine, detect=machine.costs(trace)["detect"] * own[1])
    offered = tuple(replace(second.capacity(1.0), cost=cost) for second, cost in capacities)
    settings = LabelSettings(mode=mode, classes=tuple(classes), limit=limit, capacities=offered)
    rows = replay(trace, policies, settings, machine, seconds=[second for second, _ in capacities], own=own and own[0])
    decode = float(costs.decode.mean()) + costs.carry
    looks = {LOOK: alone, **{c.rung.name: costs.look - (1 - c.cost) * cnn for c in offered}}
    points = [
        Point(
            row.policy,
            (costs.frame + row.decode_fraction * decode + sum(n * looks[r] for r, n in row.looks.items())
             + row.cpu_ms_by_step.get("region", 0.0)) / costs.dense,
            row.f1_dense, round(row.cnn_fraction * row.frames), row.decode_fraction,
        )
        for row in rows
    ]  # fmt: skip
    seen = any(len(objects) for objects in trace.objects[:limit])
    return (rows[0].frames if seen and rows else 0), points
