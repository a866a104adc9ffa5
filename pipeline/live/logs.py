"""What `everyframe watch` says while it runs: plain lines, or one JSON object an event with `--log-json`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import orjson

from everyframe.pipeline.errors import mask_secrets

LOGGER = "everyframe"
_MOST = 8000  # characters of one text: a line that never ends would fill a disk


def log_event(
    event: str, message: str, camera: str | None = None, level: int = logging.INFO, **fields: Any
) -> None:
    """One event of a live run. event: a short name that stays the same, for programs. message: a sentence, for people.
    fields: what the sentence tells in numbers; plain values."""
    extra = {"event": event, "camera": camera, "fields": fields}
    logging.getLogger(LOGGER).log(level, message, extra=extra)


def use_logs(as_json: bool = False, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Sends everyframe's log to stderr (or `stream`), in place of what handled it before."""
    logger = logging.getLogger(LOGGER)
    handler = Lines(stream)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)


class Lines(logging.Handler):
    """Whole lines to what is stderr at the time: a table stands in for it while it is drawn. A reader that has gone costs
    the line, nothing else."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = self._stream or sys.stderr
            stream.write(self.format(record) + "\n")
            stream.flush()
        except (OSError, ValueError):
            pass


class PlainFormatter(logging.Formatter):
    """`camera: message`, as one line."""

    def format(self, record: logging.LogRecord) -> str:
        camera = getattr(record, "camera", None)
        text = f"{camera}: {record.getMessage()}" if camera else record.getMessage()
        return mask_secrets(" ".join(text.split()))


class JsonFormatter(logging.Formatter):
    """One JSON object: time (UTC, RFC 3339), level, event, camera, message, and the event's fields beside them.

    Secrets are masked in every text before it is quoted: afterwards a quote, then written as two characters, could
    hide their end, or lose its backslash with them.
    """

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head: dict[str, Any] = {
            "time": f"{stamp}.{int(record.created % 1 * 1000):03d}Z",
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None) or "log",
        }
        if (camera := getattr(record, "camera", None)) is not None:
            head["camera"] = camera
        head["message"] = record.getMessage()
        if record.exc_info:
            head["traceback"] = self.formatException(record.exc_info)
        fields = getattr(record, "fields", None) or {}
        return _dumped(head | {k: v for k, v in fields.items() if k not in head})


def _dumped(line: dict[str, Any]) -> str:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
    try:
        return orjson.dumps(_masked(line), default=lambda value: _masked(str(value)), option=options).decode()
    except TypeError:  # whole numbers beyond 64 bits, nested too deep: said as text
        return orjson.dumps({key: _masked(str(value)) for key, value in line.items()}).decode()


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        # bytes of a file name that are no text must not cost the line
        return mask_secrets(value[:_MOST].encode("utf-8", "replace").decode())
    if isinstance(value, Mapping):
        return {_masked(str(key)): _masked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner) for inner in value]
    return value
