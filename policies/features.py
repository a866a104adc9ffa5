"""What a learned policy sees of a stream: one vector of numbers, the same in the simulation and in a run.

Four parts, each a function of little: of the packets alone (`PacketWatch`), of one frame's motion (`moving.frame_part`), of
that motion and the tracks (`moving.TrackPart`), of the time since the last look (`Since`). So the simulation can compute all
but the last few numbers once for each frame and each pair of frames, with the code that runs in the product. Sizes,
speeds and strays are relative to the camera's own: spreads of what was usual there, box sizes, shares of cells.
Nothing here looks ahead. `FEATURES` names every number, with its range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from everyframe.policies.base import F32, PacketFacts
from everyframe.policies.motion import DRIFT, LEARNING, MOST_EXCESS, SMALLEST, Normal

HORIZON = 300
"""Frames after a look up to which time is told apart."""
LONGEST_GOP = 256
STRONG = np.float32(0.45)
"""Score of a track from which it counts here."""

TIME = (
    "since_look",  # log1p(frames since the last look) / log1p(HORIZON), 0 .. 1
    "undecoded",  # log1p(frames in a row that were not decoded, this one among them) / log1p(HORIZON), 0 .. 1
    "behind",  # log1p(packets that catching up would decode) / log1p(LONGEST_GOP), 0 .. 1
    "agreement",  # F1 of the tracks with the last look, 0 .. 1; 1 before the second look
    "agreements",  # its running mean over looks, 0 .. 1
    "interval",  # log1p(frames between the last two looks) / log1p(HORIZON), 0 .. 1
    "usual",  # log1p(running mean of the number of tracks), 0 .. 5
)
TRACKS = (
    "stray",  # motion outside of all tracks, in spreads of the usual, -3 .. 8
    "alarm",  # its cumulative sum since the last look (Page, 1954) / 16, 0 .. 8
    "inside",  # mean speed of the tracks' cells, box sizes a frame, 0 .. 1
    "fastest",  # the fastest track's, 0 .. 1
    "travelled",  # `inside` added up since the last look, 0 .. 8
    "around",  # share of moving cells in a ring around the tracks, 0 .. 1
    "anew",  # share of the tracks' cells that were coded anew (intra), 0 .. 1
    "anew_since",  # added up since the last look, 0 .. 8
    "count",  # log1p(tracks), 0 .. 5
    "moving",  # log1p(tracks that move), 0 .. 5
    "score",  # their mean score, 0 .. 1
    "weakest",  # their least score, 0 .. 1
    "touching",  # share of tracks that overlap another one, 0 .. 1
    "edge",  # share of tracks at the picture's border, 0 .. 1
    "size",  # mean of the square root of their share of the picture, 0 .. 1
    "stray_raw",  # log1p(stray motion in cells at full speed), 0 .. 4
)
FRAME = (
    "global",  # log1p(pixels a frame that the whole picture moves), 0 .. 5
    "restless",  # share of moving cells, 0 .. 1
    "intra",  # share of cells coded anew, 0 .. 1
)
PACKET = (
    "excess",  # log of the packet's size, in spreads of the usual of its kind, -3 .. 8
    "stir",  # its cumulative sum / 10, 0 .. 8
    "is_key",
    "is_b",
    "since_key",  # log1p(packets since the last key packet) / log1p(LONGEST_GOP), 0 .. 1
    "to_key",  # expected share of the group of pictures that is left, -1 .. 1
    "rate",  # log(frames a second / 25), -3 .. 3
)
PRICES = (
    "price",  # log of the price of error, in dense frames for F1 from 0 to 1, -6 .. 6
    "cost_decode",  # log of the cost of decoding and carrying a frame, in dense frames, -9 .. 0
    "cost_look",  # log of that of a look, -9 .. 0
)
NEXT = tuple(f"next_{name}" for name in PACKET)
"""Of the packet after this one: known when its gate is asked, not when this frame's rung is chosen."""
FEATURES = TIME + TRACKS + FRAME + PACKET + PRICES + NEXT
GATE_ONLY = np.array([name in NEXT for name in FEATURES])
"""Features that the choice of the rung must not use."""

