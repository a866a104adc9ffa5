"""A camera in memory: the packets of a real clip as arrivals, and a real CNN whose answers come so many frames late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from everyframe.operators.base import Detector
from everyframe.pipeline.labelling.tracks import class_tables
from everyframe.pipeline.live.pool import look, scaled
from everyframe.pipeline.live.types import Arrival, Camera, LiveLabels, LookAnswer, LookRequest
from everyframe.pipeline.live.worker import LiveWorker
from everyframe.pipeline.metrics import pairs
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource


class Counts:
    """Counters in memory."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def add(self, name: str, n: int = 1) -> None:
        self.of[name] = self.of.get(name, 0) + n

    def snapshot(self) -> dict[str, int]:
        return dict(self.of)

    def sum(self, start: str) -> int:
        return sum(n for name, n in self.of.items() if name.startswith(start))


class LateLooker:
    """Answers `late` arrivals after it was asked; `drops` says which requests come back without an answer."""

    def __init__(
        self, detector: Detector, late: int = 0, drops: Callable[[LookRequest], bool] = lambda request: False
    ) -> None:
        self.asked: list[LookRequest] = []
        self.now = 0
        self._detector, self._late, self._drops = detector, late, drops
        self._waiting: deque[tuple[int, LookRequest]] = deque()

    def ask(self, request: LookRequest) -> None:
        self.asked.append(request)
        self._waiting.append((self.now, request))

    def answers(self, camera: str) -> list[LookAnswer]:
        found = []
        while self._waiting and self.now - self._waiting[0][0] >= self._late:
            request = self._waiting.popleft()[1]
            if self._drops(request):
                found.append(LookAnswer(camera, request.number, None, "dropped by the test"))
                continue
            objects = scaled(look(self._detector, request), request.scale)
            found.append(LookAnswer(camera, request.number, objects, "", 1.0, 20.0))
        return found


class Fed:
    """A worker with all that goes into it and comes out. Its packets arrive now, whenever that is."""

    def __init__(self, settings: LabelSettings, detector: Detector, looker: LateLooker) -> None:
        self.counts = Counts()
        self.out: list[LiveLabels] = []
        self.looker = looker
        camera = Camera("yard", "file", settings)
        self.worker = LiveWorker(camera, looker, detector, self.counts, self.out.append)

    def feed(self, arrivals: Iterable[Arrival]) -> None:
        for arrival in arrivals:
            self.worker.take(arrival)
            self.looker.now += 1

    def close(self) -> None:
        self.worker.close()


def arrivals(path: Path, count: int | None = None, suspects: range = range(0)) -> Iterator[Arrival]:
    """The first packets of a clip as they would come by one connection, and its end. suspects: numbers of damaged ones."""
    with FileSource(path) as source:
        for number, packet in enumerate(source.packets()):
            if number == count:
                break
            yield Arrival(source, packet, 1000.0 + number / 25, time.monotonic(), number in suspects)
        yield Arrival(source, None, 2000.0, time.monotonic())


def f1(records: list[FrameLabels], dense: list[FrameLabels], detector: Detector) -> float:
    groups, _ = class_tables(detector, ())
    right = total = 0
    for ours, theirs in zip(records, dense, strict=False):
        right += len(pairs(ours.objects, theirs.objects, groups)[0])
        total += len(ours.objects) + len(theirs.objects)
    return 2 * right / total
