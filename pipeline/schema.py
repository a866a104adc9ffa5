"""The label record: what every sink writes of a frame, and its JSON Schema.

One record is one JSON object. Numbers are rounded once, here, so that files, Redis and the digest agree:
boxes to 0.01 px, scores to 0.0001, costs to 0.001 ms, times to 1 us.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, cast

import numpy as np
import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.records import SCHEMA_VERSION, STEPS, FrameLabels

ORIGINS = tuple(origin.label for origin in Origin)
_ORIGIN_OF = {origin.label: origin for origin in Origin}
_ORIGIN_NAMES = {"enum": list(ORIGINS)}


@with_config(ConfigDict(extra="forbid"))
class ObjectRecord(TypedDict):
    """One object of a frame."""

    track_id: Annotated[int, Field(ge=-1, description="Identity of the object within its source; -1: none.")]
    class_id: Annotated[int, Field(ge=0, description="Class, counted from 0 in the order of the detector.")]
    label: Annotated[str, Field(description="Class name.")]
    score: Annotated[float, Field(ge=0, le=1, description="Confidence, 4 decimals.")]
    xyxy: Annotated[
        list[float],
        Field(
            min_length=4,
            max_length=4,
            description="Left, top, right, bottom in pixels of the upright source picture, 2 decimals.",
        ),
    ]
    origin: Annotated[str, Field(json_schema_extra=_ORIGIN_NAMES, description="How this box came to be.")]


@with_config(ConfigDict(extra="forbid"))
class Record(TypedDict):
    """The labels of one frame."""

    schema: Annotated[int, Field(json_schema_extra={"const": SCHEMA_VERSION}, description="Schema version.")]
    source: Annotated[str, Field(description="Name of the source.")]
    frame_index: Annotated[int, Field(ge=0, description="Place in display order, from 0, without gaps.")]
    pts: Annotated[int | None, Field(description="Presentation time in units of time_base; null: the file has none.")]
    time_base: Annotated[
        str, Field(pattern=r"^[0-9]+/[1-9][0-9]*$", description="Seconds in one unit of pts, as a fraction.")
    ]
    time_s: Annotated[float, Field(description="Presentation time in seconds, 6 decimals.")]
    width: Annotated[int, Field(ge=1, description="Width of the upright picture, pixels.")]
    height: Annotated[int, Field(ge=1, description="Height of the upright picture, pixels.")]
    picture: Annotated[str, Field(description="Picture type: I, P, B, or ? where it is not known.")]
    origin: Annotated[
        str, Field(json_schema_extra=_ORIGIN_NAMES, description="How the labels of the frame came to be.")
    ]
    key_age: Annotated[int, Field(ge=0, description="Frames since the CNN last saw a whole frame; 0: it saw this one.")]
    policy: Annotated[str, Field(description="Policy that chose, as it is written on the command line.")]
    reason: Annotated[str, Field(description="Why it chose so, in a few words.")]
    cost_ms: Annotated[
        dict[str, float],
        Field(description=f"CPU ms spent on this frame, by step ({', '.join(STEPS)}); steps not taken are left out."),
    ]
    objects: Annotated[list[ObjectRecord], Field(description="The objects in the frame.")]


_ADAPTER: TypeAdapter[Record] = TypeAdapter(Record)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a record, as in docs/labels.schema.json."""
    schema: dict[str, Any] = _untitled(_ADAPTER.json_schema())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"everyframe label record, version {SCHEMA_VERSION}",
    }
    return head | schema


def _untitled(part: Any) -> Any:
    """Without the titles that pydantic makes from names: they say nothing more."""
    if isinstance(part, list):
        return [_untitled(item) for item in part]
    if isinstance(part, dict):
        return {key: _untitled(value) for key, value in part.items() if key != "title"}
    return part


def plain_text(name: str) -> str:
    """A name as valid Unicode: file names may hold bytes that are no text."""
    return name if name.isascii() else name.encode("utf-8", "replace").decode()


