"""The features of `policies.features` over a whole trace: what depends on the frame, or on it and the last look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.boxes import LEAST_INSIDE, share_inside
from everyframe.operators.types import F32, MotionField
from everyframe.pipeline.labelling.tracks import TrackState
from everyframe.pipeline.traces.format import Trace
from everyframe.policies.features import (
    FRAME,
    TRACKS,
    PacketWatch,
    alarm_after,
    stray_excess,
)
from everyframe.policies.motion import Normal
from everyframe.policies.moving import Active, TrackPart, frame_part

F16 = NDArray[np.float16]
MOST_SUM = 8.0
_AT = {name: i for i, name in enumerate(TRACKS)}


def packet_features(trace: Trace) -> F32:
    """(frames, len(PACKET)): of the packet of each frame, all packets before it in decode order having been seen."""
    watch = PacketWatch()
    rows = np.stack([watch.see(trace.packets.facts(i)) for i in range(len(trace.packets.size))])
    out: F32 = rows[trace.frames.packet]
    return out


def active_parts(fields: Sequence[MotionField | None]) -> list[Active]:
    """What moves in each frame, as if all had been decoded."""
    nothing = Active(np.zeros((0, 2), np.int32), np.zeros((0, 2), np.float32), np.zeros(len(FRAME), np.float32))
    restless: F32 | None = None
    parts = []
    for field in fields:
        if field is None:
            parts.append(nothing)
            continue
        if restless is None or restless.shape != field.known.shape:
            restless = np.zeros(field.known.shape, np.float32)
        parts.append(frame_part(field.motion, field.known, restless))
    return parts


def track_features(
    fields: Sequence[MotionField | None], parts: Sequence[Active], states: Sequence[TrackState], paths: Sequence[F32],
    size: tuple[int, int],
) -> F16:  # fmt: skip
    """(frames, horizon + 1, len(TRACKS)): of frame k + d after a look at k.

    states: the tracks at each look; paths (horizon + 1, n, 4): their boxes carried on. What is usual of stray motion is
    learnt from each frame with the tracks of a look at it.
    """
    frames, steps = len(states), len(paths[0])
    out = np.zeros((frames, steps, len(TRACKS)), np.float32)
    makers: dict[tuple[int, int], TrackPart] = {}
    for k in range(frames):
        scores, inside = states[k].objects.score, _inside(paths[k], size)
        for d in range(min(steps, frames - k)):
            field = fields[k + d]
            if field is None:
                continue
            shape = (field.known.shape[0], field.known.shape[1])
            part = makers.setdefault(shape, TrackPart(*shape))
            seen = inside[d]
            out[k, d] = part(field.motion, field.known, parts[k + d], paths[k][d][seen], scores[seen], field.cell)
    _settle(out)
    return out.astype(np.float16)


def _inside(path: F32, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(steps, n): tracks that have not left the picture; one that left does not come back."""
    share = share_inside(path.reshape(-1, 4), *size).reshape(path.shape[:2])
    out: NDArray[np.bool_] = np.logical_and.accumulate(share >= LEAST_INSIDE, 0)
    return out


def _settle(out: F32) -> None:
    """Raw stray motion in spreads of the usual, and what is summed up since the look."""
    frames, steps, _ = out.shape
    normal = Normal()
    excess = np.zeros((frames, steps), np.float32)
    for t in range(frames):
        for d in range(min(steps, t + 1)):
            excess[t - d, d] = stray_excess(float(out[t - d, d, _AT["stray"]]), normal)
        normal.learn(float(out[t, 0, _AT["stray"]]))
    out[..., _AT["stray"]] = excess
    for name, of in (("travelled", "inside"), ("anew_since", "anew")):
        values = out[..., _AT[of]].copy()
        values[:, 0] = 0.0
        out[..., _AT[name]] = np.minimum(np.cumsum(values, 1), MOST_SUM)
    for k in range(frames):
        alarm = 0.0
        for d in range(1, steps):
            alarm = alarm_after(alarm, float(excess[k, d]))
            out[k, d, _AT["alarm"]] = alarm
