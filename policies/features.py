"""What a learned policy sees of a stream: one vector of numbers, the same in the simulation and in a run.

Four parts, each a function of little: of the packets alone (`PacketWatch`), of one frame's motion (`frame_part`), of
that motion and the tracks (`track_part`), of the time since the last look (`Since`). So the simulation can compute all
but the last few numbers once for each frame and each pair of frames, with the code that runs in the product. Sizes,
speeds and strays are relative to the camera's own: spreads of what was usual there, box sizes, shares of cells.
Nothing here looks ahead. `FEATURES` names every number, with its range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.policies.base import F32, PacketFacts
from everyframe.policies.motion import DRIFT, LEARNING, MOST_EXCESS, SMALLEST, Normal
from everyframe.policies.stray import (
    FASTEST_PX,
    FORGET,
    MOVING_PX,
    NEIGHBOURS,
    REACH,
    RESTLESS,
    Bool,
    _mark,
    _median,
)

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


@dataclass(frozen=True, slots=True)
class Active:
    """What moves in a frame. cells (n, 2) int32 (row, column) of moving cells; weight (n, 2) float32: their motion beyond
    the picture's own in `FASTEST_PX`, less where a cell is always restless. values (len(FRAME),) float32."""

    cells: NDArray[np.int32]
    weight: F32
    values: F32


@njit(cache=True, nogil=True)
def _frame_part(motion, known, restless):  # type: ignore[no-untyped-def]
    rows, cols = known.shape
    mx, my = _median(motion, known, 0), _median(motion, known, 1)
    moves = np.zeros((rows + 2, cols + 2), np.bool_)
    unknown = 0
    for r in range(rows):
        for c in range(cols):
            speed = max(abs(motion[r, c, 0] - mx), abs(motion[r, c, 1] - my))
            moves[r + 1, c + 1] = speed > MOVING_PX and known[r, c]
            unknown += not known[r, c]
    cells = np.empty((rows * cols, 2), np.int32)
    weight = np.empty((rows * cols, 2), np.float32)
    n = 0
    for r in range(rows):
        for c in range(cols):
            active = moves[r + 1, c + 1] and moves[r : r + 3, c : c + 3].sum() > NEIGHBOURS
            if active:
                w = max(0.0, 1 - restless[r, c] / RESTLESS) / FASTEST_PX
                cells[n, 0], cells[n, 1] = r, c
                weight[n, 0] = w * min(max(motion[r, c, 0] - mx, -FASTEST_PX), FASTEST_PX)
                weight[n, 1] = w * min(max(motion[r, c, 1] - my, -FASTEST_PX), FASTEST_PX)
                n += 1
            restless[r, c] += FORGET * ((1.0 if active else 0.0) - restless[r, c])
    total = max(rows * cols, 1)
    values = np.empty(3, np.float32)
    values[0] = min(np.log1p(np.sqrt(mx * mx + my * my)), 5.0)
    values[1] = n / total
    values[2] = unknown / total
    return cells[:n].copy(), weight[:n].copy(), values


def frame_part(motion: F32, known: Bool, restless: F32) -> Active:
    """motion (rows, cols, 2) pixels, known (rows, cols) as in `Observation`; restless (rows, cols): in which share of the
    frames so far each cell moved, brought up to date in place."""
    return Active(*_frame_part(motion, known, restless))


@njit(cache=True, nogil=True)
def _stray(cells, weight, covered, sums):  # type: ignore[no-untyped-def]
    """The strongest common motion of uncovered cells in any window of `REACH` cells; sums is left at zero."""
    rows, cols = covered.shape
    half = REACH // 2
    most = 0.0
    for i in range(cells.shape[0]):
        r, c = cells[i, 0], cells[i, 1]
        if covered[r, c]:
            continue
        for y in range(max(r - half, 0), min(r + half + 1, rows)):
            for x in range(max(c - half, 0), min(c + half + 1, cols)):
                sums[y, x, 0] += weight[i, 0]
                sums[y, x, 1] += weight[i, 1]
    for i in range(cells.shape[0]):
        r, c = cells[i, 0], cells[i, 1]
        for y in range(max(r - half, 0), min(r + half + 1, rows)):
            for x in range(max(c - half, 0), min(c + half + 1, cols)):
                most = max(most, sums[y, x, 0] ** 2 + sums[y, x, 1] ** 2)
                sums[y, x, 0] = 0.0
                sums[y, x, 1] = 0.0
    return np.sqrt(most)


