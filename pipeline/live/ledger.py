"""Counters in a small memory-mapped file: the kernel keeps what was counted when the process is killed.

Layout, little-endian: 64 bytes of head (magic), then slots of 64 bytes: name (48, zero-padded UTF-8), CRC-32 of it (4),
nothing (4), value (8, aligned, so that it is stored in one piece). One process writes; any may read.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import threading
import zlib
from pathlib import Path

from everyframe.pipeline.errors import SinkError

SLOTS = 256
_MAGIC = b"everyframe counters 1\n"
_HEAD = _SLOT = 64
_NAME = 48
_SIZE = _HEAD + SLOTS * _SLOT
_LOG = logging.getLogger("everyframe")


class Ledger:
    """Satisfies `live.types.Counter`; `add` may be called from any thread. Raises SinkError where the file can't be made.

    A file that is torn or no ledger at all is begun anew, keeping every counter that can still be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        kept = _read(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # Allocated at once: a hole that meets a full disk would kill the process (SIGBUS).
                os.posix_fallocate(file, 0, _SIZE)
                self._map = mmap.mmap(file, _SIZE)
            finally:
                os.close(file)
        except OSError as e:
            raise SinkError(f"cannot write {path}: {e.strerror}; name another folder with --state") from e
        if kept is None and any(self._map[:_SIZE]):
            _LOG.warning("%s is damaged: counters begin anew", path)
        self._values = memoryview(self._map).cast("q")
        self._index: dict[str, int] = {}
        if not _is_whole(self._map[:]):
            self._map[:] = _MAGIC.ljust(_HEAD, b"\0") + bytes(_SIZE - _HEAD)
            for name, value in (kept or {}).items():
                self.add(name, value)
        else:
            self._index = {name: (_HEAD + i * _SLOT + 56) // 8 for i, name in enumerate(kept or {})}

    def add(self, name: str, n: int = 1) -> None:
        """Adds n, not negative. Raises ValueError for a name of more than 48 bytes, or the 257th."""
        with self._lock:
            at = self._index.get(name)
            if at is None:
                at = self._new(name)
            self._values[at] += n

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return {name: self._values[at] for name, at in self._index.items()}

    @staticmethod
    def read(path: Path) -> dict[str, int]:
        """What a ledger holds now, also while another process counts in it; empty where there is none."""
        return _read(path) or {}

    def close(self) -> None:
        """Nothing can be counted afterwards. What was counted is in the file all the time."""
        with self._lock:
            self._values.release()
            self._map.close()

    def _new(self, name: str) -> int:
        data = name.encode()
        if not data or len(data) > _NAME or len(self._index) >= SLOTS:
            raise ValueError(f"{name[:60]!r} can't be counted: names have 1 to {_NAME} bytes, and there are {SLOTS} at most")
        start = _HEAD + len(self._index) * _SLOT
        padded = data.ljust(_NAME, b"\0")
        self._map[start : start + _NAME] = padded
        self._map[start + 56 : start + 64] = bytes(8)
        self._map[start + _NAME : start + _NAME + 4] = struct.pack("<I", zlib.crc32(padded))  # last: now it counts
        self._index[name] = (start + 56) // 8
        return self._index[name]


def _is_whole(data: bytes) -> bool:
    """Slots in use come first, none of them damaged."""
    if not data.startswith(_MAGIC) or len(data) < _SIZE:
        return False
    used = [any(data[at : at + _NAME + 4]) for at in range(_HEAD, _SIZE, _SLOT)]
    good = [_slot(data, at) is not None for at in range(_HEAD, _SIZE, _SLOT)]
    return used == good and used == sorted(used, reverse=True)


def _slot(data: bytes, at: int) -> tuple[str, int] | None:
    padded = data[at : at + _NAME]
    if len(data) < at + _SLOT or not padded[:1].strip(b"\0"):
        return None
    (crc,) = struct.unpack_from("<I", data, at + _NAME)
    (value,) = struct.unpack_from("<q", data, at + 56)
    if crc != zlib.crc32(padded) or value < 0:
        return None
    return padded.rstrip(b"\0").decode("utf-8", "replace"), value


def _read(path: Path) -> dict[str, int] | None:
    """Counters that can be read, in their order; None where the file is no ledger."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if not data.startswith(_MAGIC):
        return None
    slots = (_slot(data, at) for at in range(_HEAD, len(data) - _SLOT + 1, _SLOT))
    return dict(slot for slot in slots if slot is not None)
