"""The rules of the game, compiled: one call plays one frame in each of many streams.

A stream is a row of `whole` (int64) and of `real` (float64); the constants below name their columns.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from everyframe.policies.features import AGREEMENTS, HORIZON, LONGEST_GOP, TRACKS, USUAL
from everyframe.policies.simulation.arena import FIXED
from everyframe.policies.simulation.counting import right

CLIP, NOW, END, LOOK, SEEN, INTERVAL, LOST, FRESH, ROW, STEP, CLEARED, RIGHT, SHOWN = range(13)
"""clip; frame now; end of the episode; last look; last decoded frame; frames between the last two looks; frames since
the look that were never decoded; whether nothing was looked at yet; row and step of the last motion seen; whether a look
came since; pending counts since the look (looking ahead)."""
AGREE, AGREED, USUALLY, PRICE, FRAME_COST, DECODE, CARRY, LOOK_COST, NORM, COST_DECODE, COST_LOOK = range(11)
"""agreement, its mean; usual number of objects; price; costs in dense frames (DECODE: of a ms); normaliser; the last
two: logs for the observation."""
WHOLES, REALS = 13, 11
COST, TRUE, REPORTED, EXPECTED, MISSED = range(5)
"""Columns of what a step tells: cost in dense frames; true positives, reports and true objects that were settled by it;
and false positives with misses."""
_SUMMED = tuple(TRACKS.index(name) for name in ("alarm", "travelled", "anew_since"))
_COUNT = TRACKS.index("count")
_LOG_H, _LOG_G = np.log1p(HORIZON), np.log1p(LONGEST_GOP)


@njit(cache=True, nogil=True)
def _counts(clips, whole, shift, boxes, shown):  # type: ignore[no-untyped-def]
    """True positives and reports of the labels carried to the last decoded frame, held from there on."""
    base = clips.base[whole[CLIP]]
    k, m, t = base + whole[LOOK], base + whole[SEEN], base + whole[NOW]
    d = min(m - k, clips.right.shape[1] - 1)
    a, b = clips.first[k], clips.first[k + 1]
    if m == t and not whole[LOST]:
        return clips.right[k, d], clips.shown[k, d]
    count = 0
    for i in range(b - a):
        shown[i] = clips.visible[a + i, d]
        count += shown[i]
        for x in range(4):
            boxes[i, x] = (clips.boxes[a + i, d, x] - shift[i, x % 2]) / 8.0
    p, q = clips.true_first[t], clips.true_first[t + 1]
    n = b - a
    return right(boxes[:n], clips.group[a:b], shown[:n], clips.true_boxes[p:q], clips.true_group[p:q]), count


@njit(cache=True, nogil=True)
def _decode_next(clips, whole, shift):  # type: ignore[no-untyped-def]
    """Decodes the next frame with what it needs; returns ms and frames decoded. What a given-up group of pictures held
    of motion is lost: boxes stay behind by as much."""
    base = clips.base[whole[CLIP]]
    t, m, k = whole[NOW] + 1, whole[SEEN], whole[LOOK]
    start = m + 1
    key = clips.key[base + t]
    if key > start:
        last = clips.right.shape[1] - 1
        a = clips.first[base + k]
        for i in range(clips.first[base + k + 1] - a):
            for x in range(2):
                shift[i, x] += clips.boxes[a + i, min(key - k, last), x] - clips.boxes[a + i, min(m - k, last), x]
        whole[LOST] += key - start
        start = key
    whole[SEEN] = t
    return clips.decode[base + start : base + t + 1].sum(), t + 1 - start


@njit(cache=True, nogil=True)
def _from_both_sides(clips, whole):  # type: ignore[no-untyped-def]
    """True positives and reports of the frames between the last look and one now."""
    base = clips.base[whole[CLIP]]
    k, gap = base + whole[LOOK], whole[NOW] - whole[LOOK]
    if gap < 2:
        return 0.0, 0.0
    j = 0
    while j < clips.gaps.shape[0] - 1 and clips.gaps[j + 1] <= gap:
        j += 1
    upper = min(j + 1, clips.gaps.shape[0] - 1)
    g0, g1 = clips.gaps[j], clips.gaps[upper]
    share = (gap - g0) / (g1 - g0) if g1 > g0 else 0.0
    if k + g1 >= base + clips.length[whole[CLIP]]:
        share = 0.0
    lost = min(whole[LOST] / (gap - 1), 1.0)
    out = np.zeros(2)
    for x in range(2):
        for y in range(2):
            low = clips.between[k, j, x + 2 * y] / (g0 - 1)
            high = clips.between[k, upper, x + 2 * y] / (g1 - 1)
            out[x] += ((1 - share) * low + share * high) * (gap - 1) * (lost if y else 1 - lost)
    return out[0], out[1]


@njit(cache=True, nogil=True)
def _look(clips, whole, real, shift, told):  # type: ignore[no-untyped-def]
    """A look at the frame now."""
    base = clips.base[whole[CLIP]]
    t = base + whole[NOW]
    objects = np.expm1(clips.tracks[t, 0, _COUNT] / FIXED)
    if not whole[FRESH]:
        k, d = base + whole[LOOK], min(whole[NOW] - whole[LOOK], clips.agreement.shape[1] - 1)
        agreement = clips.agreement[k, d] / FIXED
        real[AGREE] = agreement
        real[AGREED] += AGREEMENTS * (agreement - real[AGREED])
        real[USUALLY] += USUAL * (objects - real[USUALLY])
        whole[INTERVAL] = whole[NOW] - whole[LOOK]
    else:
        real[USUALLY] = objects
        whole[ROW] = -1  # no track has been seen yet
        told[COST] += clips.decode[t] * real[DECODE] + real[CARRY]
    whole[LOOK] = whole[NOW]
    whole[LOST] = whole[FRESH] = 0
    whole[CLEARED] = 1
    shift[:] = 0
    told[COST] += real[LOOK_COST]
    told[TRUE] += clips.right[t, 0]
    told[REPORTED] += clips.shown[t, 0]


@njit(cache=True, nogil=True)
def _frame(clips, whole, real, shift, looks, decodes, lookahead, boxes, shown, told):  # type: ignore[no-untyped-def]
    """One frame of one stream; True where it was the episode's last."""
    base = clips.base[whole[CLIP]]
    told[:] = 0.0
    told[COST] = real[FRAME_COST]
    horizon = clips.right.shape[1] - 1
    is_decoded = whole[SEEN] == whole[NOW]
    found, count = 0, 0
    if not whole[FRESH]:
        found, count = _counts(clips, whole, shift, boxes, shown)
    must = whole[FRESH] or whole[NOW] - whole[LOOK] >= horizon
    if is_decoded and (looks or must):
        if lookahead and not whole[FRESH]:
            told[TRUE], told[REPORTED] = _from_both_sides(clips, whole)
        told[EXPECTED] = clips.truth[base + whole[LOOK] + 1 : base + whole[NOW] + 1].sum()
        if not lookahead or whole[FRESH]:
            told[EXPECTED] = clips.truth[base + whole[NOW]]
        whole[RIGHT] = whole[SHOWN] = 0
        _look(clips, whole, real, shift, told)
    elif not lookahead:
        told[TRUE], told[REPORTED], told[EXPECTED] = found, count, clips.truth[base + whole[NOW]]
    else:
        whole[RIGHT] += found
        whole[SHOWN] += count
    is_over = whole[NOW] + 1 >= whole[END]
    if is_over and lookahead and whole[LOOK] < whole[NOW]:
        told[TRUE], told[REPORTED] = whole[RIGHT], whole[SHOWN]
        told[EXPECTED] = clips.truth[base + whole[LOOK] + 1 : base + whole[NOW] + 1].sum()
    told[MISSED] = told[REPORTED] + told[EXPECTED] - 2 * told[TRUE]
    if is_over:
        return True
    if decodes or whole[NOW] + 1 - whole[LOOK] >= horizon:
        ms, frames = _decode_next(clips, whole, shift)
        told[COST] += ms * real[DECODE] + frames * real[CARRY]
        whole[ROW] = base + whole[LOOK]
        whole[STEP] = whole[NOW] + 1 - whole[LOOK]
        whole[CLEARED] = 0
    whole[NOW] += 1
    return False


