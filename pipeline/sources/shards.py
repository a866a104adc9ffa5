"""Cuts a file into shards at key packets: a function of the file alone, so that no number of workers changes a label."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from everyframe.pipeline.errors import SourceBroken
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.sources.file import FileSource

FRAMES_PER_SHARD = 2000


@dataclass(frozen=True, slots=True)
class Shard:
    """The frames with start_pts <= pts < end_pts. start_pts is None for the first shard, end_pts for the last.

    frames_estimate: packets with such a pts; a damaged one may give no frame.
    """

    index: int
    start_pts: int | None
    end_pts: int | None
    frames_estimate: int


@dataclass(frozen=True, slots=True)
class Scan:
    """A file's packets, read once without decoding.

    info: as known at the end: `decode_all` is set if any packet asks for it. frames: packets that show a frame.
    times: their pts in order of display, empty where there are none. keys: pts at which decoding can begin without
    what came before, in order. broken: what is wrong where the file breaks off, else None.
    """

    info: SourceInfo
    frames: int
    times: list[int] = field(repr=False)
    keys: list[int] = field(repr=False)
    broken: SourceBroken | None = None


def scan(path: str) -> Scan:
    """Reads all packets of a file, decoding none. Raises SourceError where it cannot be opened."""
    with FileSource(path) as source:
        return _scan(source)


def _scan(source: FileSource) -> Scan:
    times: list[int] = []
    keys: list[int] = []
    frames = 0
    latest: int | None = None
    broken = None
    try:
        for packet in source.packets():
            frames += not packet.is_discard
            if packet.pts is None:
                continue
            if packet.is_entry and latest is not None and packet.pts > latest:
                keys.append(packet.pts)
            latest = packet.pts if latest is None else max(latest, packet.pts)
            if not packet.is_discard:
                times.append(packet.pts)
    except SourceBroken as error:
        broken = error
    return Scan(source.info, frames, sorted(times), keys, broken)


def plan_shards(path: str, frames_per_shard: int = FRAMES_PER_SHARD) -> list[Shard]:
    """Shards of at least `frames_per_shard` frames, each from a key packet to the next shard's.

    A stream of which every frame must be decoded is one shard. A file whose header tells of too few frames for two
    shards is not scanned: that costs more than labelling a second of it. Raises SourceError where the file cannot be
    opened.
    """
    with FileSource(path) as source:
        told = source.info.frames
        if told is not None and told < frames_per_shard + frames_per_shard // 2:
            return [Shard(0, None, None, told)]
        return shards_of(_scan(source), frames_per_shard)


def shards_of(scanned: Scan, frames_per_shard: int = FRAMES_PER_SHARD) -> list[Shard]:
    """The shards of a file that was scanned."""
    bounds: list[int] = []
    if scanned.info.decode_all is None:
        first = 0
        for pts in scanned.keys:
            at = bisect_left(scanned.times, pts)
            if at - first >= frames_per_shard and len(scanned.times) - at >= frames_per_shard // 2:
                bounds.append(pts)
                first = at
    cuts = [0, *(bisect_left(scanned.times, pts) for pts in bounds), scanned.frames]
    starts: list[int | None] = [None, *bounds]
    ends: list[int | None] = [*bounds, None]
    return [
        Shard(i, start, end, cuts[i + 1] - cuts[i]) for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
