"""Labels in Redis Streams: publishing a run, and reading back. Watched cameras: `live.py`.

Stream `everyframe:{source}:labels`, one entry a frame. Ids come from the source's own time, so that publishing a file
again adds nothing: the server refuses an id that is not above its last one, and we are the only writer of a stream.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from everyframe.pipeline.errors import RedisError, mask_secrets
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.schema import Record, rounded_time
from everyframe.pipeline.sinks.entries import FIELDS, entry_id, from_fields, stream_key, to_fields

_BATCH = 500
_FOLLOW_MS = 500
_LOG = logging.getLogger("everyframe")
ALREADY = "equal or smaller than the target stream top item"
# These may pass by themselves, so they are waited for; every other answer of the server ends the run at once.
PASSING = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)
_LASTING = (redis.AuthenticationError, redis.InvalidResponse)
T = TypeVar("T")
Entry = tuple[str, dict[Any, Any]]
"""Id and fields."""


class Connection:
    """A client with bounded waits. Its errors are RedisErrors of one sentence, passwords masked.

    wait_s: how long a server that is away is waited for, counted anew from each first failure.
    longer_by: the option by which a user makes it longer, if there is one.
    """

    def __init__(self, url: str, wait_s: float = 10.0, longer_by: str = "") -> None:
        self.location = mask_secrets(url)
        self._wait_s = wait_s
        self._longer = f", or wait longer with {longer_by}" if longer_by else ""
        timeout = min(5.0, max(1.0, wait_s))
        try:
            self.client = redis.Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                client_name="everyframe",
            )
        except (ValueError, TypeError) as e:
            raise RedisError(
                f"{self.location} is not a Redis URL: write redis://HOST:6379, rediss://HOST:6379 (TLS) "
                "or unix:///PATH/TO/SOCKET"
            ) from e

    def do(self, action: Callable[[], T], what: str) -> T:
        """Runs `action` until the server answers, at most `wait_s` s after the first failure. Raises RedisError."""
        deadline, pause = None, 0.05
        while True:
            try:
                return action()
            except redis.RedisError as e:
                if isinstance(e, _LASTING) or not isinstance(e, PASSING):
                    raise self.refused(e, what) from e
                now = time.monotonic()
                if deadline is None:
                    deadline = now + self._wait_s
                    if self._wait_s > 0:
                        _LOG.warning("Redis at %s is away, waiting up to %g s", self.location, self._wait_s)
                if now + pause > deadline:
                    raise self._away(e, what) from e
                self.client.connection_pool.disconnect()
                time.sleep(pause)
                pause = min(pause * 2, 1.0)

    def refused(self, error: Exception, what: str) -> RedisError:
        """One sentence for an answer that will not change by waiting."""
        said = str(error)
        where = f"Redis at {self.location}"
        if isinstance(error, redis.AuthenticationError):
            return RedisError(
                f"{where} refused the user or password ({what}): give them as redis://USER:PASSWORD@HOST:PORT"
            )
        if isinstance(error, NoPermissionError):
            return RedisError(f"{where} does not allow this user to do that ({what}): grant what docs/security.md lists")
        if isinstance(error, redis.OutOfMemoryError):
            return RedisError(
                f"{where} is full ({what}): raise its maxmemory or keep fewer records with --redis-maxlen"
            )
        if isinstance(error, redis.ReadOnlyError):
            return RedisError(f"{where} is a read-only replica ({what}): name the primary server")
        if isinstance(error, redis.InvalidResponse):
            return RedisError(f"what answers at {self.location} is not Redis ({what}): check host and port")
        if "WRONGTYPE" in said:
            return RedisError(f"{where} holds something else under that key ({what}): delete or rename it")
        return RedisError(f"{where} refused ({what}): {mask_secrets(said)}")

    def _away(self, error: Exception, what: str) -> RedisError:
        why = "it took too long to answer" if isinstance(error, redis.TimeoutError) else _plain_reason(error)
        waited = f" within {self._wait_s:g} s" if self._wait_s else ""
        return RedisError(
            f"Redis at {self.location} did not answer{waited} ({what}; {why}): start it or check the address{self._longer}"
        )

    def close(self) -> None:
        with contextlib.suppress(redis.RedisError):  # going away anyway
            self.client.close()


class RedisSink:
    """Publishes records. published and already: entries added, and entries that were there from an earlier run.

    maxlen: about how many entries the stream keeps, 0 for all. note: a sentence where another run's labels are in the
    stream, so that the new ones were not added; None where all is well.
    """

    def __init__(
        self, url: str, source: str, names: tuple[str, ...], maxlen: int = 1_000_000, wait_s: float = 10.0
    ) -> None:
        self._connection = Connection(url, wait_s, "--redis-wait")
        self.key = stream_key(source)
        self.location = f"{self._connection.location} {self.key}"
        self.published = 0
        self.already = 0
        self.note: str | None = None
        self._names = names
        self._maxlen = maxlen or None
        self._ms = 0
        self._is_compared = False

    def __enter__(self) -> Self:
        self._connection.do(self._connection.client.ping, "connecting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def write(self, labels: list[FrameLabels]) -> None:
        """Publishes records in order. Raises RedisError; what was not published by then is not in Redis."""
        for start in range(0, len(labels), _BATCH):
            entries = [self._entry(record) for record in labels[start : start + _BATCH]]
            what = f"publishing {self.key} from frame {labels[start].frame_index}"
            self._count(entries, self._connection.do(lambda e=entries: self._send(e), what), what)  # type: ignore[misc]

    def _entry(self, labels: FrameLabels) -> Entry:
        self._ms = max(self._ms, round(rounded_time(labels) * 1000))
        return entry_id(self._ms, labels.frame_index), to_fields(labels, self._names)

    def _send(self, entries: list[Entry]) -> list[Any]:
        # A transaction, so that a full server takes all of a batch or nothing: later ids above a gap would close it.
        with self._connection.client.pipeline(transaction=True) as pipe:
            for entry, fields in entries:
                pipe.xadd(self.key, fields, id=entry, maxlen=self._maxlen, approximate=True)
            answers = pipe.execute(raise_on_error=False)
        for answer in answers:
            # A server that goes away while it answers: sent again as a whole, which adds nothing twice.
            if isinstance(answer, PASSING):
                raise answer
        return answers

    def _count(self, entries: list[Entry], answers: list[Any], what: str) -> None:
        for (entry, fields), answer in zip(entries, answers, strict=True):
            if not isinstance(answer, Exception):
                self.published += 1
            elif ALREADY in str(answer):
                self.already += 1
                if not self._is_compared:
                    self._is_compared = True
                    self._compare(entry, fields)
            else:
                raise self._connection.refused(answer, what)

    def _compare(self, entry: str, fields: dict[str, Any]) -> None:
        """Looks once whether what is there already is what we would have written, costs left out."""
        client = self._connection.client
        found = cast(list[Any], self._connection.do(lambda: client.xrange(self.key, entry, entry), "reading back"))
        if not found:
            return  # trimmed long ago
        there = found[0][1]
        ours = {name: value if isinstance(value, bytes) else str(value).encode() for name, value in fields.items()}
        if any(there.get(name.encode()) != ours[name] for name in FIELDS if name != "cost_ms"):
            self.note = (
                f"{self.key} already holds other labels of this source, and the new ones were not added: "
                f"to publish them, delete the old ones with 'redis-cli DEL {self.key}' and run again"
            )
            _LOG.warning("%s", self.note)


def list_sources(connection: Connection) -> list[str]:
    """Keys of all label streams of a server, sorted."""
    client = connection.client
    keys = connection.do(
        lambda: list(client.scan_iter("everyframe:*:labels", count=1000, _type="stream")), "looking for streams"
    )
    return sorted(key.decode() for key in keys)


def read_stream(
    connection: Connection, key: str, since_s: float | None = None, since_frame: int | None = None
) -> Iterator[Record]:
    """Records of one stream that are there now, in order. Entries that are no label records are passed over."""
    client, last = connection.client, _start(since_s)
    while True:
        found = connection.do(lambda at=last: client.xrange(key, f"({at}", count=_BATCH), f"reading {key}")  # type: ignore[misc]
        entries = cast(list[tuple[bytes, dict[bytes, bytes]]], found)
        if not entries:
            return
        last = entries[-1][0].decode()
        yield from _records(key, entries, since_frame)


def follow_streams(
    connection: Connection, keys: list[str], since_s: float | None = None, since_frame: int | None = None
) -> Iterator[Record]:
    """Records of several streams as they come, for ever. keys: empty for all label streams, new ones too."""
    client, last = connection.client, dict.fromkeys(keys, _start(since_s))
    while True:
        for key in () if keys else list_sources(connection):
            last.setdefault(key, _start(since_s))
        if not last:
            time.sleep(_FOLLOW_MS / 1000)
            continue
        answer = connection.do(lambda: client.xread(cast(dict[Any, Any], last), count=_BATCH, block=_FOLLOW_MS), "following labels")
        for name, entries in cast(list[tuple[bytes, list[Any]]], answer or []):
            key = name.decode()
            last[key] = entries[-1][0].decode()
            yield from _records(key, entries, since_frame)


def _start(since_s: float | None) -> str:
    """The id after which a reading begins."""
    ms = round((since_s or 0.0) * 1000)
    return f"{ms - 1}-{2**64 - 1}" if ms > 0 else "0-0"


def _records(
    key: str, entries: list[tuple[bytes, dict[bytes, bytes]]], since_frame: int | None
) -> Iterator[Record]:
    for entry, fields in entries:
        if since_frame is not None and int(entry.split(b"-")[1]) <= since_frame:
            continue
        try:
            yield from_fields(fields)
        except ValueError as e:
            _LOG.warning("passed over entry %s of %s: %s", entry.decode(), key, e)


def _plain_reason(error: Exception) -> str:
    """What the network said, without redis-py's wording."""
    said = mask_secrets(str(error))
    for known in ("Connection refused", "Name or service not known", "No such file or directory", "timed out"):
        if known.lower() in said.lower():
            return known.lower()
    return said.split(". ")[0][:150] or "the connection was lost"
