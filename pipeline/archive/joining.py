"""The shards of a source into its final files: labels joined through, tables and other formats written. Under every engine."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

from everyframe.pipeline.archive.journal import Entry
from everyframe.pipeline.archive.packed import unpack
from everyframe.pipeline.archive.tables import file_name, write_tables
from everyframe.pipeline.archive.types import Made, WrittenFile
from everyframe.pipeline.labelling.stitch import Stitcher
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.schema import ORIGINS
from everyframe.pipeline.sinks.base import Sink
from everyframe.pipeline.sinks.registry import FORMATS, RedisTarget, make_sinks

CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Form:
    """How the sources of an archive are written. names: of the classes, in the order of `class_id`. formats: beside Parquet, by
    the names of `sinks.registry`. limit: frames of each source, None for all."""

    names: tuple[str, ...]
    formats: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """A source whose shards are all there, for a worker. shards: bytes of each, in order."""

    entry: Entry
    form: Form
    shards: tuple[bytes, ...]


def join_here(
    out: Path, entry: Entry, form: Form, shards: Callable[[], Iterable[bytes]], redis: RedisTarget | None = None
) -> Made:
    """Writes the files of a source below `out`, each whole. shards: gives them from the first, as often as it is called; one at a
    time is in memory. Raises SinkError, and whatever `shards` raises."""
    counted = Counted()
    labels = counted.through(_labels(entry, shards(), form.limit))
    tables = write_tables(out, entry.camera, entry.name, entry.start, labels, form.names)
    files = [("labels", f) for f in tables[0]] + [("costs", f) for f in tables[1]]
    for sink in _sinks(out, entry, form, redis):
        with sink:
            records = _labels(entry, shards(), form.limit)
            while chunk := list(islice(records, CHUNK)):
                sink.write([replace(record, cost_ms={}) for record in chunk])
        path = Path(sink.location)
        if path.is_file():
            files.append((_kind(path), _written(path, counted.frames)))
    found = tuple((kind, replace(f, path=os.path.relpath(f.path, out))) for kind, f in files)
    return Made(counted.frames, counted.seconds(entry.rate), counted.origins, found)


def join_elsewhere(join: Join) -> Made:
    """The same files as bytes, to be sent to where the archive is."""
    with tempfile.TemporaryDirectory(prefix="everyframe-join-") as folder:
        made = join_here(Path(folder), join.entry, join.form, lambda: join.shards)
        return replace(made, data=tuple((Path(folder) / file.path).read_bytes() for _, file in made.files))


def _labels(entry: Entry, shards: Iterable[bytes], limit: int | None) -> Iterator[FrameLabels]:
    """The source's records in order, frames and tracks numbered through."""
    stitcher = Stitcher(entry.name)
    for data in shards:
        labels, last = unpack(data)
        stitcher.begin_shard()
        for record in stitcher.stitch(labels):
            if limit is None or record.frame_index < limit:
                yield record
        stitcher.end_shard(last)


def _sinks(out: Path, entry: Entry, form: Form, redis: RedisTarget | None) -> list[Sink]:
    rate = Fraction(entry.rate).limit_denominator(1001)
    info = SourceInfo(
        entry.name, entry.path, entry.codec, entry.width, entry.height, 0, Fraction(1, 90000), rate, entry.frames, None
    )
    sinks: list[Sink] = []
    if form.formats:
        sinks += make_sinks(form.formats, out / "files", info, form.names, stem=file_name(entry.name))
    if redis is not None:  # alone it would bring a JSON Lines file along, which Parquet makes needless here
        sinks += make_sinks((), out / "files", info, form.names, stem=entry.name, redis=redis)[-1:]
    return sinks


class Counted:
    """What passes through, counted."""

    def __init__(self) -> None:
        self.frames = 0
        self.origins: dict[str, int] = {}
        self._first = self._last = 0.0

    def through(self, labels: Iterator[FrameLabels]) -> Iterator[FrameLabels]:
        for record in labels:
            self._first = record.time_s if self.frames == 0 else self._first
            self._last = record.time_s
            self.frames += 1
            origin = ORIGINS[record.origin]
            self.origins[origin] = self.origins.get(origin, 0) + 1
            yield record

    def seconds(self, rate: float) -> float:
        """Of media: from the first frame to the end of the last."""
        span = self._last - self._first
        each = 1 / rate if rate > 0 else 0.0
        return round(span + each if span >= 0 and self.frames else self.frames * each, 6)


def _kind(path: Path) -> str:
    return next((name for name, form in FORMATS.items() if path.name.endswith(form.suffix)), "file")


def _written(path: Path, rows: int) -> WrittenFile:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenFile(str(path), rows, digest, path.stat().st_size)
