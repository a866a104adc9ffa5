"""CSV for spreadsheets and data frames: one row an object; a frame without objects has one row with those cells empty."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.schema import to_record
from everyframe.pipeline.sinks.files import FileSink

_FRAME = ("frame_index", "pts", "time_s", "picture", "origin", "key_age")
_OBJECT = ("track_id", "class_id", "label", "score", "x1", "y1", "x2", "y2", "object_origin")
COLUMNS = _FRAME + _OBJECT


class CsvSink(FileSink):
    """Writes `COLUMNS`. names: class names in the order of `class_id`."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        super().__init__(path)
        self._names = names

    def head(self) -> bytes:
        return (",".join(COLUMNS) + "\n").encode()

    def lines(self, labels: list[FrameLabels]) -> bytes:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for frame in labels:
            record = to_record(frame, self._names)
            start = (record["frame_index"], record["pts"], record["time_s"], record["picture"], record["origin"],
                     record["key_age"])  # fmt: skip
            for o in record["objects"]:
                rows.writerow(
                    (*start, o["track_id"], o["class_id"], o["label"], o["score"], *o["xyxy"], o["origin"])
                )
            if not record["objects"]:
                rows.writerow((*start, *[None] * len(_OBJECT)))
        return text.getvalue().encode()