@njit(cache=True, nogil=True)
def _box(motion, known, box, cell, out):  # type: ignore[no-untyped-def]
    """Into out: mean speed of the box's cells in pixels, share of moving ones, share coded anew, moving cells and all
    cells of the ring around it."""
    rows, cols = known.shape
    w, h = box[2] - box[0], box[3] - box[1]
    c0, c1 = max(int(box[0] / cell), 0), min(int(box[2] / cell) + 1, cols)
    r0, r1 = max(int(box[1] / cell), 0), min(int(box[3] / cell) + 1, rows)
    g0, g1 = max(int((box[0] - 0.5 * w) / cell), 0), min(int((box[2] + 0.5 * w) / cell) + 1, cols)
    h0, h1 = max(int((box[1] - 0.5 * h) / cell), 0), min(int((box[3] + 0.5 * h) / cell) + 1, rows)
    speed, moving, anew, total, ring, ring_moving = 0.0, 0, 0, 0, 0, 0
    for r in range(h0, h1):
        for c in range(g0, g1):
            v = abs(motion[r, c, 0]) + abs(motion[r, c, 1])
            if r0 <= r < r1 and c0 <= c < c1:
                total += 1
                speed += np.sqrt(motion[r, c, 0] ** 2 + motion[r, c, 1] ** 2)
                moving += v > MOVING_PX
                anew += not known[r, c]
            else:
                ring += 1
                ring_moving += v > MOVING_PX and known[r, c]
    n = max(total, 1)
    out[0], out[1], out[2], out[3], out[4] = speed / n, moving / n, anew / n, ring_moving, ring


@njit(cache=True, nogil=True)
def _track_part(motion, known, cells, weight, boxes, scores, cell, width, height, covered, sums, out):  # type: ignore[no-untyped-def]
    covered[:] = False
    _mark(boxes, cell, covered)
    out[:] = 0.0
    out[0] = _stray(cells, weight, covered, sums)
    n = boxes.shape[0]
    of_box = np.zeros(5, np.float64)
    ring, ring_moving = 0.0, 0.0
    out[11] = 1.0 if n else 0.0
    for i in range(n):
        _box(motion, known, boxes[i], cell, of_box)
        area = max((boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1]), 1.0)
        speed = min(of_box[0] / np.sqrt(area), 1.0)
        out[2] += speed / n
        out[3] = max(out[3], speed)
        out[6] += of_box[2] / n
        out[9] += of_box[1] > 0.15
        ring_moving += of_box[3]
        ring += of_box[4]
        out[10] += scores[i] / n
        out[11] = min(out[11], scores[i])
        out[12] += _touches(boxes, i) / n
        mx, my = 0.02 * width, 0.02 * height
        at_edge = boxes[i, 0] < mx or boxes[i, 1] < my or boxes[i, 2] > width - mx or boxes[i, 3] > height - my
        out[13] += at_edge / n
        out[14] += min(np.sqrt(area / (width * height)), 1.0) / n
    out[5] = ring_moving / max(ring, 1.0)
    out[8] = np.log1p(n)
    out[9] = np.log1p(out[9])
    out[15] = np.log1p(out[0])


@njit(cache=True, nogil=True)
def _touches(boxes, i):  # type: ignore[no-untyped-def]
    for j in range(boxes.shape[0]):
        if j != i:
            w = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            h = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if w > 0 and h > 0:
                return 1.0
    return 0.0


class TrackPart:
    """The part that motion and tracks give together; keeps buffers for one size of field."""

    def __init__(self, rows: int, cols: int) -> None:
        self._covered = np.zeros((rows, cols), np.bool_)
        self._sums = np.zeros((rows, cols, 2), np.float64)

    def __call__(
        self, motion: F32, known: Bool, active: Active, boxes: F32, scores: F32, cell: int
    ) -> F32:
        """(len(TRACKS),) float32 with `stray` raw (as `stray_motion` gives it), and 0 for what is summed up over frames.

        boxes (n, 4) pixels and scores (n,) of the tracks; those scored below `STRONG` at the last look are left out:
        which of them there are depends on all looks before.
        """
        seen = scores >= STRONG
        out = np.zeros(len(TRACKS), np.float32)
        rows, cols = known.shape
        _track_part(
            motion, known, active.cells, active.weight, np.ascontiguousarray(boxes[seen]), scores[seen], cell,
            cols * cell, rows * cell, self._covered, self._sums, out,
        )  # fmt: skip
        return out


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