@njit(cache=True, nogil=True)
def _observe(clips, whole, real, out):  # type: ignore[no-untyped-def]
    """The features of a stream's frame, in the order of `features.FEATURES`."""
    base = clips.base[whole[CLIP]]
    t = base + whole[NOW]
    out[0] = 1.0 if whole[FRESH] else min(np.log1p(whole[NOW] - whole[LOOK]) / _LOG_H, 1.0)
    out[1] = min(np.log1p(whole[NOW] - whole[SEEN]) / _LOG_H, 1.0)
    key = clips.key[t]
    behind = whole[NOW] - max(key - 1, whole[SEEN])
    out[2] = min(np.log1p(behind) / _LOG_G, 1.0)
    out[3], out[4] = real[AGREE], real[AGREED]
    out[5] = min(np.log1p(whole[INTERVAL]) / _LOG_H, 1.0)
    out[6] = min(np.log1p(real[USUALLY]), 5.0)
    at = 7
    d = min(whole[STEP], clips.tracks.shape[1] - 1)
    for i in range(clips.tracks.shape[2]):
        out[at + i] = clips.tracks[whole[ROW], d, i] / FIXED if whole[ROW] >= 0 else 0.0
    if whole[CLEARED]:
        for i in _SUMMED:
            out[at + i] = 0.0
    at += clips.tracks.shape[2]
    out[at : at + clips.motion.shape[1]] = clips.motion[base + whole[SEEN]]
    at += clips.motion.shape[1]
    n = clips.packets.shape[1]
    out[at : at + n] = clips.packets[t]
    at += n
    out[at], out[at + 1], out[at + 2] = np.log(real[PRICE]), real[COST_DECODE], real[COST_LOOK]
    at += 3
    last = base + clips.length[whole[CLIP]] - 1
    out[at : at + n] = clips.packets[min(t + 1, last)]


@njit(cache=True, nogil=True)
def play(clips, whole, real, shift, looks, decodes, lookahead, told, over):  # type: ignore[no-untyped-def]
    """Plays one frame in each of B streams. looks, decodes (B,) bool; told (B, 5) and over (B,) are written."""
    boxes = np.empty((max(shift.shape[1], 1), 4), np.float64)
    shown = np.empty(max(shift.shape[1], 1), np.bool_)
    for i in range(whole.shape[0]):
        over[i] = _frame(clips, whole[i], real[i], shift[i], looks[i], decodes[i], lookahead, boxes, shown, told[i])


@njit(cache=True, nogil=True)
def observe(clips, whole, real, out):  # type: ignore[no-untyped-def]
    """The observations (B, len(FEATURES)) of B streams."""
    for i in range(whole.shape[0]):
        _observe(clips, whole[i], real[i], out[i])
