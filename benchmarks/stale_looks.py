"""What does a look cost in accuracy when its answer comes late, and what does carrying it along the motion save?

A live camera's worker gets the answers of the dense detector (from the evaluation's cache; those for parts of pictures from the
detector itself) so many frames after it asked. Beside it, interleaved, the same with late objects placed where they were found. Nothing here is measured in time: equal input gives equal
figures.

    python benchmarks/stale_looks.py --write
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from unittest.mock import patch

import common
import numpy as np
from common import CLIPS, LONG, TRAFFIC, number

from everyframe.operators.base import Detector, Operator
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.types import I32, MotionField, Objects
from everyframe.pipeline.evaluation import dense
from everyframe.pipeline.evaluation.dense import Dense
from everyframe.pipeline.labelling.tracks import class_tables
from everyframe.pipeline.live import follower
from everyframe.pipeline.live.pool import look, scaled
from everyframe.pipeline.live.types import Arrival, Camera, LiveLabels, LookAnswer, LookRequest
from everyframe.pipeline.live.worker import LiveWorker
from everyframe.pipeline.metrics import SCORE, pairs, select
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource

POLICIES = ("stride:10", "region", "motion")
LATE = (0, 1, 2, 5, 10, 25)
"""Frames."""


class Uncounted:
    """A counter that forgets."""

    def add(self, name: str, n: int = 1) -> None:
        pass

    def snapshot(self) -> dict[str, int]:
        return {}


class Remembered:
    """Answers from the dense detections, `late` frames after it was asked; one request at a time, as a busy CNN does."""

    def __init__(self, known: Dense, late: int, detector: Detector) -> None:
        self.now = self.looks = self.parts = 0
        self._known, self._late, self._detector = known, late, detector
        self._waiting: deque[tuple[int, LookRequest]] = deque()

    def ask(self, request: LookRequest) -> None:
        self._waiting.append((self.now, request))
        self.looks += request.crops is None
        self.parts += request.crops is not None

    def answers(self, camera: str) -> list[LookAnswer]:
        found = []
        while self._waiting and self.now - self._waiting[0][0] >= self._late:
            request = self._waiting.popleft()[1]
            if request.crops is None:
                objects = self._known.frames[request.number]
            else:
                objects = scaled(look(self._detector, request), request.scale)
            found.append(LookAnswer(camera, request.number, objects))
        return found


def unmoved(found: Objects, moves: list[MotionField], propagate: Operator) -> Objects:
    """In the place of `live.pending.carried`: where they were."""
    return found


def f1_of(path: str, known: Dense, detector: NanoDetDetector, settings: LabelSettings, late: int, carries: bool) -> tuple[float, int, int]:
    """Pooled F1 of the records against the dense detections, and the number of looks at wholes and at parts."""
    groups, wanted = class_tables(detector, settings.classes)
    looker, out = Remembered(known, late, detector), list[LiveLabels]()
    worker = LiveWorker(Camera("camera", path, settings), looker, detector, Uncounted(), out.append)
    with FileSource(path) as source, nullcontext() if carries else patch.object(follower, "carried", unmoved):
        for packet in source.packets():
            worker.take(Arrival(source, packet, looker.now / 25, time.monotonic()))
            looker.now += 1
            if settings.limit is not None and looker.now >= settings.limit:
                break
        worker.close()
    return pooled([labels.labels.objects for labels in out], known, groups, wanted), looker.looks, looker.parts


def pooled(shown: Sequence[Objects], known: Dense, groups: I32, wanted: I32) -> float:
    right = total = 0
    for objects, found in zip(shown, known.frames, strict=False):
        truth = select(found, wanted, SCORE)
        right += len(pairs(objects, truth, groups)[0])
        total += len(objects) + len(truth)
    return 2 * right / max(total, 1)


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, f"{len(LONG)} clips of 500 frames and more")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    detector = load_detector()
    lines = []
    for policy in POLICIES:
        settings = LabelSettings(policy, "causal", TRAFFIC, limit=options.limit, model=common.model_of(options))
        table: dict[tuple[int, bool], list[tuple[float, int, int]]] = {}
        for name in options.clip or LONG:
            common.tell(f"{name} {policy}")
            path = str(CLIPS[name].path)
            known = dense(path, detector, settings.limit, measure=False)
            for late in LATE:
                for carries in (True, False) if late else (True,):
                    found = f1_of(path, known, detector, settings, late, carries)
                    table.setdefault((late, carries), []).append(found)
        lines += [line(policy, late, table) for late in LATE]
    heads = ("policy", "frames late", "f1_dense, carried", "loss", "f1_dense, not carried", "looks a clip", "at parts")
    common.publish("stale_looks", common.markdown(heads, lines), options.write)


def line(policy: str, late: int, table: dict[tuple[int, bool], list[tuple[float, int, int]]]) -> tuple[str, ...]:
    def mean(carries: bool) -> float | None:
        found = table.get((late, carries))
        return None if found is None else float(np.mean([f1 for f1, *_ in found]))

    carried, prompt = mean(True), float(np.mean([f1 for f1, *_ in table[0, True]]))
    assert carried is not None
    looks, parts = (np.mean([row[n] for row in table[late, True]]) for n in (1, 2))
    return policy, str(late), number(carried), number(prompt - carried), number(mean(False)), f"{looks:.0f}", f"{parts:.0f}"


if __name__ == "__main__":
    main()
