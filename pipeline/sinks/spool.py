"""Entries on their way to a stream, in order, on disk: a log of small segments that is its own queue.

Everything is appended before it is sent, so that a killed process loses nothing it was given. A segment is removed when
all of it is done; while the server answers that is soon, mostly before the kernel writes it to the disk at all.
The newest entries are also kept in memory. A disk that refuses costs nothing while they suffice.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.sinks.spool_format import LABELS, Entry, Mark, MarkFile, frame, frames

SEGMENT_BYTES = 256 << 10
RECENT_ENTRIES, RECENT_BYTES = 1000, 2 << 20
_ENDING = ".spool"
_LOG = logging.getLogger("everyframe")


class Spool:
    """For one thread that appends and one that reads. limit_bytes: of all segments. Raises SinkError where the folder can't
    be used."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self._limit = max(limit_bytes, 16 << 10)
        self._segment_bytes = max(4096, min(SEGMENT_BYTES, self._limit // 8))
        self._lock = threading.RLock()
        self._sizes: dict[int, int] = {}
        self._waiting: dict[int, Counter[int]] = {}  # by segment: entries that wait, by kind
        self._recent: deque[Entry] = deque()
        self._recent_bytes = 0
        self._gone: set[int] = set()  # numbers dropped since the last read, whose entries may be on their way
        self._file: int | None = None
        self._segment = self._size = self._last_number = 0
        self._last_id = (0, 0)
        self._cursor = (0, 0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._marks = MarkFile(folder / "mark")
            self.mark = self._marks.load()
            self._scan()
        except OSError as e:
            raise SinkError(f"cannot use the spool in {folder}: {e.strerror}; name another folder with --state") from e

    # -- what it holds

    def waiting(self, kind: int = LABELS) -> int:
        """Entries of a kind that are not done."""
        with self._lock:
            return sum(counts[kind] for counts in self._waiting.values())

    @property
    def pending(self) -> int:
        with self._lock:
            return sum(counts.total() for counts in self._waiting.values())

    @property
    def size(self) -> int:
        """Size of the entries on disk that are not done, in whole segments but for the oldest."""
        with self._lock:
            if not self.pending:
                return 0
            segment, offset = self._cursor
            return max(sum(self._sizes.values()) - (offset if segment in self._sizes else 0), 0)

    # -- the end that appends

    def append(self, kind: int, ms: int, seq: int, payload: bytes, since: float) -> tuple[Counter[str], OSError | None]:
        """Takes an entry. Returns labels that were dropped for it, by reason (`spool_full`, `disk`), and what the disk said."""
        with self._lock:
            self._last_number += 1
            entry = Entry(self._last_number, kind, ms, seq, payload, since=since)
            self._last_id = max(self._last_id, entry.id)
            refused = None
            try:
                entry = self._write(entry)
            except OSError as e:
                if self._file is not None and not self._size:
                    self._remove(self._segment)
                self._close_file()
                refused = e
            self._waiting.setdefault(entry.segment, Counter())[kind] += 1
            self._recent.append(entry)
            self._recent_bytes += len(payload)
            return self._forget() + self._make_room(), refused

    def _write(self, entry: Entry) -> Entry:
        if self._file is None or self._size >= self._segment_bytes:
            self._close_file()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path(entry.number), flags, 0o600)
            self._segment, self._size = entry.number, 0
            self._sizes[entry.number] = 0
        data = frame(entry)
        written = os.write(self._file, data)
        if written != len(data):  # what is there of it is a torn tail
            raise OSError(28, os.strerror(28))
        self._size += written
        self._sizes[self._segment] = self._size
        return replace(entry, segment=self._segment, end=self._size)

    def _forget(self) -> Counter[str]:
        """Keeps what is in memory bounded. What is nowhere else is dropped then."""
        dropped: Counter[str] = Counter()
        while len(self._recent) > RECENT_ENTRIES or self._recent_bytes > RECENT_BYTES:
            oldest = self._recent.popleft()
            self._recent_bytes -= len(oldest.payload)
            if oldest.segment < 0 and oldest.number > self.mark.number:
                self._waiting[-1][oldest.kind] -= 1
                self._gone.add(oldest.number)
                if oldest.kind == LABELS:
                    dropped["disk"] += 1
                    self._put_mark(replace(self.mark, dropped_disk=self.mark.dropped_disk + 1))
        return dropped

    def _make_room(self) -> Counter[str]:
        """Drops the oldest segments while there are too many bytes. The one being written stays."""
        dropped: Counter[str] = Counter()
        while sum(self._sizes.values()) > self._limit and len(self._sizes) > 1:
            oldest, following = sorted(self._sizes)[:2]
            number = max(self.mark.number, following - 1)
            gone = self._waiting.get(oldest, Counter())[LABELS] + self._forget_memory(number)
            dropped["spool_full"] += gone
            self._put_mark(replace(self.mark, number=number, dropped_full=self.mark.dropped_full + gone))
            self._remove(oldest)
            self._cursor = max(self._cursor, (following, 0))
            while self._recent and self._recent[0].number <= self.mark.number:
                self._recent_bytes -= len(self._recent.popleft().payload)
        return dropped

    def _forget_memory(self, number: int) -> int:
        """Labels that wait in memory only, up to `number`; they don't wait any more."""
        lost = [e for e in self._recent if e.segment < 0 and self.mark.number < e.number <= number]
        for entry in lost:
            self._waiting[-1][entry.kind] -= 1
        return sum(entry.kind == LABELS for entry in lost)

    def sync(self) -> None:
        """Forces what was appended to the disk. Raises OSError."""
        with self._lock:
            file = None if self._file is None else os.dup(self._file)
        if file is not None:
            try:
                os.fdatasync(file)
            finally:
                os.close(file)

    # -- the end that reads

    def read(self, count: int, max_bytes: int = 1 << 20) -> list[Entry]:
        """The oldest entries that are not done, in order; empty where there are none. They stay until `done`."""
        with self._lock:
            self._gone.clear()
            first = self._recent[0].number if self._recent else self._last_number + 1
            if first > self.mark.number + 1 and (found := self._from_disk(first, count)):
                return found
            found, size = [], 0
            for entry in self._recent:
                if entry.number <= self.mark.number:
                    continue
                if len(found) >= count or size > max_bytes:
                    break
                found.append(entry)
                size += len(entry.payload)
            return found

    def _from_disk(self, before: int, count: int) -> list[Entry]:
        segment, offset = self._cursor
        for start in sorted(s for s in self._sizes if s >= segment):
            if start >= before:
                break
            base = offset if start == segment else 0
            try:
                with open(self._path(start), "rb") as file:
                    file.seek(base)
                    data = file.read()
            except OSError as e:
                _LOG.warning("cannot read %s: %s", self._path(start), e.strerror)
                continue
            if found := [e for e in frames(data, start, base) if self.mark.number < e.number < before]:
                return found[:count]
        return []

    def done(self, entries: list[Entry], hour: int = 0, sizes: tuple[int, int] = (-1, 0)) -> tuple[int, int]:
        """The first entries that `read` gave are done. hour, sizes: of label files. Returns how many labels they are, less those
        that were dropped meanwhile, and how many before them a damaged disk has lost."""
        with self._lock:
            fresh = [entry for entry in entries if entry.number > self.mark.number]
            if not fresh:
                return 0, 0
            still = [entry for entry in fresh if entry.number not in self._gone]
            for entry in still:
                self._waiting[entry.segment][entry.kind] -= 1
                if entry.segment >= 0:
                    self._cursor = entry.segment, entry.end
            labels = sum(entry.kind == LABELS for entry in still)
            over = [segment for segment in self._sizes if self._is_over(segment)]
            lost = sum(self._waiting.get(segment, Counter())[LABELS] for segment in over)
            ms, seq = max((self.mark.ms, self.mark.seq), fresh[-1].id)
            self._put_mark(
                replace(
                    self.mark, number=fresh[-1].number, published=self.mark.published + labels,
                    dropped_disk=self.mark.dropped_disk + lost, ms=ms, seq=seq, hour=hour, labels_size=sizes[0],
                    events_size=sizes[1],
                )
            )  # fmt: skip
            while self._recent and self._recent[0].number <= self.mark.number:
                self._recent_bytes -= len(self._recent.popleft().payload)
            for segment in over:
                self._remove(segment)
            return labels, lost

    def _is_over(self, segment: int) -> bool:
        is_written = self._file is not None and segment == self._segment
        return segment < self._cursor[0] or not (is_written or self._waiting.get(segment, Counter()).total())

    @property
    def last_number(self) -> int:
        """Number of the last entry that was appended, ever."""
        with self._lock:
            return self._last_number

    @property
    def last_id(self) -> tuple[int, int]:
        """The greatest id that was ever appended or done."""
        with self._lock:
            return self._last_id

    def new_ids(self, top: tuple[int, int], count: int) -> list[tuple[int, int]]:
        """Ids above `top` and all others; later entries get ids above these."""
        with self._lock:
            ms, seq = max(self._last_id, top)
            self._last_id = ms, seq + count
            return [(ms, seq + 1 + i) for i in range(count)]

    def close(self) -> None:
        """Forces it to the disk; never raises."""
        with suppress(OSError):
            self.sync()
        with self._lock:
            self._close_file()

    # -- files

    def _path(self, segment: int) -> Path:
        return self.folder / f"{segment:020d}{_ENDING}"

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _remove(self, segment: int) -> None:
        if self._file is not None and segment == self._segment:
            self._close_file()
        self._sizes.pop(segment, None)
        self._waiting.pop(segment, None)
        with suppress(OSError):
            self._path(segment).unlink()

    def _scan(self) -> None:
        """Finds what an earlier life left. Segments without anything that waits go."""
        self._last_number = self.mark.number
        self._last_id = self.mark.ms, self.mark.seq
        for path in sorted(self.folder.glob(f"*{_ENDING}")):
            if not path.stem.isdigit():
                continue
            start, data = int(path.stem), path.read_bytes()
            entries = list(frames(data, start, 0))
            if entries:
                self._last_number = max(self._last_number, entries[-1].number)
                self._last_id = max(self._last_id, *(entry.id for entry in entries))
            if len(data) != (entries[-1].end if entries else 0):
                _LOG.warning("%s is cut off: its whole entries are kept", path)
            waiting = Counter(entry.kind for entry in entries if entry.number > self.mark.number)
            self._sizes[start] = len(data)
            self._waiting[start] = waiting
            if not waiting.total():
                self._remove(start)
        self._last_number = max(self._last_number, *self._sizes, 0) if self._sizes else self._last_number
        self._cursor = (min(self._sizes), 0) if self._sizes else (0, 0)

    # -- the mark

    def put_files(self, hour: int, sizes: tuple[int, int]) -> None:
        """Notes hour and sizes of label files that have just been begun."""
        with self._lock:
            self._put_mark(replace(self.mark, hour=hour, labels_size=sizes[0], events_size=sizes[1]))

    def settle(self, published: int, dropped_full: int, dropped_disk: int) -> None:
        """What counters say where they are ahead of the mark: it may have been lost."""
        with self._lock:
            mark = self.mark
            self._put_mark(
                replace(
                    mark, published=max(mark.published, published), dropped_full=max(mark.dropped_full, dropped_full),
                    dropped_disk=max(mark.dropped_disk, dropped_disk),
                )
            )  # fmt: skip

    def _put_mark(self, mark: Mark) -> None:
        self.mark = mark
        self._marks.put(mark)
