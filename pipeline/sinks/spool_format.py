"""What the files of a spool hold.

A segment is a run of frames, little-endian: length of the payload (4), CRC-32 of the rest (4), number (8), ms (8), seq (4),
kind (1), payload. A frame that is cut off or damaged ends its segment. `mark` holds what is done, twice, each copy with
its CRC-32: one is whole at any time.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LABELS, EVENT = 0, 1
_HEAD = struct.Struct("<IIQQIB")
_LONGEST = 16 << 20
_MARK = struct.Struct("<QQQQQQQqQQ")
_COPY = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """number: rises by one with each. ms, seq: its id. segment: first number of its file, -1 where it is in memory only;
    end: the offset behind it. since: when its frame arrived, by the monotonic clock, NaN in an earlier life."""

    number: int
    kind: int
    ms: int
    seq: int
    payload: bytes
    segment: int = -1
    end: int = 0
    since: float = float("nan")

    @property
    def id(self) -> tuple[int, int]:
        return self.ms, self.seq


@dataclass(frozen=True, slots=True)
class Mark:
    """What is done with, written in one step: entries up to `number`; of labels how many were published and dropped, ever;
    the greatest id; the hour and the sizes of the label files that belong to it."""

    number: int = 0
    published: int = 0
    dropped_full: int = 0
    dropped_disk: int = 0
    ms: int = 0
    seq: int = 0
    hour: int = 0
    labels_size: int = -1
    events_size: int = 0


class MarkFile:
    """A mark in a memory-mapped file: the kernel keeps it when the process is killed. Raises OSError."""

    def __init__(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, 2 * _COPY)  # no hole: one that meets a full disk would kill the process
            self._map = mmap.mmap(file, 2 * _COPY)
        finally:
            os.close(file)
        self._generation = 0

    def load(self) -> Mark:
        """The newest whole copy; nothing done where there is none."""
        found = Mark()
        for at in (0, _COPY):
            (crc,) = struct.unpack_from("<I", self._map, at)
            data = self._map[at + 4 : at + 4 + _MARK.size]
            generation, *rest = _MARK.unpack(data)
            if crc == zlib.crc32(data) and generation > self._generation:
                number, published, full, disk, ms, seq, labels_size, events_size, hour = rest
                found = Mark(number, published, full, disk, ms, seq, hour, labels_size, events_size)
                self._generation = generation
        return found

    def put(self, mark: Mark) -> None:
        self._generation += 1
        data = _MARK.pack(
            self._generation, mark.number, mark.published, mark.dropped_full, mark.dropped_disk, mark.ms, mark.seq,
            mark.labels_size, mark.events_size, mark.hour,
        )  # fmt: skip
        at = self._generation % 2 * _COPY
        self._map[at : at + 4 + _MARK.size] = struct.pack("<I", zlib.crc32(data)) + data


def frame(entry: Entry) -> bytes:
    rest = _HEAD.pack(0, 0, entry.number, entry.ms, entry.seq, entry.kind)[8:] + entry.payload
    return struct.pack("<II", len(entry.payload), zlib.crc32(rest)) + rest


def frames(data: bytes, segment: int, base: int) -> Iterator[Entry]:
    """Whole frames from the start of `data`, up to the first that is not. base: offset of `data` in its file."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, crc, number, ms, seq, kind = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length
        if length > _LONGEST or end > len(data) or crc != zlib.crc32(data[at + 8 : end]):
            return
        yield Entry(number, kind, ms, seq, data[at + _HEAD.size : end], segment, base + end)
        at = end
