"""Labels, events and states of a watched camera as Redis keeps them, and as files of one hour hold them."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from everyframe.pipeline.live.status import camera_json
from everyframe.pipeline.live.types import CameraEvent, CameraReport
from everyframe.pipeline.sinks.entries import from_fields
from everyframe.pipeline.sinks.files import write_error

CAMERAS = "everyframe:cameras"
STALE_S = 15.0
HOUR_MS = 3_600_000
_TEXT = ("name", "state", "message", "level_name", "policy", "rungs")
"""Fields of a status that are plain text; the others are JSON."""


def event_fields(event: CameraEvent) -> dict[str, Any]:
    """The entry of one event: scalars as text, `xyxy` a JSON list in pixels."""
    fields = asdict(event)
    box = [round(float(value), 2) for value in event.xyxy]
    fields |= {"xyxy": orjson.dumps(box), "at": round(event.at, 3), "dwell_s": round(event.dwell_s, 3)}
    return fields


def pack(fields: Mapping[Any, Any]) -> bytes:
    """Fields as one block of bytes: their number, the lengths of names and values in turn, then these."""
    parts = [_bytes(part) for pair in fields.items() for part in pair]
    return struct.pack(f"<H{len(parts)}I", len(parts), *map(len, parts)) + b"".join(parts)


def unpack(data: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from("<H", data)
    lengths = struct.unpack_from(f"<{count}I", data, 2)
    at, parts = 2 + 4 * count, []
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def status_values(report: CameraReport | Mapping[str, Any]) -> dict[str, Any]:
    """A camera's status as plain JSON values."""
    return camera_json(report) if isinstance(report, CameraReport) else dict(report)


def status_fields(report: CameraReport | Mapping[str, Any]) -> dict[str, Any]:
    """A camera's status as a hash, with `at`, the unix time of now."""
    fields = {name: value if name in _TEXT else orjson.dumps(value) for name, value in status_values(report).items()}
    return {**fields, "at": f"{time.time():.3f}"}


def read_status(fields: Mapping[bytes, bytes], now: float) -> dict[str, Any]:
    """The status of a hash. One that is old says so and counts as stopped."""
    text = {key.decode(): value for key, value in fields.items()}
    at = float(text.pop("at", b"0"))
    found = {key: value.decode() if key in _TEXT else orjson.loads(value) for key, value in text.items()}
    if now - at > STALE_S and found.get("state") not in ("stopped", "failed"):
        found |= {"state": "stopped", "message": f"nothing has been heard of it for {now - at:.0f} s"}
    return found


class RollingJsonl:
    """Label files of one camera, JSON Lines, one an hour of UTC: `FOLDER/CAMERA/2026-11-25T13.jsonl`, events beside them in
    `2026-11-25T13.events.jsonl`. Only whole lines are ever appended.

    hour: since 1970, and sizes: of both files as they were last noted; what is behind is a line that was cut off, or one that
    is going to be written again. -1 for nothing noted.
    """

    def __init__(self, folder: Path, camera: str, hour: int = 0, sizes: tuple[int, int] = (-1, 0)) -> None:
        self.folder = folder / camera
        self.hour = hour
        self.sizes = sizes
        self._is_clean = sizes[0] < 0

    def turn_to(self, hour: int) -> bool:
        """Makes ready to append to the files of `hour`. True where `hour` and `sizes` are to be noted before that, so that what
        is behind them is known for unfinished. Raises SinkError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._is_clean:
                self._cut()
                self._is_clean = True
            if hour == self.hour and self.sizes[0] >= 0:
                return False
            self.sizes = self._size(hour, False), self._size(hour, True)
            self.hour = hour
            return True
        except OSError as e:
            raise write_error(self.folder, e) from e

    def write(self, labels: list[bytes], events: list[bytes]) -> None:
        """Appends lines without their ends, all or none. Raises SinkError. `sizes` tells of it."""
        try:
            self.sizes = self._append(False, labels), self._append(True, events)
        except OSError as e:
            self._is_clean = False
            raise write_error(self.folder, e) from e

    def _path(self, hour: int, is_events: bool) -> Path:
        stem = time.strftime("%Y-%m-%dT%H", time.gmtime(hour * 3600))
        return self.folder / f"{stem}{'.events' if is_events else ''}.jsonl"

    def _size(self, hour: int, is_events: bool) -> int:
        """Of the whole lines in it; a last one that was cut off goes."""
        path = self._path(hour, is_events)
        if not path.exists():
            return 0
        size = path.stat().st_size
        with open(path, "rb+") as file:
            file.seek(max(size - (1 << 20), 0))
            tail = file.read()
            whole = size - len(tail) + tail.rfind(b"\n") + 1
            if whole != size:
                file.truncate(whole)
        return whole

    def _append(self, is_events: bool, lines: list[bytes]) -> int:
        size = self.sizes[1 if is_events else 0]
        if not lines:
            return size
        data = b"".join(line + b"\n" for line in lines)
        with open(self._path(self.hour, is_events), "ab", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError(28, os.strerror(28))
        return size + len(data)

    def _cut(self) -> None:
        for is_events, size in ((False, self.sizes[0]), (True, self.sizes[1])):
            path = self._path(self.hour, is_events)
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)


def line_of(fields: Mapping[bytes, bytes], is_event: bool) -> bytes:
    """The line of an entry: the record as docs/labels.md has it, or the event."""
    if not is_event:
        return orjson.dumps(from_fields(dict(fields)))
    text: dict[str, Any] = {key.decode(): value.decode() for key, value in fields.items()}
    for name in ("frame_index", "track_id"):
        text[name] = int(text[name])
    for name in ("at", "dwell_s"):
        text[name] = float(text[name])
    text["xyxy"] = orjson.loads(text["xyxy"])
    return orjson.dumps(text)
