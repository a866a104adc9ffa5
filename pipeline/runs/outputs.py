"""The sinks of one source: each may fail alone, the others go on."""

from __future__ import annotations

import time
from collections.abc import Sequence

from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.sinks.base import Sink


class Outputs:
    """Opens sinks, writes to all that still work, counts the CPU that writing takes.

    locations: where labels are, of the sinks that did not fail. troubles: what failed, in sentences.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.troubles: list[SinkError] = []
        self.publish_ms = 0.0
        self._digest = LabelDigest()
        self._open: list[Sink] = []
        self._done: list[Sink] = []
        for sink in sinks:
            try:
                self._open.append(sink.__enter__())
            except SinkError as e:
                self.troubles.append(e)

    @property
    def is_dead(self) -> bool:
        """Nothing is left that labels could be written to."""
        return not self._open and not self._done

    @property
    def locations(self) -> list[str]:
        return [sink.location for sink in (*self._done, *self._open)]

    @property
    def notes(self) -> list[str]:
        """What sinks have to say beside their failures."""
        notes = (getattr(sink, "note", None) for sink in (*self._done, *self._open))
        return [note for note in notes if note]

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def write(self, labels: list[FrameLabels]) -> None:
        """Writes to every open sink; one that fails is closed and noted. Raises nothing of theirs."""
        start = time.process_time()
        self._digest.update(labels)
        for sink in list(self._open):
            try:
                sink.write(labels)
            except SinkError as e:
                self._drop(sink, e)
        self.publish_ms += (time.process_time() - start) * 1e3

    def close(self, error: BaseException | None = None) -> None:
        """Ends every sink: cleanly, or as `Sink` says for this error."""
        start = time.process_time()
        for sink in list(self._open):
            try:
                sink.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
            except SinkError as e:
                self._open.remove(sink)
                self.troubles.append(e)
                continue
            self._open.remove(sink)
            self._done.append(sink)
        self.publish_ms += (time.process_time() - start) * 1e3

    def _drop(self, sink: Sink, error: SinkError) -> None:
        self._open.remove(sink)
        self.troubles.append(error)
        try:
            sink.__exit__(type(error), error, error.__traceback__)
        except SinkError as e:
            if str(e) != str(error):
                self.troubles.append(e)
