"""The sink protocol: where labels go. A sink is a context manager with one method that writes."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from everyframe.pipeline.records import FrameLabels


class Sink(Protocol):
    """Writes the records of one source in display order.

    Files are written under a temporary name and take their final name in a clean exit of the context; leaving it
    with `SourceBroken` or `KeyboardInterrupt` also finishes the file (labels so far are whole and kept); any other
    error leaves no file under the final name. Failures raise `SinkError` with one sentence.
    location: what to tell the user (a path or a masked URL).
    """

    location: str

    def write(self, labels: list[FrameLabels]) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
