"""JSON Lines: one record a line, as docs/labels.schema.json says. The sink to read first, and to copy for a new one."""

from __future__ import annotations

from pathlib import Path

from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.schema import encode
from everyframe.pipeline.sinks.files import FileSink


class JsonlSink(FileSink):
    """Writes every record in full. names: class names in the order of `class_id`."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        super().__init__(path)
        self._names = names

    def lines(self, labels: list[FrameLabels]) -> bytes:
        return b"".join(encode(record, self._names) + b"\n" for record in labels)
