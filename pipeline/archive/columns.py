"""Records of frames as columns and back: what the Parquet files of an archive hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.records import STEPS, FrameLabels
from everyframe.pipeline.schema import ORIGINS, plain_text, rounded_time

BOX_STEP = 0.25
"""Boxes are written to a quarter pixel, scores to three digits: about half the bytes of what the other formats write (0.01 and
four digits) for a box that is at most 1/8 px off, far below what any detector knows."""
SCORE_STEP = 0.001

_NAME = pa.dictionary(pa.int32(), pa.string())
_OBJECT = pa.struct(
    [
        ("track_id", pa.int32()),
        ("class_id", pa.int16()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("origin", pa.string()),
    ]
)
LABELS = pa.schema(
    [
        ("source", _NAME),
        ("frame_index", pa.int32()),
        ("pts", pa.int64()),
        ("time_base", _NAME),
        ("time", pa.timestamp("us", tz="UTC")),
        ("time_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("picture", _NAME),
        ("origin", _NAME),
        ("key_age", pa.int32()),
        ("policy", _NAME),
        ("reason", _NAME),
        ("objects", pa.list_(pa.field("element", _OBJECT))),
    ]
)
"""One row for each frame. Camera and day are the names of the folders. time: null where the source's start is not known."""
COSTS = pa.schema([("source", _NAME), ("frame_index", pa.int32()), *((step, pa.float32()) for step in STEPS)])
"""CPU ms of each frame by step; null where the step was not taken."""


def label_batch(
    rows: Sequence[FrameLabels], source: str, start: datetime | None, names: tuple[str, ...]
) -> pa.RecordBatch:
    """The rows of some frames as `LABELS`. source: its name in the archive. start: of the source's time 0, in any zone; names: of the classes.

    Raises SinkError where a box or a score is not a finite number.
    """
    seconds = [rounded_time(row) for row in rows]
    columns = [
        _coded([plain_text(source)] * len(rows)),
        pa.array([row.frame_index for row in rows], pa.int32()),
        pa.array([row.pts for row in rows], pa.int64()),
        _coded([f"{row.time_base.numerator}/{row.time_base.denominator}" for row in rows]),
        _times(seconds, start),
        pa.array(seconds, pa.float64()),
        pa.array([row.width for row in rows], pa.int32()),
        pa.array([row.height for row in rows], pa.int32()),
        _coded([row.picture for row in rows]),
        _coded([ORIGINS[row.origin] for row in rows]),
        pa.array([row.key_age for row in rows], pa.int32()),
        _coded([row.policy for row in rows]),
        _coded([row.reason for row in rows]),
        _objects(rows, names),
    ]
    return pa.record_batch(columns, schema=LABELS)


def cost_batch(rows: Sequence[FrameLabels], source: str) -> pa.RecordBatch:
    """The costs of some frames as `COSTS`."""
    columns = [_coded([plain_text(source)] * len(rows)), pa.array([row.frame_index for row in rows], pa.int32())]
    columns += [pa.array([row.cost_ms.get(step) for row in rows], pa.float32()) for step in STEPS]
    return pa.record_batch(columns, schema=COSTS)


def frames_of(table: pa.Table | pa.RecordBatch) -> Iterator[FrameLabels]:
    """Rows of `LABELS` as records again, without costs; boxes and scores as they were written."""
    origins = {name: Origin(i) for i, name in enumerate(ORIGINS)}
    for row in table.to_pylist():
        found: list[dict[str, Any]] = row["objects"]
        objects = Objects(
            np.array([[o["x1"], o["y1"], o["x2"], o["y2"]] for o in found], np.float32).reshape(-1, 4),
            np.array([o["score"] for o in found], np.float32),
            np.array([o["class_id"] for o in found], np.int32),
            np.array([o["track_id"] for o in found], np.int32),
            np.array([origins[o["origin"]] for o in found], np.uint8),
        )
        yield FrameLabels(
            source=row["source"], frame_index=row["frame_index"], pts=row["pts"],
            time_base=Fraction(row["time_base"]), time_s=row["time_s"], width=row["width"], height=row["height"],
            picture=row["picture"], origin=origins[row["origin"]], key_age=row["key_age"], policy=row["policy"],
            reason=row["reason"], objects=objects,
        )  # fmt: skip


def _coded(values: list[str]) -> pa.DictionaryArray:
    return pa.array(values, pa.string()).dictionary_encode()


def _times(seconds: list[float], start: datetime | None) -> pa.Array:
    kind = LABELS.field("time").type
    if start is None:
        return pa.nulls(len(seconds), kind)
    epoch = datetime(1970, 1, 1, tzinfo=start.tzinfo)
    if start.tzinfo is not None:
        epoch = datetime.fromtimestamp(0, start.tzinfo)
    begin = (start - epoch) // timedelta(microseconds=1)
    return pa.array(begin + np.round(np.array(seconds) * 1e6).astype(np.int64), pa.int64()).cast(kind)


def _objects(rows: Sequence[FrameLabels], names: tuple[str, ...]) -> pa.ListArray:
    objects = Objects.concat([row.objects for row in rows])
    if not (np.isfinite(objects.xyxy).all() and np.isfinite(objects.score).all()):
        bad = next(row for row in rows if not np.isfinite(np.c_[row.objects.xyxy, row.objects.score]).all())
        raise SinkError(
            f"labels of {bad.source}, frame {bad.frame_index}, hold a number that is not finite: "
            "check the weights of the detector with 'everyframe doctor'"
        )
    box = (np.round(objects.xyxy.astype(np.float64) / BOX_STEP) * BOX_STEP + 0.0).astype(np.float32)
    score = (np.round(objects.score.astype(np.float64) / SCORE_STEP) * SCORE_STEP).astype(np.float32)
    known = [names[i] if i < len(names) else str(i) for i in range(int(objects.class_id.max(initial=0)) + 1)]
    fields = [
        pa.array(objects.track_id, pa.int32()),
        pa.array(objects.class_id.astype(np.int16)),
        pa.DictionaryArray.from_arrays(pa.array(objects.class_id), pa.array(known)).dictionary_decode(),
        pa.array(score),
        *(pa.array(np.ascontiguousarray(box[:, i])) for i in range(4)),
        pa.DictionaryArray.from_arrays(pa.array(objects.origin.astype(np.int32)), pa.array(list(ORIGINS))).dictionary_decode(),
    ]
    offsets = np.concatenate([[0], np.cumsum([len(row.objects) for row in rows])]).astype(np.int32)
    structs = pa.StructArray.from_arrays(fields, fields=list(_OBJECT))
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=LABELS.field("objects").type)
