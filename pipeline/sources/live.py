"""One camera for ever: connects, reads packets into the inbox, and connects again whenever it ends or breaks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import av.error

from everyframe.pipeline.errors import SourceError, mask_secrets
from everyframe.pipeline.live.backoff import SLOW, USUAL, Pace, delay_s, failures_after
from everyframe.pipeline.live.inbox import Inbox
from everyframe.pipeline.live.types import DROPPED, RECEIVED, RECONNECTS, Arrival, Camera, Counter, State
from everyframe.pipeline.sources.live_open import CameraError, is_file, is_paced, open_camera
from everyframe.pipeline.sources.live_session import Feed
from everyframe.pipeline.sources.opening import reason

BEFORE_KEY = DROPPED + "before_key"
_GRACE_S = 5.0
"""FFmpeg's own timeouts come first; after so much more a connection that hangs is given up."""
_MOST_AHEAD_S = 10.0
_MOST_BEHIND_S = 1.0
OnState = Callable[[State, str], None]


class LiveSource:
    """A camera's connection. `run` in a thread of its own, `stop` from any other.

    inbox: gets every packet from the first key packet of a connection on, and Arrival(session, None) where a session ends.
    counts: gets `received` and `dropped.before_key` for packets before that, and `reconnects`. on_state: is told each change;
    its sentence has no secrets in it. seed: of the waits between tries, for tests. usual, slow: those waits.
    """

    def __init__(
        self, camera: Camera, inbox: Inbox, counts: Counter, on_state: OnState, seed: int | None = None,
        usual: Pace = USUAL, slow: Pace = SLOW,
    ) -> None:  # fmt: skip
        self._camera = camera
        self._inbox = inbox
        self._counts = counts
        self._on_state = on_state
        self._random = random.Random(seed)
        self._usual, self._slow = usual, slow
        self._is_stopped = threading.Event()
        self._wake = threading.Event()
        self._failures = 0
        self._was_connected = False

    def run(self) -> None:
        """Until `stop`, or the end of a file that is not played again."""
        state: State = "stopped"
        message = ""
        while not self._is_stopped.is_set():
            self._on_state("connecting", "")
            connection = self._connect()
            if self._is_stopped.is_set():
                break
            error = connection.error
            if error is None and is_file(self._camera.url):
                if not self._camera.loop:
                    message = "The file is over."
                    break
                continue
            if error is not None and error.is_final:
                state, message = "failed", str(error)
                break
            self._wait(connection)
        self._on_state(state, message)

    def stop(self) -> None:
        """Ends `run` within 2 s; a read that blocks is left to its own timeout."""
        self._is_stopped.set()
        self._wake.set()

    def _connect(self) -> _Connection:
        """One connection from its beginning to its end."""
        self._wake.clear()
        connection = _Connection(self._camera, self._inbox, self._counts, self._opened, self._on_state, self._wake)
        if self._is_stopped.is_set():
            return connection
        connection.start()
        while not (self._wake.wait(0.5) or connection.hangs()):
            pass
        connection.end()
        return connection

    def _opened(self) -> None:
        if self._was_connected and not is_file(self._camera.url):
            self._counts.add(RECONNECTS)
        self._was_connected = True

    def _wait(self, connection: _Connection) -> None:
        error = connection.error
        pace = self._slow if error is not None and error.is_slow else self._usual
        if connection.healthy_s >= 0:
            self._failures = failures_after(self._failures, connection.healthy_s)
        wait = delay_s(self._failures, self._random.random(), pace)
        if connection.healthy_s < 0:
            self._failures += 1
        shown = mask_secrets(self._camera.url)
        why = str(error) if error is not None else f"{shown} has ended the connection."
        self._on_state("waiting", f"{why} Next try in {wait:.1f} s.")
        self._is_stopped.wait(wait)


