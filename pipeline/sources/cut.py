"""Whether a container was cut short: its outermost structure says how long the file should be."""

from __future__ import annotations

import os
from typing import BinaryIO, cast

from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.sources.remote import RemoteFile, is_remote

_TS_PACKETS = (188, 192, 204)


def is_cut(path: str, format_name: str) -> bool:
    """True where bytes are missing at the end of a file. Raw streams and transport streams that end between two
    packets don't tell.

    format_name: FFmpeg's name of the container.
    """
    checks = {"mov": _mov, "matroska": _matroska, "avi": _avi, "mpegts": _transport}
    check = checks.get(format_name.split(",")[0])
    if check is None:
        return False
    try:
        with RemoteFile(path) if is_remote(path) else open(path, "rb") as file:
            total = file.seek(0, os.SEEK_END)
            file.seek(0)
            return check(cast(BinaryIO, file), total)
    except (OSError, SourceError):
        return False


def _mov(file: BinaryIO, total: int) -> bool:
    """ISO 14496-12, clause 4.2: boxes one after the other."""
    at = 0
    while at + 8 <= total:
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size == 0:
            return False
        if size < 8:
            return False  # not a box: padding at the end
        at += size
    return at > total


def _matroska(file: BinaryIO, total: int) -> bool:
    """RFC 8794: an EBML header, then one Segment; an unknown size (a live recording) can't be cut."""
    at = 0
    for _ in range(2):
        file.seek(at)
        head = file.read(12)
        if len(head) < 12 or head[4] == 0:
            return False
        width = 9 - head[4].bit_length()
        unknown = (1 << 7 * width) - 1
        size = int.from_bytes(head[4 : 4 + width], "big") & unknown
        if head[:4] == b"\x18\x53\x80\x67":
            return size != unknown and at + 4 + width + size > total
        at += 4 + width + size
    return False


def _avi(file: BinaryIO, total: int) -> bool:
    head = file.read(8)
    return head[:4] == b"RIFF" and int.from_bytes(head[4:8], "little") + 8 > total


def _transport(file: BinaryIO, total: int) -> bool:
    head = file.read(4 * max(_TS_PACKETS))
    for size in _TS_PACKETS:
        start = 4 if size == 192 else 0
        if all(head[i : i + 1] == b"\x47" for i in range(start, len(head), size)):
            return total % size != 0
    return False
