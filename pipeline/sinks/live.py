"""Labels, events and the state of a watched camera on their way to Redis, whatever Redis does: see docs/events.md.

`put` appends to the spool and returns; a thread sends what is in the spool, in order. Ids are made once, before the first
try, and the same record is always sent with the same id: the server takes it at most once, and we are the only writer.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from everyframe.operators.detectors.coco import NAMES
from everyframe.pipeline.errors import EveryframeError, RedisError, SinkError
from everyframe.pipeline.live.types import (
    DROPPED,
    PUBLISHED,
    SPOOLED,
    CameraEvent,
    CameraReport,
    Counter,
    Histogram,
    LiveLabels,
)
from everyframe.pipeline.sinks.entries import to_fields
from everyframe.pipeline.sinks.live_entries import (
    HOUR_MS,
    RollingJsonl,
    event_fields,
    line_of,
    pack,
    status_values,
    unpack,
)
from everyframe.pipeline.sinks.live_redis import LiveRedis
from everyframe.pipeline.sinks.spool import Spool
from everyframe.pipeline.sinks.spool_format import EVENT, LABELS, Entry

BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)  # fmt: skip
BATCH = 200
SPOOL_FULL, DISK = DROPPED + "spool_full", DROPPED + "disk"
EVENTS_PUBLISHED = "events.published"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_SYNC_S = 1.0
_STATUS_S = 1.0


class LivePublisher:
    """One camera's way out. `put`, `put_event`, `put_status` are for one thread each and never wait for the network.

    url: of Redis, None for files alone. folder: of the spool. counts: `published`, `spooled`, `dropped.spool_full` and
    `dropped.disk` are counted there, each label once, also across kill -9. maxlen: about how many entries a stream keeps;
    retain_s: or of what age; None for no limit. wait_s: for one answer of Redis. out: folder of label files, None for
    none; they hold what was published. Raises SinkError where the folder can't be used, RedisError for a wrong URL.

    trouble: one sentence while Redis, the disk or the files refuse; empty while all is well.
    """

    def __init__(
        self, camera: str, url: str | None, folder: Path, counts: Counter, *, names: tuple[str, ...] = NAMES,
        maxlen: int | None = 100_000, retain_s: float | None = None, spool_bytes: int = 256 << 20, wait_s: float = 2.0,
        out: Path | None = None,
    ) -> None:  # fmt: skip
        self.camera = camera
        self._names = names
        self._counts = counts
        self._spool = Spool(folder / "spool", spool_bytes)
        self._redis = None if url is None else LiveRedis(url, camera, maxlen, retain_s, wait_s)
        mark = self._spool.mark
        self._files = None if out is None else RollingJsonl(out, camera, mark.hour, (mark.labels_size, mark.events_size))
        self._settle()
        self._attempted = self._spool.last_number  # entries up to here may have been sent before
        self._spooled = self._attempted
        self._wake = threading.Condition()
        self._status: CameraReport | Mapping[str, Any] | None = None
        self._last_status: CameraReport | Mapping[str, Any] | None = None
        self._status_due = 0.0
        self._sent_trouble = self._disk_trouble = self._file_trouble = ""
        self._is_spooling = False
        self._deadline: float | None = None
        self._latencies = [0] * (len(BOUNDS_MS) + 1)
        self._latency_ms = 0.0
        self._thread = threading.Thread(target=self._run, name=f"{camera}-publish", daemon=True)
        self._thread.start()

    # -- for the threads that have something to publish

    def put(self, labels: LiveLabels) -> None:
        """Takes the record of a frame. Raises SinkError where it holds a number that is not finite."""
        payload = pack(to_fields(labels.labels, self._names))
        self._append(LABELS, round(labels.labels.time_s * 1000), payload, labels.since)

    def put_event(self, event: CameraEvent) -> None:
        self._append(EVENT, round(event.at * 1000), pack(event_fields(event)), float("nan"))

    def put_status(self, status: CameraReport | Mapping[str, Any]) -> None:
        """The latest one is published about once a second, older ones never."""
        with self._wake:
            self._status = status
            self._wake.notify()

    @property
    def waiting(self) -> int:
        """Labels that were put and are neither published nor dropped."""
        return self._spool.waiting()

    @property
    def pending(self) -> int:
        """Labels and events that wait."""
        return self._spool.pending

    @property
    def spool_bytes(self) -> int:
        return self._spool.size

    @property
    def trouble(self) -> str:
        return self._sent_trouble or self._file_trouble or self._disk_trouble

    @property
    def latency(self) -> Histogram:
        """From `LiveLabels.since` to the answer of Redis, of labels that were not read back from the spool."""
        return Histogram(BOUNDS_MS, tuple(self._latencies), self._latency_ms)

    def close(self, timeout: float = 3.0) -> None:
        """Publishes what is left within the time; what is not stays in the spool, forced to the disk, for the next start."""
        with self._wake:
            self._deadline = time.monotonic() + timeout
            self._wake.notify()
        self._thread.join(timeout)
        if self._redis is not None:
            self._redis.close()  # breaks off an answer that is waited for
        self._thread.join(1.0)
        self._spool.close()

    def _append(self, kind: int, ms: int, payload: bytes, since: float) -> None:
        with self._wake:
            last_ms, last_seq = self._spool.last_id
            # A clock stepped back, or far ahead of what Redis takes for a number, must not stop the stream.
            at = (ms, 0) if last_ms < ms < 1 << 62 else (last_ms, last_seq + 1)
            dropped, refused = self._spool.append(kind, *at, payload, since)
            self._disk_trouble = "" if refused is None else _disk_sentence(self._spool.folder, refused)
            if self._is_spooling and kind == LABELS and refused is None:
                self._count_spooled(1)
            for reason, n in dropped.items():
                self._counts.add(DROPPED + reason, n)
            self._wake.notify()

    def _settle(self) -> None:
        """Counters and the mark agree again: between them the process may have been killed."""
        counted = self._counts.snapshot()
        self._spool.settle(counted.get(PUBLISHED, 0), counted.get(SPOOL_FULL, 0), counted.get(DISK, 0))
        mark = self._spool.mark
        for name, n in ((PUBLISHED, mark.published), (SPOOL_FULL, mark.dropped_full), (DISK, mark.dropped_disk)):
            if n > counted.get(name, 0):
                self._counts.add(name, n - counted.get(name, 0))

    # -- the thread

    def _run(self) -> None:
        pause, synced = _FIRST_PAUSE_S, time.monotonic()
        while not self._is_over():
            entries = self._spool.read(BATCH)
            try:
                if entries:
                    self._send(entries)
                self._send_status()
                self._sent_trouble, self._is_spooling, pause = "", False, _FIRST_PAUSE_S
                if not entries:
                    self._sleep(0.5)
            except EveryframeError as e:
                self._begin_spooling(str(e))
                if time.monotonic() - synced > _SYNC_S:
                    with suppress(OSError):  # said where it is appended
                        self._spool.sync()
                    synced = time.monotonic()
                self._pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
        self._send_farewell()

    def _is_over(self) -> bool:
        if self._deadline is None:
            return False
        return time.monotonic() > self._deadline or not (self._spool.pending or self._status)

    def _sleep(self, seconds: float) -> None:
        with self._wake:
            if not self._spool.pending and self._deadline is None:
                self._wake.wait(seconds)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and (self._deadline is None or time.monotonic() < self._deadline):
            time.sleep(min(left, 0.1))

    def _begin_spooling(self, why: str) -> None:
        with self._wake:
            self._sent_trouble = why
            if not self._is_spooling:
                self._is_spooling = True
                self._count_spooled(self._spool.waiting())

    def _count_spooled(self, waiting: int) -> None:
        """Labels are counted once, however often Redis goes away while they wait."""
        last = self._spool.last_number
        if (n := min(waiting, last - self._spooled)) > 0:
            self._counts.add(SPOOLED, n)
        self._spooled = last

    def _send(self, entries: list[Entry]) -> None:
        """Sends them to Redis and the files. Raises RedisError or SinkError; sent again they do no harm."""
        hour = entries[0].ms // HOUR_MS
        entries = [entry for entry in entries if entry.ms // HOUR_MS == hour]
        fields = [unpack(entry.payload) for entry in entries]
        if self._redis is not None:
            if (top := self._redis.top()) is not None:
                self._spool.new_ids(top, 0)
            known = self._attempted
            self._attempted = max(known, entries[-1].number)
            self._redis.add(entries, fields, known, self._spool.new_ids)
        answered = time.monotonic()
        sizes = self._write_files(hour, entries, fields)
        with self._wake:
            labels, lost = self._spool.done(entries, hour, sizes)
            events = sum(entry.kind == EVENT for entry in entries)
            for name, n in ((PUBLISHED, labels), (DISK, lost), (EVENTS_PUBLISHED, events)):
                if n > 0:
                    self._counts.add(name, n)
        for entry in entries:
            if entry.kind == LABELS and entry.since == entry.since:
                self._latency(answered - entry.since)

    def _latency(self, seconds: float) -> None:
        ms = max(seconds * 1000, 0.0)
        self._latencies[bisect_left(BOUNDS_MS, ms)] += 1
        self._latency_ms += ms

    def _write_files(self, hour: int, entries: list[Entry], fields: list[dict[bytes, bytes]]) -> tuple[int, int]:
        """With Redis beside them, files that refuse are said and counted, and don't hold it up."""
        files = self._files
        if files is None:
            return -1, 0
        try:
            if files.turn_to(hour):
                self._spool.put_files(hour, files.sizes)
            lines = [(entry.kind, line_of(f, entry.kind == EVENT)) for entry, f in zip(entries, fields, strict=True)]
            files.write(*([line for kind, line in lines if kind == wanted] for wanted in (LABELS, EVENT)))
            self._file_trouble = ""
        except SinkError as e:
            if self._redis is None:
                raise
            self._file_trouble = str(e)
            self._counts.add("files.failed", len(entries))
        return files.sizes

    def _send_status(self) -> None:
        if time.monotonic() < self._status_due and self._deadline is None:
            return
        with self._wake:
            status, self._status = self._status, None
        if status is not None and self._redis is not None:
            self._status_due = time.monotonic() + _STATUS_S
            self._redis.put_status(status)
            self._last_status = status

    def _send_farewell(self) -> None:
        """Says that the camera is stopped, where Redis answers."""
        if self._redis is not None and self._last_status is not None and not self._sent_trouble:
            with suppress(RedisError):
                self._redis.put_status({**status_values(self._last_status), "state": "stopped", "message": ""})


def _disk_sentence(folder: Path, error: OSError) -> str:
    return f"the disk refuses the spool in {folder} ({error.strerror}): free some space; labels that Redis does not take are lost"