LOWEST = np.array([-9.0 if n.startswith("cost") else -6.0 if n == "price" else -3.0 for n in FEATURES], np.float32)
HIGHEST = np.array([8.0 for _ in FEATURES], np.float32)

_LOG_H = math.log1p(HORIZON)
_LOG_G = math.log1p(LONGEST_GOP)


class PacketWatch:
    """The part that packets alone give; they are seen in decode order, whether decoded or not."""

    def __init__(self) -> None:
        self._sizes: dict[str, Normal] = {}
        self._stir = 0.0
        self._since_key = 0
        self._group = 0
        self._count = 0
        self._first, self._last = math.inf, -math.inf
        self.behind = 0

    def see(self, facts: PacketFacts) -> F32:
        """(len(PACKET),) float32 of one more packet."""
        normal = self._sizes.setdefault("key" if facts.is_key else facts.picture, Normal())
        excess = normal.unusual(facts.size) if normal.count >= LEARNING else 0.0
        normal.learn(facts.size)
        if facts.is_key:
            self._group = self._since_key + 1 if self._count else 0
            self._since_key = 0
        else:
            self._since_key += 1
            self._stir = min(max(0.0, self._stir + min(excess, MOST_EXCESS) - DRIFT), 80.0)
        self._count += 1
        left = (self._group - self._since_key) / self._group if self._group else 0.0
        return np.array(
            [
                min(max(excess, -3.0), 8.0), self._stir / 10, facts.is_key, facts.picture == "B",
                min(math.log1p(self._since_key) / _LOG_G, 1.0), max(left, -1.0), self._rate(facts.time_s),
            ],
            np.float32,
        )  # fmt: skip

    def _rate(self, seconds: float) -> float:
        if not math.isnan(seconds):
            self._first, self._last = min(self._first, seconds), max(self._last, seconds)
        span = self._last - self._first
        if self._count < LEARNING or not 0 < span < math.inf:
            return 0.0
        return min(max(math.log((self._count - 1) / span / 25), -3.0), 3.0)


def stray_excess(stray: float, normal: Normal) -> float:
    """Raw stray motion in spreads of the usual, 0 while too small or nothing is usual yet."""
    if stray < SMALLEST or normal.count < LEARNING:
        return 0.0
    return min(max(normal.unusual(stray), -3.0), 8.0)


def alarm_after(alarm: float, excess: float) -> float:
    """Page's cumulative sum, one frame on; in units of the feature."""
    return min(max(0.0, alarm + (min(excess, MOST_EXCESS) - DRIFT) / 16), 8.0)


@dataclass(slots=True)
class Since:
    """What is known of the looks so far, with what is summed up since the last one."""

    frames: int = 0
    undecoded: int = 0
    behind: int = 0
    agreement: float = 1.0
    agreements: float = 1.0
    interval: int = 0
    usual: float = 0.0

    def values(self) -> F32:
        """(len(TIME),) float32."""
        return np.array(
            [
                min(math.log1p(self.frames) / _LOG_H, 1.0), min(math.log1p(self.undecoded) / _LOG_H, 1.0),
                min(math.log1p(self.behind) / _LOG_G, 1.0), self.agreement, self.agreements,
                min(math.log1p(self.interval) / _LOG_H, 1.0), min(math.log1p(self.usual), 5.0),
            ],
            np.float32,
        )  # fmt: skip

    def told(self, agreement: float, count: int, is_first: bool) -> None:
        """What a look gave: its agreement with the tracks (NaN at the first), and how many objects there are now."""
        if is_first:
            self.usual = float(count)
            return
        self.usual += USUAL * (count - self.usual)
        if not math.isnan(agreement):
            self.agreement = agreement
            self.agreements += AGREEMENTS * (agreement - self.agreements)


AGREEMENTS, USUAL = 0.3, 0.2
"""Weights of the newest look in running means."""


def price_values(price: float, cost_decode: float, cost_look: float) -> F32:
    """(len(PRICES),) float32. price: dense frames for F1 from 0 to 1; costs in dense frames."""
    logs = [math.log(max(v, 1e-9)) for v in (price, cost_decode, cost_look)]
    return np.array([min(max(logs[0], -6.0), 6.0), *(min(max(v, -9.0), 0.0) for v in logs[1:])], np.float32)
