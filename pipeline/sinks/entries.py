"""One frame's labels as an entry of a Redis Stream: key, id and fields, as docs/labels.md says."""

from __future__ import annotations

import hashlib
import re
from typing import Any, cast

import orjson

from everyframe.pipeline.records import SCHEMA_VERSION, FrameLabels
from everyframe.pipeline.schema import ObjectRecord, Record, plain_text, to_record

FIELDS = (
    "schema", "source", "frame_index", "pts", "time_base", "time_s", "width", "height", "picture", "origin",
    "key_age", "policy", "reason", "cost_ms", "objects",
)  # fmt: skip
"""Fields of an entry, always all and in this order (the server then stores the names once for many entries)."""
OBJECT_COLUMNS = ("track_id", "class_id", "label", "score", "x1", "y1", "x2", "y2", "origin")
"""Columns of one row of the field `objects`."""

_INTEGERS = ("schema", "frame_index", "width", "height", "key_age")


def stream_key(source: str, kind: str = "labels") -> str:
    """Key of a source's stream of labels, or of its events or status. Letters, digits and . _ - stay; other characters become _, and six hex digits are
    added so that no two sources share a stream."""
    safe = re.sub(r"[^\w.-]+", "_", source)[:150]
    if safe != source or not safe:
        safe += "-" + hashlib.blake2b(plain_text(source).encode(), digest_size=3).hexdigest()
    return f"everyframe:{safe}:{kind}"


def entry_id(ms: int, frame_index: int) -> str:
    """Id of a frame's entry. ms: the source's time in milliseconds, not negative, never falling within a source."""
    return f"{ms}-{frame_index + 1}"


def to_fields(labels: FrameLabels, names: tuple[str, ...]) -> dict[Any, Any]:
    """The entry of one frame: the record's scalars as text, `cost_ms` a JSON object, `objects` a JSON list of rows."""
    record = to_record(labels, names)
    rows = [
        (o["track_id"], o["class_id"], o["label"], o["score"], *o["xyxy"], o["origin"]) for o in record["objects"]
    ]
    fields = cast(dict[Any, Any], record)
    fields["pts"] = "" if record["pts"] is None else record["pts"]
    fields["cost_ms"] = orjson.dumps(record["cost_ms"])
    fields["objects"] = orjson.dumps(rows)
    return fields


def from_fields(fields: dict[bytes, bytes]) -> Record:
    """The record of an entry. Raises ValueError where it is none of ours or of another schema version."""
    text = {key.decode(): value for key, value in fields.items()}
    if text.get("schema") != str(SCHEMA_VERSION).encode():
        raise ValueError(f"schema version {text.get('schema', b'?').decode()!r}, not {SCHEMA_VERSION}")
    try:
        record: dict[str, Any] = {name: text[name].decode() for name in FIELDS}
        record |= {name: int(record[name]) for name in _INTEGERS}
        record["pts"] = int(record["pts"]) if record["pts"] else None
        record["time_s"] = float(record["time_s"])
        record["cost_ms"] = orjson.loads(record["cost_ms"])
        record["objects"] = [_object(row) for row in orjson.loads(record["objects"])]
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(f"not a label entry ({e})") from e
    return cast(Record, record)


def _object(row: list[Any]) -> ObjectRecord:
    track_id, class_id, label, score, x1, y1, x2, y2, origin = row
    return {
        "track_id": track_id, "class_id": class_id, "label": label, "score": score, "xyxy": [x1, y1, x2, y2],
        "origin": origin,
    }  # fmt: skip
