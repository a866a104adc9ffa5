"""The records of a shard as bytes, and back: columns, compressed. The same records give the same bytes; costs are kept apart."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np
import orjson

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.records import FrameLabels

_MAGIC = b"efshard1"
_ARRAYS = (("xyxy", "<f4", 4), ("score", "<f4", 1), ("class_id", "<i4", 1), ("track_id", "<i4", 1), ("origin", "u1", 1))
_LEVEL = 1  # the shard's file lives until its source is done


def pack(labels: list[FrameLabels], last: Objects | None) -> bytes:
    """labels: of one shard, in order. last: as `StreamWorker.last`."""
    parts = [record.objects for record in labels] + ([] if last is None else [last])
    head = {
        "counts": [len(part) for part in parts],
        "last": last is not None,
        "rows": [_row(record) for record in labels],
        "costs": [record.cost_ms for record in labels],
    }
    arrays = [
        np.concatenate([getattr(part, name) for part in parts] or [np.zeros(0)]).astype(kind).tobytes()
        for name, kind, _ in _ARRAYS
    ]
    text = orjson.dumps(head)
    return _MAGIC + zlib.compress(len(text).to_bytes(8, "little") + text + b"".join(arrays), _LEVEL)


def unpack(data: bytes) -> tuple[list[FrameLabels], Objects | None]:
    """What was packed. Raises SinkError where the bytes are not what `pack` gives."""
    if not data.startswith(_MAGIC):
        raise SinkError("the file of a shard is not one that this version wrote: run again with --redo")
    body = zlib.decompress(data[len(_MAGIC) :])
    end = 8 + int.from_bytes(body[:8], "little")
    head = orjson.loads(body[8:end])
    total = sum(head["counts"])
    columns: dict[str, Any] = {}
    for name, kind, wide in _ARRAYS:
        array = np.frombuffer(body, kind, total * wide, end)
        end += array.nbytes
        columns[name] = array.reshape(-1, 4) if wide == 4 else array
    bounds = np.cumsum([0, *head["counts"]]).tolist()
    parts = [
        Objects(**{name: column[a:b] for name, column in columns.items()}) for a, b in itertools.pairwise(bounds)
    ]
    last = parts.pop() if head["last"] else None
    rows = zip(head["rows"], parts, head["costs"], strict=True)
    return [_record(row, objects, costs) for row, objects, costs in rows], last


def _row(record: FrameLabels) -> list[Any]:
    base = record.time_base
    return [
        record.source, record.frame_index, record.pts, base.numerator, base.denominator, record.time_s, record.width,
        record.height, record.picture, int(record.origin), record.key_age, record.policy, record.reason,
    ]  # fmt: skip


def _record(row: list[Any], objects: Objects, costs: dict[str, float]) -> FrameLabels:
    source, index, pts, up, down, time_s, width, height, picture, origin, age, policy, reason = row
    time_s = float("nan") if time_s is None else time_s
    return FrameLabels(
        source, index, pts, Fraction(up, down), time_s, width, height, picture, Origin(origin), age, policy, reason, objects, costs
    )  # fmt: skip


def stats_text(stats: RunStats) -> str:
    """Counts and CPU of a shard as JSON."""
    return orjson.dumps(asdict(stats), option=orjson.OPT_SERIALIZE_NUMPY).decode()


def stats_of(text: str) -> RunStats:
    """What `stats_text` wrote."""
    from everyframe.pipeline.labelling.audits import AuditSums

    values = orjson.loads(text)
    return RunStats(**{**values, "audits": AuditSums(**values["audits"])})
