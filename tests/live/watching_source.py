"""Helper of tests: a `LiveSource` on a thread, and a consumer that decodes everything it sends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.live.backoff import Pace
from everyframe.pipeline.live.inbox import Inbox
from everyframe.pipeline.live.types import DROPPED, RECEIVED, Arrival, Camera
from everyframe.pipeline.records import Slot
from everyframe.pipeline.sources.live import LiveSource

QUICK = Pace(0.1, 0.2, 0.02)


class Counts:
    """Thread-safe counters."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, n: int = 1) -> None:
        with self._lock:
            self._counts[name] += n

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def __getitem__(self, name: str) -> int:
        return self.snapshot().get(name, 0)

    @property
    def dropped(self) -> int:
        return sum(n for name, n in self.snapshot().items() if name.startswith(DROPPED))


class Watched:
    """Runs until its block ends. sessions: (session, its slots) one after the other; arrivals: all that came; states: what
    the source said of itself."""

    def __init__(self, url: str, usual: Pace = QUICK, slow: Pace = QUICK, **camera: Any) -> None:
        self.counts = Counts()
        self.states: list[tuple[str, str]] = []
        self.sessions: list[tuple[Any, list[Slot]]] = []
        self.arrivals: list[Arrival] = []
        self.error: BaseException | None = None
        self._inbox = Inbox(5000, 64 << 20, self.counts)
        self.source = LiveSource(
            Camera("cam", url, **camera), self._inbox, self.counts, lambda s, m: self.states.append((s, m)), 1, usual, slow
        )
        self._decoder: Decoder | None = None
        self.run = threading.Thread(target=self._run, daemon=True)
        self._eat = threading.Thread(target=self._consume, daemon=True)

    def __enter__(self) -> Self:
        self.run.start()
        self._eat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is None:
            assert self.error is None, repr(self.error)

    @property
    def slots(self) -> list[Slot]:
        return [slot for _, slots in self.sessions for slot in slots]

    @property
    def frames(self) -> int:
        return sum(slot.frame is not None for slot in self.slots)

    def close(self) -> float:
        """Stops it; how long the source took to end, in seconds."""
        start = time.monotonic()
        self.source.stop()
        self.run.join(30)
        spent = time.monotonic() - start
        self._eat.join(30)
        return spent

    def until(self, is_so: Callable[[], bool], what: str, limit_s: float = 40.0) -> None:
        end = time.monotonic() + limit_s
        while not is_so():
            assert time.monotonic() < end, f"{what}: {self.states[-5:]} {self.counts.snapshot()} {self.error!r}"
            time.sleep(0.02)

    def until_state(self, state: str, text: str = "") -> str:
        """Waits for a state whose sentence holds `text`, and returns the sentence."""

        def found() -> list[str]:
            return [m for s, m in list(self.states) if s == state and text in m]

        self.until(lambda: bool(found()), f"no state {state} with {text!r}")
        return found()[-1]

    def check_balance(self) -> None:
        """Every frame that was received has a slot or is counted as dropped. Call it after `close`."""
        assert self.counts[RECEIVED] == len(self.slots) + self.counts.dropped

    # -- threads

    def _run(self) -> None:
        try:
            self.source.run()
        except Exception as e:  # noqa: BLE001 - the test is told
            self.error = e

    def _consume(self) -> None:
        try:
            while True:
                is_last = not self.run.is_alive()
                arrival = self._inbox.get(0.05)
                if arrival is not None:
                    self._take(arrival)
                elif is_last:
                    break
            self._finish()
        except Exception as e:  # noqa: BLE001 - the test is told
            self.error = e

    def _take(self, arrival: Arrival) -> None:
        if not self.sessions or self.sessions[-1][0] is not arrival.session:
            self._finish()
            if arrival.packet is None:
                return
            self.sessions.append((arrival.session, []))
            self._decoder = Decoder(arrival.session)
        if arrival.packet is None:
            self._finish()
            return
        self.arrivals.append(arrival)
        assert self._decoder is not None
        self.sessions[-1][1].extend(self._decoder.push(arrival.packet, True))

    def _finish(self) -> None:
        if self._decoder is not None:
            with suppress(SourceError):
                self.sessions[-1][1].extend(self._decoder.finish())
        self._decoder = None
