"""The CNN that all cameras share: one thread, one request of each camera that waits, a CPU budget.

Which request is next says `live.schedule`. Inputs are not batched: on a CPU a batch of four costs about what four looks cost
(benchmarks/look_batches.py), and the last of it would wait for the first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from everyframe.operators.base import Detector
from everyframe.operators.region.crops import look_at
from everyframe.operators.types import NO_TRACK, Objects, Origin
from everyframe.pipeline.errors import mask_secrets
from everyframe.pipeline.live.durations import Durations
from everyframe.pipeline.live.schedule import Turns, Waiting, pick, too_old
from everyframe.pipeline.live.types import Histogram, LookAnswer, LookRequest

REPLACED, TOO_OLD, CLOSED = "replaced by a newer one", "too old", "the CNN was ended"
BURST_S = 0.25
"""Unused CPU that is kept, in seconds of the budget."""
NAP_S = 0.2
"""A wait is never longer than so long: budgets change, requests grow old."""
MOST_FAILURES = 3
"""Looks in a row that may fail before the CNN is given up."""
Done = Callable[[LookAnswer], None]
_LOG = logging.getLogger("everyframe.cnn")


@dataclass(frozen=True, slots=True)
class _Ticket:
    request: LookRequest
    done: Done
    at: float


class Bucket:
    """CPU seconds that may be spent: `cores` grow in a second, up to a burst; a look may overdraw it. Times are given."""

    def __init__(self, cores: float, now: float) -> None:
        self.cores = cores
        self._left = 0.0
        self._at = now

    def wait_s(self, now: float) -> float:
        """How long until something may be spent, 0 for now."""
        self._left = min(self._left + self.cores * (now - self._at), self.cores * BURST_S)
        self._at = now
        return 0.0 if self._left >= 0 else -self._left / max(self.cores, 1e-3)

    def spend(self, seconds: float) -> None:
        self._left -= seconds


class DetectorPool:
    """detector_factory: called once, by the pool's own thread. cnn_budget: cores that looks may use.

    A detector that can't be made, or fails again and again, answers its requests with why; `fault` says so from then on.
    """

    def __init__(self, detector_factory: Callable[[], Detector], cnn_budget: float) -> None:
        self.fault = ""
        self.cpu_s = 0.0
        self.looks = 0
        self.dropped = 0
        self._make = detector_factory
        self._bucket = Bucket(cnn_budget, time.monotonic())
        self._tickets: dict[str, _Ticket] = {}
        self._turns = Turns()
        self._queue_ms: dict[str, Durations] = {}
        self._cnn_ms: dict[str, Durations] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="cnn", daemon=True)
        self._thread.start()

    # -- for cameras, from any thread

    def submit(self, request: LookRequest, done: Done) -> None:
        """Enters a request; `done` is called once, from any thread, and must return at once. A request of the same camera that
        waits is answered with objects None."""
        with self._changed:
            before = self._tickets.pop(request.camera, None)
            is_closed = self._is_closed
            if not is_closed:
                now = time.monotonic()
                self._tickets[request.camera] = _Ticket(request, done, now)
                self._turns = self._turns.asked(request.camera, now)
            self._changed.notify()
        if before is not None:
            self._drop(before, REPLACED)
        if is_closed:
            self._drop(_Ticket(request, done, time.monotonic()), self.fault or CLOSED)

    def serve(self, request: LookRequest) -> LookAnswer:
        """As `submit`, and waits for the answer; many threads may."""
        found: list[LookAnswer] = []
        is_done = threading.Event()

        def done(answer: LookAnswer) -> None:
            found.append(answer)
            is_done.set()

        self.submit(request, done)
        is_done.wait()
        return found[0]

    # -- for the supervisor

    @property
    def budget(self) -> float:
        """Cores that looks may use; may be set."""
        return self._bucket.cores

    @budget.setter
    def budget(self, cores: float) -> None:
        with self._changed:
            self._bucket.wait_s(time.monotonic())
            self._bucket.cores = max(cores, 0.0)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        return len(self._tickets)

    def queue_times(self) -> dict[str, Histogram]:
        """By camera, how long requests that were run have waited."""
        return {name: found.histogram() for name, found in list(self._queue_ms.items())}

    def cnn_times(self) -> dict[str, Histogram]:
        """By camera, the CPU time of its looks."""
        return {name: found.histogram() for name, found in list(self._cnn_ms.items())}

    def forget(self, camera: str) -> None:
        """A camera is gone: so are its figures, and its request."""
        with self._changed:
            ticket = self._tickets.pop(camera, None)
            self._turns = self._turns.served(camera)
            self._queue_ms.pop(camera, None)
            self._cnn_ms.pop(camera, None)
        if ticket is not None:
            self._drop(ticket, CLOSED)

    def close(self, timeout_s: float = 5.0) -> None:
        """Answers what waits, and ends the thread after the look that it is at."""
        self._end(CLOSED)
        self._thread.join(timeout_s)

    # -- the thread

    def _run(self) -> None:
        try:
            detector = self._make()
            while (ticket := self._next()) is not None:
                self._look(detector, ticket)
        except Exception as e:  # noqa: BLE001
            self.fault = mask_secrets(f"{type(e).__name__}: {e}")[:300]
            _LOG.exception("the CNN has failed")
            self._end(self.fault)

    def _end(self, why: str) -> None:
        with self._changed:
            self._is_closed = True
            left = list(self._tickets.values())
            self._tickets.clear()
            self._changed.notify()
        for ticket in left:
            self._drop(ticket, why)

    def _next(self) -> _Ticket | None:
        """The ticket to serve, as soon as there is one and CPU for it; None once it is closed."""
        while True:
            old: list[_Ticket] = []
            with self._changed:
                if self._is_closed:
                    return None
                now = time.monotonic()
                waiting = [_waiting(ticket) for ticket in self._tickets.values()]
                old = [self._tickets.pop(one.camera) for one in too_old(waiting, now)]
                wait = self._bucket.wait_s(now)
                if self._tickets and wait <= 0:
                    best = pick((_waiting(ticket) for ticket in self._tickets.values()), self._turns, now)
                    assert best is not None
                    self._turns = self._turns.served(best.camera)
                    taken = self._tickets.pop(best.camera)
                else:
                    taken = None
                    if not old:
                        self._changed.wait(min(wait, NAP_S) if self._tickets else NAP_S)
            for ticket in old:
                self._drop(ticket, TOO_OLD)
            if taken is not None:
                return taken

    def _look(self, detector: Detector, ticket: _Ticket) -> None:
        request = ticket.request
        queue_ms = (time.monotonic() - ticket.at) * 1e3
        try:
            spent = CpuTime()
            objects = look(detector, request)
            cnn_s = spent.seconds()
        except Exception as e:
            self._drop(ticket, mask_secrets(f"{type(e).__name__}: {e}")[:200])
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise
            return
        self._failures = 0
        self._bucket.spend(cnn_s)
        self.cpu_s += cnn_s
        self.looks += 1
        self._queue_ms.setdefault(request.camera, Durations()).add(queue_ms)
        self._cnn_ms.setdefault(request.camera, Durations()).add(cnn_s * 1e3)
        found = scaled(objects, request.scale)
        ticket.done(LookAnswer(request.camera, request.number, found, "", queue_ms, cnn_s * 1e3))

    def _drop(self, ticket: _Ticket, why: str) -> None:
        with self._changed:
            self.dropped += 1
        request, waited = ticket.request, (time.monotonic() - ticket.at) * 1e3
        ticket.done(LookAnswer(request.camera, request.number, None, why, waited))


class CpuTime:
    """CPU seconds since it was made, of a look by this thread. A runtime may compute on threads of its own: counted is what the
    process has used, yet no more than the wall time, as other threads may be busy beside."""

    def __init__(self) -> None:
        self._start = time.thread_time(), time.process_time(), time.perf_counter()

    def seconds(self) -> float:
        thread, process, wall = self._start
        of_process = min(time.process_time() - process, time.perf_counter() - wall)
        return max(time.thread_time() - thread, of_process)


def _waiting(ticket: _Ticket) -> Waiting:
    request = ticket.request
    return Waiting(request.camera, request.since, request.value, request.cost)


def look(detector: Detector, request: LookRequest) -> Objects:
    """What a request asks for, boxes in pixels of its picture."""
    if request.crops is None:
        return detector.detect(request.picture)
    return look_at(detector, request.picture, request.crops)


def scaled(objects: Objects, scale: tuple[float, float]) -> Objects:
    """Objects of a picture in pixels of the frame: boxes multiplied by (x, y); without identities. Origin: region where parts
    of the picture were looked at, else detected."""
    factor = np.array((*scale, *scale), np.float32)
    ids = np.full(len(objects), NO_TRACK, np.int32)
    origin = np.where(objects.origin == Origin.REGION, Origin.REGION, Origin.DETECTED).astype(np.uint8)
    return replace(objects, xyxy=objects.xyxy * factor, track_id=ids, origin=origin)


class LocalLooker:
    """A pool of this process as `live.types.Looker`, for any number of cameras."""

    def __init__(self, pool: DetectorPool) -> None:
        self._pool = pool
        self._answers: dict[str, deque[LookAnswer]] = {}

    def ask(self, request: LookRequest) -> None:
        answers = self._answers.setdefault(request.camera, deque())
        self._pool.submit(request, answers.append)

    def answers(self, camera: str) -> list[LookAnswer]:
        answers = self._answers.get(camera)
        return [answers.popleft() for _ in range(len(answers))] if answers else []
