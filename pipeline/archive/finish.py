"""Shards onto the disk, and a source whose shards are all there into its final files: each once, each whole, many at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from everyframe.pipeline.archive.joining import Form, Join, join_here
from everyframe.pipeline.archive.journal import Entry, Journal, Place, ShardRow, pack_file
from everyframe.pipeline.archive.plan import is_same
from everyframe.pipeline.archive.types import Made, ShardKey, ShardOutcome
from everyframe.pipeline.errors import SourceError, mask_secrets
from everyframe.pipeline.sinks.files import PART, write_all, write_whole
from everyframe.pipeline.sinks.registry import RedisTarget

ELSEWHERE_BYTES = 32 << 20
"""Of a source's shards: what is more is not sent to a worker, but joined here, a shard at a time."""


class ShardLost(Exception):
    """A shard's bytes are not what the journal says; the shard has to be done again."""

    def __init__(self, key: ShardKey) -> None:
        super().__init__(key)
        self.key = key


@dataclass(slots=True)
class Finisher:
    """out: the archive's folder. form: of its files. redis: where labels are published as well, in order, by the driver."""

    out: Path
    journal: Journal
    form: Form
    redis: RedisTarget | None = None
    _pack: int = field(default=-1, init=False)

    def keep(self, outcomes: Sequence[ShardOutcome]) -> None:
        """Writes shards into one file, then enters them in the journal in one transaction. Raises SinkError."""
        self._pack = (self.journal.last_pack() if self._pack < 0 else self._pack) + 1
        write_whole(pack_file(self.journal.folder, self._pack), b"".join(o.data for o in outcomes))
        entered, start = [], 0
        for outcome in outcomes:
            size = len(outcome.data)
            entered.append((outcome, Place(self._pack, start, size, hashlib.sha256(outcome.data).hexdigest())))
            start += size
        self.journal.commit(entered)

    def join(self, entry: Entry, rows: Sequence[ShardRow]) -> Join | Made:
        """A source whose shards are all there, for a worker; or its files, where it is too long to be sent, or published. rows: all
        of its shards, or those up to the one that it breaks in. Raises SinkError, ShardLost, SourceError where the source has
        changed."""
        if not is_same(entry.path, entry.fingerprint):
            raise SourceError(f"{mask_secrets(entry.path)} changed while it was labelled: give --redo to label it again.")
        size = sum(row.place.size for row in rows if row.place is not None)
        if self.redis is None and size <= ELSEWHERE_BYTES:
            return Join(entry, self.form, tuple(self._shards(entry, rows)))
        return join_here(self.out, entry, self.form, lambda: self._shards(entry, rows), self.redis)

    def enter(self, sources: Sequence[tuple[Entry, Made, str]]) -> None:
        """Writes what workers have made, enters sources as done, then removes their shards. Each is (entry, files, why it ends early
        or ""). Raises SinkError."""
        files = [
            (self.out / file.path, data)
            for _, made, _ in sources
            for (_, file), data in zip(made.files, made.data, strict=bool(made.data))
        ]
        write_all(files)
        for pack in self.journal.finish(sources):
            pack_file(self.journal.folder, pack).unlink(missing_ok=True)

    def _shards(self, entry: Entry, rows: Sequence[ShardRow]) -> Iterator[bytes]:
        for row in rows:
            yield read_checked(self.journal.folder, ShardKey(entry.id, row.shard.index), row.place)

    def remove(self, source: int) -> None:
        """Removes all files of a source that is to be done again; the journal forgets them next."""
        for _, file in self.journal.files(source):
            (self.out / file.path).unlink(missing_ok=True)


def why_short(entry: Entry, made: Made, rows: Sequence[ShardRow]) -> str:
    """Why a source ends early, in a sentence; empty where it does not."""
    reason = next((row.reason for row in rows if row.status == "broken"), "")
    if made.frames == 0 and not reason:
        return f"{mask_secrets(entry.path)} has no frames: record or copy it again."
    return reason


def read_checked(folder: Path, key: ShardKey, place: Place | None) -> bytes:
    """A shard's bytes. Raises ShardLost where they are not those of the journal."""
    if place is None:
        raise ShardLost(key)
    try:
        with open(pack_file(folder, place.pack), "rb") as file:
            file.seek(place.start)
            data = file.read(place.size)
    except OSError as e:
        raise ShardLost(key) from e
    if hashlib.sha256(data).hexdigest() != place.sha256:
        raise ShardLost(key)
    return data


def remove_remains(out: Path, journal: Journal) -> None:
    """Removes what a killed run has left: unfinished files, and packs of shards that the journal doesn't speak of."""
    for folder in (out / "labels", out / "costs", out / "files", journal.folder / "shards"):
        for path in folder.rglob(f".*{PART}"):
            path.unlink(missing_ok=True)
    known = {pack_file(journal.folder, pack) for pack in journal.packs()}
    for path in (journal.folder / "shards").glob("*.shard"):
        if path not in known:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """A JSON file, indented, in one step. Raises SinkError."""
    write_whole(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n")
