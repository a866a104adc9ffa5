"""Adding a camera's entries to its streams, each exactly once, with ids that were made before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import orjson
import redis

from everyframe.pipeline.errors import RedisError
from everyframe.pipeline.live.types import CameraReport
from everyframe.pipeline.sinks.entries import stream_key
from everyframe.pipeline.sinks.live_entries import CAMERAS, read_status, status_fields
from everyframe.pipeline.sinks.redis import ALREADY, PASSING, Connection
from everyframe.pipeline.sinks.spool_format import EVENT, LABELS, Entry

Id = tuple[int, int]
Job = tuple[int, Id, dict[bytes, bytes]]
T = TypeVar("T")
_KEPT_S, _STOPPED_S = 86_400, 3600
"""How long the status of a camera is kept: of one that is not heard any more, and of one that was stopped."""


class LiveRedis:
    """For one thread. Every call raises RedisError, one sentence, and may be made again."""

    def __init__(self, url: str, camera: str, maxlen: int | None, retain_s: float | None, wait_s: float) -> None:
        self._connection = Connection(url, wait_s)
        self._client = self._connection.client
        self._camera = camera
        self._keys = {LABELS: stream_key(camera), EVENT: stream_key(camera, "events")}
        self._status_key = stream_key(camera, "status")
        self._maxlen = maxlen
        self._retain_s = retain_s
        self._has_top = False
        self._floor: Id = (0, 0)  # what comes next must be above it
        self._renamed: dict[int, Id] = {}  # ids in place of those in the spool, by number, until their answer is there

    def top(self) -> Id | None:
        """The greatest id of both streams, asked once: also those that were trimmed count. None ever after."""
        if self._has_top:
            return None
        found = self._do(self._tops)
        self._has_top = True
        self._floor = max(self._floor, found)
        return found

    def _tops(self) -> Id:
        return max(self._top(key) for key in self._keys.values())

    def _top(self, key: str) -> Id:
        try:
            info: Any = self._client.xinfo_stream(key)
        except redis.ResponseError as e:
            if "no such key" in str(e):
                return 0, 0
            raise
        return _id(info["last-generated-id"])

    def add(
        self, entries: Sequence[Entry], fields: Sequence[Mapping[bytes, bytes]], tried: int,
        new_ids: Callable[[Id, int], list[Id]],
    ) -> None:  # fmt: skip
        """Adds entries in order; those that are there already stay as they are. tried: number up to which entries may have been
        sent before. new_ids: gives ids that no entry has, above one."""
        self._rename_low(entries, tried, new_ids)
        jobs = [(e.kind, self._renamed.get(e.number, e.id), dict(f)) for e, f in zip(entries, fields, strict=True)]
        refused = self._do(lambda: self._xadd(jobs))
        if refused:
            self._add_again(entries, jobs, refused, tried, new_ids)
        self._floor = max(self._floor, *(key for _, key, _ in jobs))
        self._renamed.clear()

    def _rename_low(self, entries: Sequence[Entry], tried: int, new_ids: Callable[[Id, int], list[Id]]) -> None:
        """Ids that were made before the server's top was known are too low: these, and all behind them, get others in order."""
        low = next((i for i, e in enumerate(entries) if e.number > tried and e.id <= self._floor), None)
        if low is not None:
            ids = new_ids(self._floor, len(entries) - low)
            self._renamed |= {entry.number: key for entry, key in zip(entries[low:], ids, strict=True)}

    def _add_again(
        self, entries: Sequence[Entry], jobs: list[Job], refused: Sequence[int], tried: int, new_ids: Callable[[Id, int], list[Id]]
    ) -> None:
        """Those of the refused that never arrived, under other ids, which `jobs` has then."""
        there = self._do(lambda: self._there([jobs[i][:2] for i in refused]))
        lost = [i for i, (is_there, is_trimmed) in zip(refused, there, strict=True)
                if not (is_there or (is_trimmed and entries[i].number <= tried))]  # fmt: skip
        if not lost:
            return
        # Another id is above ours, as after a lost folder and a clock stepped back: these never arrived.
        ids = new_ids(self._do(self._tops), len(lost))
        for i, key in zip(lost, ids, strict=True):
            self._renamed[entries[i].number] = key
            jobs[i] = jobs[i][0], key, jobs[i][2]
        if self._do(lambda: self._xadd([jobs[i] for i in lost])):
            raise RedisError(
                f"somebody else writes to {self._keys[LABELS]}: give this camera another name, or stop the other writer"
            )

    def _xadd(self, jobs: Sequence[Job]) -> list[int]:
        """Which of them the server refused because their id is not above its top."""
        minid = None if self._retain_s is None else f"{max(round((time.time() - self._retain_s) * 1000), 0)}"
        # Several go as a transaction, so that a full server takes all or none: a gap could not be closed later.
        with self._client.pipeline(transaction=len(jobs) > 1) as pipe:
            for kind, (ms, seq), fields in jobs:
                pipe.xadd(
                    self._keys[kind], cast(Any, fields), id=f"{ms}-{seq}", maxlen=None if minid else self._maxlen,
                    minid=minid, approximate=True,
                )  # fmt: skip
            answers = pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and ALREADY not in str(answer):
                raise answer
        return [i for i, answer in enumerate(answers) if isinstance(answer, Exception)]

    def _there(self, wanted: Sequence[tuple[int, Id]]) -> list[tuple[bool, bool]]:
        """Of each id whether its entry is there, and whether it is below all that is."""
        found: dict[int, tuple[set[Id], Id | None]] = {}
        for kind in {kind for kind, _ in wanted}:
            ids = [key for k, key in wanted if k == kind]
            low, high = ("-".join(map(str, key)) for key in (min(ids), max(ids)))
            entries = cast(list[Any], self._client.xrange(self._keys[kind], low, high))
            first = cast(list[Any], self._client.xrange(self._keys[kind], count=1))
            found[kind] = {_id(entry[0]) for entry in entries}, _id(first[0][0]) if first else None
        answers = []
        for kind, key in wanted:
            ids_there, first_id = found[kind]
            answers.append((key in ids_there, first_id is None or key < first_id))
        return answers

    def put_status(self, status: CameraReport | Mapping[str, Any]) -> None:
        """The latest one, under the camera's key and in the list of cameras."""
        fields = status_fields(status)
        summary = orjson.dumps(
            {"labels": self._keys[LABELS], "events": self._keys[EVENT], "status": self._status_key, "state": fields.get("state")}
        )

        def send() -> None:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(self._status_key, mapping=cast(Any, fields))
                pipe.expire(self._status_key, _STOPPED_S if fields.get("state") == "stopped" else _KEPT_S)
                pipe.hset(CAMERAS, self._camera, cast(Any, summary))
                pipe.execute()

        self._do(send)

    def close(self) -> None:
        with suppress(Exception):
            self._client.connection_pool.disconnect(inuse_connections=True)

    def _do(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except redis.RedisError as e:
            self._client.connection_pool.disconnect()
            raise self._sentence(e) from e
        except (OSError, ValueError) as e:  # closed under its hands
            raise RedisError(f"Redis at {self._connection.location} was left") from e

    def _sentence(self, error: redis.RedisError) -> RedisError:
        is_away = isinstance(error, PASSING) and not isinstance(error, redis.AuthenticationError)
        if not is_away:
            return self._connection.refused(error, "labels wait in the spool")
        why = "it takes too long to answer" if isinstance(error, redis.TimeoutError) else "no connection"
        if isinstance(error, redis.BusyLoadingError):
            why = "it is loading its data"
        return RedisError(f"Redis at {self._connection.location} is away ({why}): labels wait in the spool until it is back")


def read_statuses(url: str) -> list[dict[str, Any]]:
    """What watched cameras last published of themselves, by name. Raises RedisError."""
    connection = Connection(url, 2.0)
    client = connection.client
    try:
        names = cast(dict[bytes, bytes], connection.do(lambda: client.hgetall(CAMERAS), "reading the list of cameras"))
        found = []
        for name in sorted(name.decode() for name in names):
            key = stream_key(name, "status")
            fields = cast(dict[bytes, bytes], connection.do(lambda k=key: client.hgetall(k), "reading a status"))  # type: ignore[misc]
            if fields:
                found.append(read_status(fields, time.time()))
        return found
    finally:
        connection.close()


def _id(key: bytes | str) -> Id:
    ms, _, seq = (key.decode() if isinstance(key, bytes) else key).partition("-")
    return int(ms), int(seq)
