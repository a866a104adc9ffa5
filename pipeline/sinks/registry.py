"""The table of label formats, and the sinks of one source made from it. A new format is a new row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.sinks.base import Sink
from everyframe.pipeline.sinks.coco import CocoSink
from everyframe.pipeline.sinks.csv import CsvSink
from everyframe.pipeline.sinks.jsonl import JsonlSink
from everyframe.pipeline.sinks.mot import MotSink
from everyframe.pipeline.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Format:
    """suffix: what follows the source's name in the file's name. make: (final path, source, class names) to a sink."""

    suffix: str
    make: Callable[[Path, SourceInfo, tuple[str, ...]], Sink]


def _video(path: Path, info: SourceInfo, names: tuple[str, ...]) -> Sink:
    from everyframe.pipeline.sinks.video import VideoSink  # PyAV and OpenCV, which no other sink needs

    return VideoSink(path, info, names)


FORMATS: dict[str, Format] = {
    "jsonl": Format(".labels.jsonl", lambda path, info, names: JsonlSink(path, names)),
    "mot": Format(".mot.txt", lambda path, info, names: MotSink(path)),
    "coco": Format(".coco.json", CocoSink),
    "csv": Format(".csv", lambda path, info, names: CsvSink(path, names)),
    "video": Format(".annotated.mp4", _video),
}


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """Where to publish. maxlen: about how many records a stream keeps, 0 for all. wait_s: how long to wait for it."""

    url: str
    maxlen: int = 1_000_000
    wait_s: float = 10.0


def make_sinks(
    formats: Sequence[str],
    out_dir: str | Path,
    info: SourceInfo,
    names: tuple[str, ...],
    stem: str | None = None,
    redis: RedisTarget | None = None,
) -> list[Sink]:
    """The sinks of one source, not yet open, files first.

    names: class names in the order of `class_id`. stem: the source's name in this run, which makes file names and the
    stream's key; default its own name. With Redis there is always a JSON Lines file: it keeps what Redis may miss.
    Raises UsageError: unknown format; RedisError: not a Redis URL.
    """
    stem = info.name if stem is None else stem
    if redis is not None and "jsonl" not in formats:
        formats = ("jsonl", *formats)
    sinks = []
    for name in dict.fromkeys(formats):
        if name not in FORMATS:
            raise UsageError(f"no label format {name!r}{did_you_mean(name, FORMATS)}")
        sinks.append(FORMATS[name].make(Path(out_dir) / (stem + FORMATS[name].suffix), info, names))
    if redis is not None:
        from everyframe.pipeline.sinks.redis import RedisSink

        sinks.append(RedisSink(redis.url, stem, names, redis.maxlen, redis.wait_s))
    return sinks
