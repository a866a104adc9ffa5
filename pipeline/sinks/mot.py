"""MOTChallenge text: frame (from 1), id, left, top, width, height, score, -1, -1, -1. It has no place for classes."""

from __future__ import annotations

from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.schema import rounded_objects
from everyframe.pipeline.sinks.files import FileSink


class MotSink(FileSink):
    """Writes one row an object; frames without objects have no row."""

    def lines(self, labels: list[FrameLabels]) -> bytes:
        return "".join(row for record in labels for row in _rows(record)).encode()


def _rows(labels: FrameLabels) -> list[str]:
    if not len(labels.objects):
        return []
    boxes, scores = rounded_objects(labels)
    frame = labels.frame_index + 1
    return [
        f"{frame},{track},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n"
        for track, (x1, y1, x2, y2), score in zip(labels.objects.track_id.tolist(), boxes, scores, strict=True)
    ]
