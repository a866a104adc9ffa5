"""Commands to a running `everyframe watch` over Redis: stream `everyframe:control`, answers on `everyframe:control:answers`.

A command is an entry with the fields `id` (any text, repeated in the answer), `command` (add, remove, change, list, status) and,
where it is about a camera, `camera`: its settings as JSON, under the names of the YAML file. An answer has `id`, `ok` (1 or 0)
and `answer` (JSON) or `error` (one sentence). A command is removed once it is answered: it may hold a password.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import orjson
import redis

from everyframe.pipeline.errors import EveryframeError, RedisError, UsageError, mask_secrets
from everyframe.pipeline.sinks.redis import Connection

CONTROL, ANSWERS = "everyframe:control", "everyframe:control:answers"
COMMANDS = ("add", "remove", "change", "list", "status")
KEPT_ANSWERS = 1000
_BLOCK_MS = 500
_LONGEST = 64 << 10
_LONGEST_PAUSE_S = 2.0
_LOG = logging.getLogger("everyframe.control")

Handler = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Does a command with a camera's settings. Returns what to answer; an EveryframeError is answered as `error`."""


class ControlReader:
    """Reads commands on a thread of its own until `stop`, through whatever Redis does. position: file that remembers how far
    it has read, so that nothing is done twice; without it only new commands are done. Raises RedisError for a wrong URL.

    trouble: one sentence while Redis does not answer.
    """

    def __init__(self, url: str, handle: Handler, position: Path) -> None:
        self._connection = Connection(url, 2.0)
        self._client = self._connection.client
        self._handle = handle
        self._path = position
        self._last = ""
        self._stop = threading.Event()
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="everyframe-control", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        self._stop.set()
        self._thread.join(timeout_s)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        pause, is_placed = 0.1, False
        while not self._stop.is_set():
            try:
                if not is_placed:
                    self._last, is_placed = self._place(), True
                self._read()
                self.trouble, pause = "", 0.1
            except redis.RedisError as e:
                is_placed = False  # it may come back empty
                if not self.trouble:
                    self.trouble = f"commands can't be read: Redis at {self._connection.location} {_why(e)}"
                    _LOG.warning("%s", self.trouble)
                self._client.connection_pool.disconnect()
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            except OSError as e:
                self.trouble = f"cannot write {self._path}: {e.strerror}; commands wait until it can be written"
                self._stop.wait(_LONGEST_PAUSE_S)

    def _place(self) -> str:
        """The id after which to read. A server that is behind what was read has lost the stream: its commands are new."""
        top = _top(self._client, CONTROL)
        kept = self._last or _kept(self._path)
        if not kept:
            self._keep(top)
            return top
        return kept if _number(kept) <= _number(top) else "0-0"

    def _read(self) -> None:
        answer: Any = self._client.xread({CONTROL: self._last}, count=10, block=_BLOCK_MS)
        for _, entries in answer or []:
            for key, fields in entries:
                if self._stop.is_set():
                    return
                # Noted before it is done: a command is done once or not at all, and then its sender hears nothing.
                self._keep(key.decode())
                self._last = key.decode()
                self._answer(key, self._do(fields or {}))

    def _do(self, fields: Mapping[bytes, bytes]) -> dict[str, str]:
        number = fields.get(b"id", b"").decode("utf-8", "replace")[:100]
        try:
            name, row = _command(fields)
            answer = {"ok": "1", "answer": orjson.dumps(_masked(dict(self._handle(name, row)))).decode()}
            _LOG.info("command %s done", name)
        except EveryframeError as e:
            answer = {"ok": "0", "error": mask_secrets(str(e))}
            _LOG.warning("a command was refused: %s", answer["error"])
        except Exception as e:  # noqa: BLE001  (a command must not end the watching)
            _LOG.exception("a command has failed")
            answer = {"ok": "0", "error": mask_secrets(f"it failed: {type(e).__name__}: {e}")[:300]}
        return {"id": mask_secrets(number), **answer}

    def _answer(self, key: bytes, answer: dict[str, str]) -> None:
        with self._client.pipeline(transaction=True) as pipe:
            pipe.xadd(ANSWERS, cast(Any, answer), maxlen=KEPT_ANSWERS, approximate=True)
            pipe.xdel(CONTROL, key)
            pipe.execute()

    def _keep(self, position: str) -> None:
        """Raises OSError."""
        part = self._path.with_suffix(".part")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(position)
        os.replace(part, self._path)


