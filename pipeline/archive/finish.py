"""Shards onto the disk, and a source whose shards are all there into its final files: each once, each whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import orjson

from everyframe.pipeline.archive.journal import Entry, Journal, ShardRow, shard_file
from everyframe.pipeline.archive.packed import unpack
from everyframe.pipeline.archive.plan import is_same
from everyframe.pipeline.archive.tables import file_name, write_costs, write_labels
from everyframe.pipeline.archive.types import ShardKey, ShardOutcome, WrittenFile
from everyframe.pipeline.errors import SourceError, mask_secrets
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.schema import ORIGINS
from everyframe.pipeline.sinks.base import Sink
from everyframe.pipeline.sinks.files import PART, write_whole
from everyframe.pipeline.sinks.registry import FORMATS, RedisTarget, make_sinks
from everyframe.pipeline.stitch import Stitcher

CHUNK = 1024


class ShardLost(Exception):
    """A shard's file is not what the journal says; the shard has to be done again."""

    def __init__(self, key: ShardKey) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True)
class Finisher:
    """out: the archive's folder. names: of the classes, in the order of `class_id`. formats: beside Parquet, by the names of
    `sinks.registry`. limit: frames of each source, None for all."""

    out: Path
    journal: Journal
    names: tuple[str, ...]
    formats: tuple[str, ...] = ()
    redis: RedisTarget | None = None
    limit: int | None = None

    def keep(self, outcomes: Sequence[ShardOutcome]) -> None:
        """Writes shards, then enters them in the journal in one transaction. Raises SinkError."""
        entered = []
        for outcome in outcomes:
            write_whole(shard_file(self.journal.folder, outcome.key), outcome.data)
            entered.append((outcome, hashlib.sha256(outcome.data).hexdigest()))
        self.journal.commit(entered)

    def finish(self, entry: Entry, rows: Sequence[ShardRow]) -> None:
        """Joins the shards of a source, writes its files and enters them; then its shards are removed. rows: all of its shards, or
        those up to the one that it breaks in. Raises SinkError, ShardLost, SourceError where the source has changed."""
        if not is_same(entry.path, entry.fingerprint):
            raise SourceError(f"{mask_secrets(entry.path)} changed while it was labelled: give --redo to label it again.")
        counted = _Counted()
        files = self._tables(entry, rows, counted)
        files += self._others(entry, rows)
        relative = [(kind, replace(f, path=os.path.relpath(f.path, self.out))) for kind, f in files]
        reason = next((row.reason for row in rows if row.status == "broken"), "")
        if counted.frames == 0 and not reason:
            reason = f"{mask_secrets(entry.path)} has no frames: record or copy it again."
        self.journal.finish(entry, counted.frames, counted.seconds(entry.rate), reason, relative, counted.origins)
        self.clear(entry.id)

    def _tables(self, entry: Entry, rows: Sequence[ShardRow], counted: _Counted) -> list[tuple[str, WrittenFile]]:
        labels = counted.through(self._labels(entry, rows))
        written = write_labels(self.out, entry.camera, entry.name, entry.start, labels, self.names)
        costs = write_costs(self.out, entry.camera, entry.name, entry.start, self._labels(entry, rows))
        return [("labels", f) for f in written] + [("costs", f) for f in costs]

    def _others(self, entry: Entry, rows: Sequence[ShardRow]) -> list[tuple[str, WrittenFile]]:
        files = []
        rate = Fraction(entry.rate).limit_denominator(1001)
        info = SourceInfo(
            entry.name, entry.path, entry.codec, entry.width, entry.height, 0, Fraction(1, 90000), rate, entry.frames, None
        )
        for sink in self._sinks(entry, info):
            with sink:
                for chunk in _chunks(self._labels(entry, rows), CHUNK):
                    sink.write([replace(record, cost_ms={}) for record in chunk])
            path = Path(sink.location)
            if path.is_file():
                files.append((_kind(path), _written(path, entry.frames)))
        return files

    def _sinks(self, entry: Entry, info: SourceInfo) -> list[Sink]:
        # Redis alone would bring a JSON Lines file along, which Parquet makes needless here.
        sinks = make_sinks(self.formats, self.out / "files", info, self.names, stem=file_name(entry.name)) if self.formats else []
        if self.redis is not None:
            sinks += make_sinks((), self.out / "files", info, self.names, stem=entry.name, redis=self.redis)[-1:]
        return sinks

    def _labels(self, entry: Entry, rows: Sequence[ShardRow]) -> Iterator[FrameLabels]:
        """The source's records in order, frames and tracks numbered through. One shard at a time is in memory."""
        stitcher = Stitcher()
        for row in rows:
            key = ShardKey(entry.id, row.shard.index)
            labels, last = unpack(read_checked(shard_file(self.journal.folder, key), key, row.sha256))
            stitcher.begin_shard()
            for record in stitcher.stitch(labels):
                if self.limit is None or record.frame_index < self.limit:
                    yield replace(record, source=entry.name)
            stitcher.end_shard(last)

    def clear(self, source: int) -> None:
        """Removes the shards of a source that is done, or is to be done again."""
        shutil.rmtree(shard_file(self.journal.folder, ShardKey(source, 0)).parent, ignore_errors=True)

    def remove(self, source: int) -> None:
        """Removes all files of a source that is to be done again; the journal forgets them next."""
        for _, file in self.journal.files(source):
            (self.out / file.path).unlink(missing_ok=True)
        self.clear(source)


class _Counted:
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


def read_checked(path: Path, key: ShardKey, sha256: str | None) -> bytes:
    """A shard's bytes. Raises ShardLost where they are not those of the journal."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise ShardLost(key) from e
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ShardLost(key)
    return data


def remove_parts(out: Path) -> None:
    """Removes unfinished files that a killed run has left."""
    for folder in (out / "labels", out / "costs", out / "files", out / ".everyframe" / "shards"):
        for path in folder.rglob(f".*{PART}"):
            path.unlink(missing_ok=True)


def _chunks(labels: Iterator[FrameLabels], size: int) -> Iterator[list[FrameLabels]]:
    chunk: list[FrameLabels] = []
    for record in labels:
        chunk.append(record)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _kind(path: Path) -> str:
    return next((name for name, form in FORMATS.items() if path.name.endswith(form.suffix)), "file")


def _written(path: Path, rows: int) -> WrittenFile:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenFile(str(path), rows, digest, path.stat().st_size)


def write_json(path: Path, value: object) -> None:
    """A JSON file, indented, in one step. Raises SinkError."""
    write_whole(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n")