def rounded_objects(labels: FrameLabels) -> tuple[list[list[float]], list[float]]:
    """Boxes and scores of a frame as they are written: plain floats, rounded.

    Raises SinkError where one of them is not a finite number.
    """
    objects = labels.objects
    # Through float64: float32 has no short decimals. Adding 0 turns -0.0 into 0.0.
    boxes = np.round(objects.xyxy.astype(np.float64), 2) + 0.0
    scores = np.round(objects.score.astype(np.float64), 4) + 0.0
    if not (math.isfinite(boxes.sum()) and math.isfinite(scores.sum())):
        raise SinkError(
            f"labels of {labels.source}, frame {labels.frame_index}, hold a number that is not finite: "
            "check the weights of the detector with 'everyframe doctor'"
        )
    return boxes.tolist(), scores.tolist()


def to_record(labels: FrameLabels, names: tuple[str, ...]) -> Record:
    """The record of one frame. names: class names in the order of `class_id`; a missing one is written as a number."""
    return {
        "schema": SCHEMA_VERSION,
        "source": plain_text(labels.source),
        "frame_index": labels.frame_index,
        "pts": labels.pts,
        "time_base": f"{labels.time_base.numerator}/{labels.time_base.denominator}",
        "time_s": rounded_time(labels),
        "width": labels.width,
        "height": labels.height,
        "picture": labels.picture,
        "origin": ORIGINS[labels.origin],
        "key_age": labels.key_age,
        "policy": labels.policy,
        "reason": labels.reason,
        "cost_ms": {step: round(ms, 3) for step, ms in labels.cost_ms.items() if math.isfinite(ms)},
        "objects": _object_records(labels, names),
    }


def rounded_time(labels: FrameLabels) -> float:
    """time_s as it is written; a time that is not finite becomes 0 (no number in a record is NaN)."""
    return round(labels.time_s, 6) + 0.0 if math.isfinite(labels.time_s) else 0.0


def _object_records(labels: FrameLabels, names: tuple[str, ...]) -> list[ObjectRecord]:
    if not len(labels.objects):
        return []
    objects, known = labels.objects, len(names)
    rows = zip(
        objects.track_id.tolist(),
        objects.class_id.tolist(),
        *reversed(rounded_objects(labels)),
        objects.origin.tolist(),
        strict=True,
    )
    return [
        {
            "track_id": track_id,
            "class_id": class_id,
            "label": names[class_id] if class_id < known else str(class_id),
            "score": score,
            "xyxy": box,
            "origin": ORIGINS[origin],
        }
        for track_id, class_id, score, box, origin in rows
    ]


def encode(labels: FrameLabels, names: tuple[str, ...]) -> bytes:
    """The record as one line of JSON, without its line end."""
    return orjson.dumps(to_record(labels, names))


def decode(line: bytes | str) -> Record:
    """One line of JSON as a record. Raises ValueError, in a few words, where it is none or of another version."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise ValueError("not JSON") from e
    if not isinstance(found, dict) or "frame_index" not in found:
        raise ValueError("not a label record")
    version = found.get("schema")
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version!r}, but this everyframe reads version {SCHEMA_VERSION}")
    return cast(Record, found)


def check(record: Any) -> Record:
    """The record, every field checked against the schema. Raises ValueError naming the first field that is wrong."""
    try:
        return _ADAPTER.validate_python(record, strict=True)
    except ValidationError as e:
        first = e.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from e


def from_record(record: Record) -> FrameLabels:
    """The labels of a record. Raises ValueError where a field is missing or wrong."""
    try:
        objects = record["objects"]
        arrays = Objects(
            np.array([o["xyxy"] for o in objects], np.float32).reshape(len(objects), 4),
            np.array([o["score"] for o in objects], np.float32),
            np.array([o["class_id"] for o in objects], np.int32),
            np.array([o["track_id"] for o in objects], np.int32),
            np.array([_ORIGIN_OF[o["origin"]] for o in objects], np.uint8),
        )
        return FrameLabels(
            source=record["source"],
            frame_index=record["frame_index"],
            pts=record["pts"],
            time_base=Fraction(record["time_base"]),
            time_s=record["time_s"],
            width=record["width"],
            height=record["height"],
            picture=record["picture"],
            origin=_ORIGIN_OF[record["origin"]],
            key_age=record["key_age"],
            policy=record["policy"],
            reason=record["reason"],
            objects=arrays,
            cost_ms=dict(record["cost_ms"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as e:
        raise ValueError(f"the record of frame {record.get('frame_index', '?')} has a wrong or missing field: {e}") from e


if __name__ == "__main__":
    print(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2).decode())
