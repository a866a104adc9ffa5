"""Several clips behind each other in one set of arrays, so that compiled code can play any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from everyframe.policies.features import FRAME, PACKET, TRACKS
from everyframe.policies.simulation.table import ClipTable

FIXED = 2048.0


class Clips(NamedTuple):
    """N frames of all clips. base, length (clips,): where each begins and how long it is. The others as in `ClipTable`,
    with key (N,): the last key frame at or before each, counted in the clip; decode (N,): ms; tracks and
    agreement in units of 1 / FIXED; between (N, gaps, 4)."""

    base: np.ndarray
    length: np.ndarray
    key: np.ndarray
    truth: np.ndarray
    decode: np.ndarray
    packets: np.ndarray
    motion: np.ndarray
    tracks: np.ndarray
    agreement: np.ndarray
    right: np.ndarray
    shown: np.ndarray
    first: np.ndarray
    boxes: np.ndarray
    visible: np.ndarray
    group: np.ndarray
    true_first: np.ndarray
    true_boxes: np.ndarray
    true_group: np.ndarray
    gaps: np.ndarray
    between: np.ndarray


@dataclass(frozen=True, slots=True)
class Arena:
    """clips: the arrays. tables: what they were made of. most: objects of one look at most."""

    clips: Clips
    tables: tuple[ClipTable, ...]
    most: int

    @property
    def horizon(self) -> int:
        return int(self.clips.right.shape[1]) - 1


def arena_of(tables: Sequence[ClipTable], lookahead: bool = False) -> Arena:
    """Raises ValueError without clips, for clips of different horizons, or without tables of both sides for lookahead."""
    if not tables or len({t.horizon for t in tables}) > 1:
        raise ValueError("an arena needs at least one clip, and clips of one horizon")
    if lookahead and any(t.between is None for t in tables):
        raise ValueError("looking ahead needs tables of both sides")
    lengths = np.array([len(t) for t in tables])
    carried = [t.carried for t in tables]
    betweens = [t.between for t in tables if t.between is not None] if lookahead else []
    gaps = betweens[0].gaps if betweens else np.zeros(0, np.int32)
    sums = [np.stack((b.right, b.shown, b.held_right, b.held_shown), -1) for b in betweens]
    clips = Clips(
        base=np.cumsum([0, *lengths[:-1]]),
        length=lengths,
        key=np.concatenate([last_key(t.is_key) for t in tables]),
        truth=np.concatenate([t.truth for t in tables]),
        decode=np.concatenate([t.costs.decode for t in tables]).astype(np.float64),
        packets=_joined([t.packets for t in tables], len(PACKET)),
        motion=_joined([t.motion for t in tables], len(FRAME)),
        tracks=_joined([_fixed(t.tracks) for t in tables], len(TRACKS)),
        agreement=np.concatenate([_fixed(np.nan_to_num(t.agreement)) for t in tables]),
        right=np.concatenate([c.right for c in carried]),
        shown=np.concatenate([c.shown for c in carried]),
        first=_joined_first([c.first for c in carried]),
        boxes=np.concatenate([c.boxes for c in carried]),
        visible=np.concatenate([c.visible for c in carried]),
        group=np.concatenate([c.group for c in carried]),
        true_first=_joined_first([t.true_first for t in tables]),
        true_boxes=np.concatenate([t.true_boxes for t in tables]),
        true_group=np.concatenate([t.true_group for t in tables]),
        gaps=gaps,
        between=np.concatenate(sums) if sums else np.zeros((0, 0, 4), np.int32),
    )
    return Arena(clips, tuple(tables), int(np.diff(clips.first).max(initial=0)))


def _fixed(values: np.ndarray) -> np.ndarray:
    """float16 as int16 in units of 1 / FIXED: compiled code has no float16."""
    out: np.ndarray = np.clip(np.rint(values.astype(np.float32) * FIXED), -32768, 32767).astype(np.int16)
    return out


def last_key(is_key: np.ndarray) -> np.ndarray:
    """(n,): the last key frame at or before each frame; 0 before the first one."""
    out: np.ndarray = np.maximum.accumulate(np.where(is_key, np.arange(len(is_key)), 0))
    return out


def _joined(parts: list[np.ndarray], columns: int) -> np.ndarray:
    if any(part.shape[-1] != columns for part in parts):
        raise ValueError(f"tables of another version: {columns} features are expected")
    return np.concatenate(parts)


def _joined_first(parts: list[np.ndarray]) -> np.ndarray:
    ends = np.cumsum([0, *(part[-1] for part in parts)])
    return np.concatenate([*(part[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)), ends[-1:]])
