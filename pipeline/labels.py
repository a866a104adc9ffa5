"""Reading labels back: from a JSON Lines file, a run's folder, a Redis server, or an embedded server's data."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from everyframe.pipeline.errors import SinkError, UsageError
from everyframe.pipeline.schema import Record, decode
from everyframe.pipeline.sinks.embedded import EmbeddedRedis, is_data_folder
from everyframe.pipeline.sinks.entries import stream_key
from everyframe.pipeline.sinks.files import PART
from everyframe.pipeline.suggest import did_you_mean

SUFFIX = ".labels.jsonl"
_POLL_S = 0.1
_BLOCK = 1 << 20
_LOG = logging.getLogger("everyframe")
_SINCE = re.compile(r"(?P<seconds>\d+(\.\d*)?|\.\d+)s|(?P<frame>\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Since:
    """Where to begin: at a time in seconds, at a frame, or (both None) at the start."""

    seconds: float | None = None
    frame: int | None = None

    @classmethod
    def parse(cls, text: str | None) -> Since:
        """From "12.5s" or "300". Raises UsageError."""
        if text is None:
            return cls()
        found = _SINCE.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"since: write a time as in 12.5s, or a frame number as in 300, not {text[:40]!r}")
        if found["frame"] is not None:
            return cls(frame=int(found["frame"]))
        return cls(seconds=float(found["seconds"]))

    def takes(self, record: Record) -> bool:
        if self.frame is not None:
            return record["frame_index"] >= self.frame
        return self.seconds is None or record["time_s"] >= self.seconds - 5e-7


def read_labels(
    where: str | Path, source: str | None = None, since: str | None = None, follow: bool = False
) -> Iterator[Record]:
    """Records in order, one source after the other.

    where: a .labels.jsonl file, the folder of a run, a redis:// or unix:// URL, or the data folder of an embedded
    server (started for the reading if it is not running). source: only this one. since: "12.5s" or "300", see `Since`.
    follow: waits for more. A file's end is reached when its run is over; a stream has none.
    Raises UsageError: no labels there, no such source; SinkError, RedisError: they cannot be read.
    """
    begin = Since.parse(since)
    text = str(where)
    if "://" in text:
        return _from_redis(text, source, begin, follow)
    path = Path(text)
    if path.is_dir():
        return _from_folder(path, source, begin, follow)
    if path.exists() or (follow and _unfinished(path)):
        return (r for r in _from_file(path, begin, follow) if source is None or r["source"] == source)
    hint = "; it is still being written: read it with --follow" if _unfinished(path) else ""
    raise UsageError(f"no labels at {path}{hint or ': name a .labels.jsonl file, the folder of a run, or a redis:// URL'}")


def _from_folder(folder: Path, source: str | None, since: Since, follow: bool) -> Iterator[Record]:
    finals = {path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")}
    if follow:
        finals |= {folder / _final_name(part) for part in folder.glob(f".*{SUFFIX}.*{PART}")}
    files = sorted(finals)
    if files:
        return _from_files(files, source, since, follow)
    for place in (folder, folder / "redis"):
        if is_data_folder(place):
            return _from_data(place, source, since, follow)
    raise UsageError(f"no labels in {folder}: it holds no {SUFFIX} file and no data of an embedded Redis")


def _from_files(files: list[Path], source: str | None, since: Since, follow: bool) -> Iterator[Record]:
    names = {path.name.removesuffix(SUFFIX): path for path in files}
    if source is not None:
        if source not in names:
            raise UsageError(f"no source {source!r} in {files[0].parent}{did_you_mean(source, names)}")
        files = [names[source]]
    return (record for path in files for record in _from_file(path, since, follow))


def _from_file(path: Path, since: Since, follow: bool) -> Iterator[Record]:
    for number, (line, is_whole) in enumerate(_lines(path, follow), 1):
        try:
            record = decode(line)
        except ValueError as e:
            if not is_whole and number > 1:
                _LOG.warning("%s: its last line is only half written, left out", path)
                return
            raise SinkError(f"{path}, line {number}: {e}; name a file that everyframe has written") from e
        if since.takes(record):
            yield record


def _lines(path: Path, follow: bool) -> Iterator[tuple[bytes, bool]]:
    """Lines, and whether their ends are there. Follows an unfinished file until it is renamed or removed."""
    try:
        place = path if path.exists() else _unfinished(path) or path
        with open(place, "rb") as file:
            rest = b""
            while True:
                is_over = not (follow and place.name.endswith(PART) and place.exists())
                block = file.read(_BLOCK)
                *whole, rest = (rest + block).split(b"\n")
                for line in whole:
                    yield line, True
                if not block and is_over:
                    break
                if not block:
                    time.sleep(_POLL_S)
            if rest:
                yield rest, False
    except OSError as e:
        raise SinkError(f"cannot read {path}: {e.strerror or e}; check the name and its permissions") from e


def _unfinished(path: Path) -> Path | None:
    """The file under which `path` is being written, if there is one."""
    parts = sorted(path.parent.glob(f".{_escaped(path.name)}.*{PART}"), key=lambda p: p.stat().st_mtime)
    return parts[-1] if parts else None


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _final_name(part: Path) -> str:
    return part.name[1:].removesuffix(PART).rpartition(".")[0]


def _from_data(folder: Path, source: str | None, since: Since, follow: bool) -> Iterator[Record]:
    """From an embedded server's data; a server that is not running is started, and ends with the reading."""
    with EmbeddedRedis(folder) as server:
        yield from _from_redis(server.url, source, since, follow, shown=str(folder))


def _from_redis(
    url: str, source: str | None, since: Since, follow: bool, shown: str | None = None
) -> Iterator[Record]:
    from everyframe.pipeline.sinks import redis

    connection = redis.Connection(url)
    shown = shown or connection.location
    keys = redis.list_sources(connection)
    if source is not None:
        wanted = source if source in keys else stream_key(source)
        if wanted not in keys and not follow:
            names = [key.removeprefix("everyframe:").removesuffix(":labels") for key in keys]
            raise UsageError(f"no source {source!r} in Redis at {shown}{did_you_mean(source, names)}")
        keys = [wanted]
    if follow:
        return redis.follow_streams(connection, [] if source is None else keys, since.seconds, since.frame)
    if not keys:
        raise UsageError(f"no labels in Redis at {shown}: publish some with everyframe run VIDEO --redis URL")
    return (r for key in keys for r in redis.read_stream(connection, key, since.seconds, since.frame))
