"""The observation of `policies.features` in a run: what the simulation's tables hold, from what a worker tells a policy."""

from __future__ import annotations

import numpy as np

from everyframe.policies.base import F32, Observation, PacketFacts
from everyframe.policies.features import (
    FEATURES,
    FRAME,
    PACKET,
    STRONG,
    TRACKS,
    PacketWatch,
    Since,
    alarm_after,
    price_values,
    stray_excess,
)
from everyframe.policies.motion import Normal
from everyframe.policies.moving import TrackPart, frame_part

_AT = {name: i for i, name in enumerate(TRACKS)}
_SUMMED = ("alarm", "travelled", "anew_since")
_MOST_SUM = 8.0
_MOST_PACKETS = 64


class Watch:
    """One stream's observations. `gate` once a packet, then `passed` with what was decided; `choose` once a decoded frame,
    then `looked` where a look at the whole follows. All are microseconds but `choose`, which reads the motion field."""

    def __init__(self) -> None:
        self._packets = PacketWatch()
        self._since = Since()
        self._normal = Normal()
        self._restless: F32 | None = None
        self._part: TrackPart | None = None
        self._tracks = np.zeros(len(TRACKS), np.float32)
        self._sums = dict.fromkeys(_SUMMED, 0.0)
        self._frame = np.zeros(len(FRAME), np.float32)
        self._of_packet: dict[int, F32] = {}
        self._last = np.zeros(len(PACKET), np.float32)
        self._looks = 0
        self._has_looked = self._awaits_result = False
        self.prices = price_values(1.0, 1.0, 1.0)

    def price(self, price: float, cost_decode: float, cost_look: float) -> None:
        """What error costs, in dense frames for F1 from 0 to 1, and what a decoded frame and a look cost, in dense frames."""
        self.prices = price_values(price, cost_decode, cost_look)

    def gate(self, facts: PacketFacts) -> F32:
        """(len(FEATURES),) float32 before the packet is decoded or not: the state at the frame before it, as its rung was
        chosen, with this packet as the next one."""
        seen = self._packets.see(facts)
        self._of_packet[facts.index] = seen
        if len(self._of_packet) > _MOST_PACKETS:
            del self._of_packet[next(iter(self._of_packet))]
        return self._vector(self._last, seen)

    def passed(self, facts: PacketFacts, decodes: bool) -> None:
        """What was answered for the packet that `gate` was asked about last."""
        since = self._since
        if facts.is_key:
            since.behind = 0
        if decodes:
            return
        self._begin_interval()
        since.behind += 1
        since.undecoded += 1
        since.frames += 1
        self._last = self._of_packet[facts.index]

    def choose(self, observation: Observation) -> F32:
        """(len(FEATURES),) float32 of a decoded frame; the numbers of the next packet are 0."""
        self._begin_interval()
        self._take_result(observation)
        since = self._since
        since.frames, since.undecoded, since.behind = observation.frames_since_detect, 0, 0
        known = observation.known
        if self._restless is None or self._restless.shape != known.shape:
            self._restless = np.zeros(known.shape, np.float32)
            self._part = TrackPart(known.shape[0], known.shape[1])
        assert self._part is not None
        active = frame_part(observation.motion, known, self._restless)
        self._frame = active.values
        tracks = self._part(
            observation.motion, known, active, observation.boxes, observation.scores, observation.cell
        )
        self._settle(tracks)
        self._last = self._of_packet.get(observation.packet.index, self._last)
        return self._vector(self._last, np.zeros(len(PACKET), np.float32))

    def looked(self) -> None:
        """The frame chosen last is looked at: from the next one on, what is summed up since the look begins anew."""
        self._has_looked = self._awaits_result = True
        self._looks += 1

    def _begin_interval(self) -> None:
        if not self._has_looked:
            return
        self._has_looked = False
        self._sums = dict.fromkeys(_SUMMED, 0.0)
        for name in _SUMMED:
            self._tracks[_AT[name]] = 0.0
        self._since.interval = self._since.frames if self._looks > 1 else 0
        self._since.frames = 0

    def _take_result(self, observation: Observation) -> None:
        if not self._awaits_result:
            return
        self._awaits_result = False
        count = int((observation.scores >= STRONG).sum())
        self._since.told(observation.agreement, count, self._looks == 1)

    def _settle(self, tracks: F32) -> None:
        raw = float(tracks[_AT["stray"]])
        excess = stray_excess(raw, self._normal)
        self._normal.learn(raw)
        sums = self._sums
        sums["alarm"] = alarm_after(sums["alarm"], excess)
        sums["travelled"] = min(sums["travelled"] + float(tracks[_AT["inside"]]), _MOST_SUM)
        sums["anew_since"] = min(sums["anew_since"] + float(tracks[_AT["anew"]]), _MOST_SUM)
        tracks[_AT["stray"]] = excess
        for name in _SUMMED:
            tracks[_AT[name]] = sums[name]
        self._tracks = tracks

    def _vector(self, packet: F32, following: F32) -> F32:
        out = np.concatenate([self._since.values(), self._tracks, self._frame, packet, self.prices, following])
        assert len(out) == len(FEATURES)
        return out
