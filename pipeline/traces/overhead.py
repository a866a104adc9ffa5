"""What the product's own steps cost on a recorded clip, measured by playing it; and what a frame costs altogether."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.traces.format import Trace
from everyframe.pipeline.traces.playback import worker
from everyframe.policies.simulation.table import Costs

STEP = 5
FRAMES = 300
_RECORDED = ("demux", "decode")
_OWN = ("propagate", "policy", "track", "rest")


def measured(trace: Trace) -> Trace:
    """The trace with the CPU ms of the product's own steps among its costs: propagate and policy of a decoded frame,
    track of a look, rest of every frame."""
    settings = LabelSettings(policy=f"stride:{STEP}", mode="causal", limit=min(len(trace), FRAMES))
    warm_up(settings.policy, settings.mode)
    played = worker(trace, settings)
    for _ in played.chunks():
        pass
    stats = played.stats
    steps = {**dict.fromkeys(_OWN, 0.0), **stats.cpu_ms}
    per = {"propagate": stats.decoded, "policy": stats.decoded, "track": stats.cnn_frames, "rest": stats.frames}
    steps["rest"] = rest_ms(stats)
    own = {name: steps[name] / max(per[name], 1) for name in _OWN}
    return replace(trace, meta={**trace.meta, "costs": {**trace.costs, **own}})


def rest_ms(stats: RunStats) -> float:
    """CPU ms of a played run that no step was charged: iterating, building records."""
    charged = sum(ms for step, ms in stats.cpu_ms.items() if step not in _RECORDED)
    return max(stats.total_cpu_ms - charged, 0.0)


def look_ms(costs: dict[str, float]) -> float:
    """CPU ms of the CNN's share of a look."""
    return costs["convert"] + costs["prepare"] + costs["detect"]


def dense_ms(costs: dict[str, float]) -> float:
    """CPU ms of a frame of the dense detector: decoded as one would who wants pictures only."""
    return costs["demux"] + costs["plain"] + look_ms(costs)


def costs_of(trace: Trace) -> Costs:
    """The game's costs: of the recorded clip on the machine that recorded it."""
    c = trace.costs
    return Costs(
        frame=c["demux"] + c["rest"],
        decode=trace.packets.decode_ms[trace.frames.packet].astype(np.float32),
        carry=c["motion"] + c["propagate"] + c["policy"],
        look=look_ms(c) + c["track"],
        dense=dense_ms(c),
    )