def send_command(
    url: str, command: str, camera: Mapping[str, Any] | None = None, timeout_s: float = 10.0
) -> dict[str, Any]:
    """Sends a command and waits for its answer. Raises UsageError where it is refused, RedisError where Redis or `everyframe
    watch` does not answer in time."""
    if command not in COMMANDS:
        raise UsageError(f"no such command: {command[:40]!r}; commands are {', '.join(COMMANDS)}")
    connection = Connection(url, min(timeout_s, 5.0), "--wait")
    client, number = connection.client, uuid.uuid4().hex
    fields: dict[Any, Any] = {"id": number, "command": command, "camera": orjson.dumps(dict(camera or {}))}
    try:
        last = connection.do(lambda: _top(client, ANSWERS), "sending a command")
        key: Any = connection.do(lambda: client.xadd(CONTROL, fields), "sending a command")
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            block = max(min(round(left * 1000), _BLOCK_MS), 1)
            read: Callable[[], Any] = partial(client.xread, {ANSWERS: last}, block=block)
            found = connection.do(read, "waiting for the answer")
            for _, entries in found or []:
                last = entries[-1][0]
                for _, answer in entries:
                    if answer.get(b"id") == number.encode():
                        return _answered(answer)
        # It must not be done when nobody waits for it any more, and it may hold a password.
        connection.do(lambda: client.xdel(CONTROL, key), "taking the command back")
        raise RedisError(
            f"no everyframe watch answered at {connection.location} within {timeout_s:g} s: is one running with that --redis?"
        )
    finally:
        connection.close()


def _answered(answer: Mapping[bytes, bytes]) -> dict[str, Any]:
    if answer.get(b"ok") == b"1":
        found: dict[str, Any] = orjson.loads(answer.get(b"answer", b"{}"))
        return found
    raise UsageError(answer.get(b"error", b"it was refused without a reason").decode())


def _command(fields: Mapping[bytes, bytes]) -> tuple[str, dict[str, Any]]:
    name = fields.get(b"command", b"").decode("utf-8", "replace")
    if name not in COMMANDS:
        raise UsageError(f"no such command: {name[:40]!r}; commands are {', '.join(COMMANDS)}")
    data = fields.get(b"camera", b"") or b"{}"
    if len(data) > _LONGEST:
        raise UsageError(f"camera: longer than {_LONGEST} bytes")
    try:
        row = orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise UsageError('camera: write its settings as JSON, such as {"name": "gate", "url": "rtsp://camera/stream"}') from e
    if not isinstance(row, dict):
        raise UsageError("camera: write an object with its settings")
    return name, row


def _masked(value: Any) -> Any:
    """The value with secrets masked in every text of it."""
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, Mapping):
        return {str(key): _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value


def _top(client: Any, key: str) -> str:
    """The greatest id that a stream has given; 0-0 where there is none."""
    try:
        found = client.xinfo_stream(key)["last-generated-id"]
    except redis.ResponseError as e:
        if "no such key" in str(e):
            return "0-0"
        raise
    return str(found.decode() if isinstance(found, bytes) else found)


def _kept(path: Path) -> str:
    try:
        text = path.read_text().strip()
        _number(text)
    except (OSError, ValueError):
        return ""
    return text


def _number(position: str) -> tuple[int, int]:
    ms, _, seq = position.partition("-")
    return int(ms), int(seq)


def _why(error: redis.RedisError) -> str:
    if isinstance(error, redis.AuthenticationError):
        return "refused the user or password"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return "is away"
    return f"refused: {mask_secrets(str(error))[:200]}"