class _Connection:
    """Reads in a thread of its own, as FFmpeg can't be told to stop. error: why it ended, None for an end without a reason.
    healthy_s: how long packets came, below 0 where none did."""

    def __init__(
        self, camera: Camera, inbox: Inbox, counts: Counter, opened: Callable[[], None], on_state: OnState,
        wake: threading.Event,
    ) -> None:  # fmt: skip
        self.error: CameraError | None = None
        self._camera = camera
        self._inbox = inbox
        self._counts = counts
        self._opened = opened
        self._on_state = on_state
        self._wake = wake
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._session: Any = None
        self._began = self._heard = time.monotonic()
        self._first: float | None = None
        self._is_open = False

    @property
    def healthy_s(self) -> float:
        return -1.0 if self._first is None else self._heard - self._first

    def start(self) -> None:
        threading.Thread(target=self._read, name=f"{self._camera.name}-read", daemon=True).start()

    def hangs(self) -> bool:
        """Nothing for longer than FFmpeg should wait, as when other streams than the video still come."""
        camera = self._camera
        if is_file(camera.url):
            return False
        limit = camera.read_timeout_s if self._is_open else camera.open_timeout_s
        if time.monotonic() - self._heard <= limit + _GRACE_S:
            return False
        self.error = self.error or CameraError(f"{mask_secrets(camera.url)} sends no video: check the camera.")
        return True

    def end(self) -> None:
        """Nothing of it reaches the inbox from here on."""
        with self._lock:
            self._is_over.set()
            if self._session is not None:
                self._inbox.put(Arrival(self._session, None, time.time(), time.monotonic()))
                self._session = None

    # -- in the reading thread

    def _read(self) -> None:
        try:
            container, stream = open_camera(self._camera)
            with container:
                self._demux(container, stream)
        except CameraError as e:
            self._fail(e)
        except SourceError as e:
            self._fail(CameraError(str(e)))
        except Exception as e:  # noqa: BLE001 - a camera is tried again whatever it did
            self._fail(CameraError(mask_secrets(f"{self._camera.url} failed ({type(e).__name__}: {e}).")))
        finally:
            with self._lock:
                if not self._is_over.is_set():
                    self._wake.set()

    def _fail(self, error: CameraError) -> None:
        with self._lock:
            if not self._is_over.is_set():
                self.error = error

    def _demux(self, container: Any, stream: Any) -> None:
        with self._lock:
            if self._is_over.is_set():
                return
            self._is_open, self._heard = True, time.monotonic()
            self._opened()
        feed = Feed(self._camera, container, stream)
        pacer = Pacer(self._is_over) if is_paced(self._camera, container) else None
        try:
            for raw in container.demux(stream):
                if pacer is not None and raw.size:
                    pacer.wait(raw)
                if self._is_over.is_set():
                    return
                if raw.size:
                    self._hear()
                    self._put(feed, feed.push(raw))
            self._put(feed, feed.finish())
        except av.error.FFmpegError as e:
            self._put(feed, feed.finish())
            raise self._broken(e) from e
        except IndexError:  # PyAV, at the end of a stream in which further streams turned up
            self._put(feed, feed.finish())

    def _hear(self) -> None:
        self._heard = time.monotonic()
        if self._first is not None:
            return
        with self._lock:
            if not self._is_over.is_set():
                self._first = self._heard
                self._on_state("live", "Waiting for a key frame.")

    def _put(self, feed: Feed, arrivals: Any) -> None:
        for arrival in arrivals:
            with self._lock:
                if self._is_over.is_set():
                    return
                if self._session is not arrival.session:
                    if self._session is not None:
                        self._inbox.put(Arrival(self._session, None, arrival.at, arrival.since))
                    self._session = arrival.session
                    self._on_state("live", "")
                self._inbox.put(arrival)
        if feed.before_key:
            self._counts.add(RECEIVED, feed.before_key)
            self._counts.add(BEFORE_KEY, feed.before_key)
            feed.before_key = 0

    def _broken(self, error: av.error.FFmpegError) -> CameraError:
        shown = mask_secrets(self._camera.url)
        if isinstance(error, av.error.ExitError | av.error.TimeoutError):
            return CameraError(f"{shown} has sent nothing for {self._camera.read_timeout_s:g} s.")
        return CameraError(f"{shown} broke off ({reason(error)}).", is_final=is_file(self._camera.url))


class Pacer:
    """Lets packets of a file go when they would have come from a camera: by their dts, else pts. is_over: ends a wait."""

    def __init__(self, is_over: threading.Event) -> None:
        self._is_over = is_over
        self._anchor: tuple[float, float] | None = None

    def wait(self, raw: Any) -> None:
        stamp = raw.dts if raw.dts is not None else raw.pts
        now = time.monotonic()
        if stamp is None:
            self._is_over.wait(float((raw.duration or 0) * raw.time_base))
            return
        self._anchor, wait = next_wait(self._anchor, float(stamp * raw.time_base), now)
        if wait > 0:
            self._is_over.wait(wait)


def next_wait(
    anchor: tuple[float, float] | None, seconds: float, now: float
) -> tuple[tuple[float, float], float]:
    """The wait before a packet with a stream time of `seconds`, and the anchor (stream time, clock time) for the next.

    The clock is set anew where the stream's jumps, and where the reader was held up for long: nobody is to catch up.
    """
    if anchor is None:
        return (seconds, now), 0.0
    wait = anchor[1] + seconds - anchor[0] - now
    if -_MOST_BEHIND_S <= wait <= _MOST_AHEAD_S:
        return anchor, max(0.0, wait)
    return (seconds, now), 0.0
