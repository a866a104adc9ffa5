"""The trace of one clip: its arrays, and its file. docs/traces.md lists every key of the file."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import I32, U8, Bool, MotionField, Objects
from everyframe.pipeline.errors import SinkError, SourceError
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.traces.packing import unpack, unpack_luma
from everyframe.policies.base import PacketFacts

FORMAT = 1
SUFFIX = ".trace.npz"
NO_TIME = np.iinfo(np.int64).min
NONE, CODED, CARRIED = 0, 1, 2
"""Kinds of a frame's motion: not decoded; of its own; that of the frame before (intra pictures have none)."""

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Packets:
    """All packets in decode order. size bytes; picture: ord of 'I', 'P', 'B' or '?'; pts, dts: `NO_TIME` where there is
    none; seconds: NaN where unknown; demux_ms, decode_ms: CPU of demuxing and of decoding with motion vectors."""

    size: I64
    is_key: Bool
    picture: U8
    is_reference: Bool
    is_discard: Bool
    pts: I64
    dts: I64
    seconds: NDArray[np.float64]
    demux_ms: F32
    decode_ms: F32

    def facts(self, i: int) -> PacketFacts:
        return PacketFacts(
            i, int(self.size[i]), bool(self.is_key[i]), chr(self.picture[i]), bool(self.is_reference[i]),
            float(self.seconds[i]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frames:
    """All frames in display order. packet: number of the packet; pts as in `Packets`; picture: ord of the decoder's
    type; motion: NONE, CODED or CARRIED."""

    packet: I32
    pts: I64
    picture: U8
    motion: U8


@dataclass(frozen=True, slots=True)
class Detections:
    """The dense detector's objects of all frames behind each other. count (frames,): how many each has. looks: how those of
    frames of key packets look (`operators.appearance`), (objects, SIZE) uint8 in 1 / 255."""

    count: I32
    xyxy: F32
    score: F32
    class_id: I32
    looks: U8


@dataclass(frozen=True)
class Trace:
    """One clip. meta: see docs/traces.md. motion, luma: packed blocks; ends, luma_ends: where each ends.

    `costs` are CPU ms on the machine that recorded, for one frame: demux, decode (with vectors), plain (decoding
    without), motion, convert, prepare, detect; and those of `overhead.measured`.
    """

    meta: Mapping[str, Any]
    packets: Packets
    frames: Frames
    detections: Detections
    motion: U8
    ends: I64
    luma: U8
    luma_ends: I64

    def __len__(self) -> int:
        return len(self.frames.packet)

    @property
    def costs(self) -> dict[str, float]:
        return dict(self.meta["costs"])

    @cached_property
    def info(self) -> SourceInfo:
        m = self.meta
        return SourceInfo(
            m["video"], m["video"], m["codec"], m["width"], m["height"], m["rotation"], Fraction(m["time_base"]),
            Fraction(m["rate"]), len(self), m["decode_all"],
        )  # fmt: skip

    @cached_property
    def objects(self) -> list[Objects]:
        """The dense detector's objects of each frame, down to its lowest score."""
        d = self.detections
        bounds = np.cumsum(d.count)[:-1]
        parts = [np.split(values, bounds) for values in (d.xyxy, d.score, d.class_id)]
        return [Objects.of(*row) for row in zip(*parts, strict=True)]

    def fields(self) -> Iterator[MotionField | None]:
        """The motion field of each frame, in order; None where it was not decoded. One block is unpacked at a time."""
        coded = self._coded()
        before: MotionField | None = None
        for kind in self.frames.motion.tolist():
            if kind == CODED:
                before = next(coded)
            yield None if kind == NONE else before

    def lumas(self) -> Iterator[U8 | None]:
        """The luma of each frame in order, (rows, cols) uint8: means of the cells, as near as `packing.steady` leaves them; None where
        it was not decoded. One block is unpacked at a time."""
        kept = self._kept()
        for kind in self.frames.motion.tolist():
            yield None if kind == NONE else next(kept)

    def _kept(self) -> Iterator[U8]:
        start = 0
        for end in self.luma_ends.tolist():
            yield from unpack_luma(self.luma[start:end].tobytes())
            start = end

    def _coded(self) -> Iterator[MotionField]:
        cell, width, height = self.meta["cell"], self.meta["width"], self.meta["height"]
        start = 0
        for end in self.ends.tolist():
            motion, known = unpack(self.motion[start:end].tobytes())
            for i in range(len(motion)):
                yield MotionField(motion[i], known[i], cell, width, height)
            start = end


_BLOCKS = ("motion", "ends", "luma", "luma_ends")
_GROUPS: dict[str, type] = {"packets": Packets, "frames": Frames, "detections": Detections}


def save(trace: Trace, path: Path) -> int:
    """Writes the file, whole or not at all; returns its bytes. Raises SinkError."""
    arrays: dict[str, Any] = {name: getattr(trace, name) for name in _BLOCKS}
    arrays["meta"] = np.frombuffer(json.dumps({"format": FORMAT, **trace.meta}).encode(), np.uint8)
    for group, kind in _GROUPS.items():
        for field in fields(kind):
            arrays[f"{group}.{field.name}"] = getattr(getattr(trace, group), field.name)
    return save_arrays(arrays, path)


def save_arrays(arrays: Mapping[str, Any], path: Path) -> int:
    """Writes named arrays as one compressed file, whole or not at all. Raises SinkError."""
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
            np.savez_compressed(file, **arrays)
        os.chmod(part, 0o644)
        os.replace(part, path)
        return path.stat().st_size
    except OSError as e:
        raise SinkError(f"Cannot write {path}: {e.strerror or e}; name a folder with room that can be written.") from e
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def load_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a trace says of itself. Raises SourceError where it is none, or of another version."""
    return _meta(_open(path, ("meta",))["meta"], path)


def load(path: str | os.PathLike[str]) -> Trace:
    """Reads a trace. Raises SourceError: no such file, not a trace, another version, damaged."""
    arrays = _open(path, None)
    meta = _meta(arrays.get("meta"), path)
    try:
        groups = {
            group: kind(**{f.name: arrays[f"{group}.{f.name}"] for f in fields(kind)})
            for group, kind in _GROUPS.items()
        }
        return Trace(meta, groups["packets"], groups["frames"], groups["detections"], *(arrays[name] for name in _BLOCKS))
    except KeyError as e:
        raise SourceError(f"{path} lacks {e}: record it again.") from e


def _open(path: str | os.PathLike[str], names: tuple[str, ...] | None) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in (data.files if names is None else names)}
    except FileNotFoundError as e:
        raise SourceError(f"There is no trace {path}: make one with everyframe record.") from e
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise SourceError(f"{path} is no trace, or damaged: make one with everyframe record.") from e


def _meta(raw: Any, path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        meta = json.loads(bytes(raw))
        version = int(meta["format"])
    except (TypeError, ValueError, KeyError) as e:
        raise SourceError(f"{path} is no trace: make one with everyframe record.") from e
    if version != FORMAT:
        raise SourceError(f"{path} is of trace format {version}, this version reads {FORMAT}: record it again.")
    return dict(meta)
