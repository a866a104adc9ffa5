"""What is done and what is not: SQLite in DIR/.everyframe, with a checksum of every file. What it says is on the disk.

WAL with synchronous=FULL: a transaction that has returned survives the loss of power. Files are synced and have their final
names before the journal speaks of them, so that nothing it speaks of is missing, and what it doesn't speak of is done again.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import orjson

from everyframe.pipeline.archive.packed import stats_of, stats_text
from everyframe.pipeline.archive.plan import settings_of, settings_text
from everyframe.pipeline.archive.types import (
    Made,
    ShardKey,
    ShardOutcome,
    SourcePlan,
    SourceSpec,
    WrittenFile,
)
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import SinkError, UsageError
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.shards import Shard

FOLDER = ".everyframe"
VERSION = "2"
_META = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, camera TEXT NOT NULL, name TEXT NOT NULL UNIQUE, start TEXT,
    fingerprint TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'new', reason TEXT NOT NULL DEFAULT '',
    retries INTEGER NOT NULL DEFAULT 0, settings TEXT, width INTEGER NOT NULL DEFAULT 0, height INTEGER NOT NULL DEFAULT 0,
    codec TEXT NOT NULL DEFAULT '', rate REAL NOT NULL DEFAULT 0, frames INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0, stats TEXT, origins TEXT);
CREATE INDEX IF NOT EXISTS by_status ON sources (status);
CREATE TABLE IF NOT EXISTS shards (
    source INTEGER NOT NULL, idx INTEGER NOT NULL, start_pts INTEGER, end_pts INTEGER, frames INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'todo', sha256 TEXT, reason TEXT NOT NULL DEFAULT '', stats TEXT,
    pack INTEGER, start INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (source, idx)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_pack ON shards (pack);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, source INTEGER NOT NULL, kind TEXT NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
    sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_source ON files (source);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A source in the journal. status: new, planned, done, broken or failed. frames: planned, then labelled."""

    id: int
    path: str
    camera: str
    name: str
    start: datetime | None
    fingerprint: str
    status: str
    reason: str
    retries: int
    width: int
    height: int
    codec: str
    rate: float
    frames: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a shard lie: in which pack, from where, how many, and their sha256 in hex."""

    pack: int
    start: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A shard in the journal. status: todo, done or broken. place: None where it is not done, or has become files."""

    shard: Shard
    status: str
    reason: str
    place: Place | None


_ENTRY = "id, path, camera, name, start, fingerprint, status, reason, retries, width, height, codec, rate, frames, seconds"


class Journal:
    """The journal of one folder, for one process at a time. Raises SinkError where it cannot be written, UsageError where
    another process has it, or where there is none and `create` is false."""

    def __init__(self, out: Path, create: bool = True) -> None:
        self.folder = out / FOLDER
        path = self.folder / "journal.sqlite"
        if not create and not path.exists():
            raise UsageError(f"{out} holds no archive: name the folder that everyframe batch --out wrote")
        with _translated(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / "lock", "a")  # noqa: SIM115  (held until close)
            self._take_lock(out)
            self._db = sqlite3.connect(path, isolation_level=None)
            for line in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-16000"):
                self._db.execute(f"PRAGMA {line}")
            self._db.execute(_META)
            if self.meta("version", VERSION) != VERSION:
                raise UsageError(f"{out} was written by another version of everyframe: name another folder with --out")
            self._db.executescript(_SCHEMA)
        self._path = path

    def _take_lock(self, out: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            self._lock.close()
            raise UsageError(f"another everyframe is at work in {out}: wait for it, or name another folder with --out") from e

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on the disk when it returns."""
        with _translated(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def meta(self, key: str, default: str = "") -> str:
        found = self._all("SELECT value FROM meta WHERE key = ?", (key,))
        return str(found[0][0]) if found else default

    def set_meta(self, **values: str) -> None:
        with self.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def known(self) -> dict[str, Entry]:
        """Sources by path."""
        return {entry.path: entry for entry in self.entries()}

    def entries(self, *statuses: str) -> list[Entry]:
        """Sources in the order they came, of these states or of all."""
        marks = ",".join("?" * len(statuses))
        where = f"WHERE status IN ({marks})" if statuses else ""
        return [_entry(row) for row in self._all(f"SELECT {_ENTRY} FROM sources {where} ORDER BY id", statuses)]

    def add(self, found: Iterable[tuple[SourceSpec, str, str]]) -> None:
        """New sources: (spec, name, fingerprint)."""
        rows = [(s.path, s.camera, name, s.start.isoformat() if s.start else None, mark) for s, name, mark in found]
        with self.transaction() as db:
            db.executemany("INSERT INTO sources (path, camera, name, start, fingerprint) VALUES (?, ?, ?, ?, ?)", rows)

    def renew(self, source: int, fingerprint: str | None = None) -> None:
        """Forgets all of a source but its name. fingerprint: as it is now; None keeps the old one."""
        with self.transaction() as db:
            db.execute("DELETE FROM shards WHERE source = ?", (source,))
            db.execute("DELETE FROM files WHERE source = ?", (source,))
            db.execute(
                "UPDATE sources SET status = 'new', reason = '', retries = 0, settings = NULL, frames = 0, stats = NULL, "
                "fingerprint = COALESCE(?, fingerprint) WHERE id = ?",
                (fingerprint, source),
            )

    def retry(self, source: int, fingerprint: str) -> None:
        """A source that failed is tried again; shards that were done stay."""
        with self.transaction() as db:
            planned = db.execute("SELECT COUNT(*) FROM shards WHERE source = ?", (source,)).fetchone()[0]
            state = "planned" if planned else "new"
            db.execute(
                "UPDATE sources SET status = ?, reason = '', fingerprint = ? WHERE id = ?", (state, fingerprint, source)
            )

    def plan(self, plans: Sequence[tuple[int, SourcePlan]]) -> None:
        with self.transaction() as db:
            for source, plan in plans:
                seconds = plan.frames / plan.rate if plan.rate > 0 else 0.0
                db.execute(
                    "UPDATE sources SET status = 'planned', settings = ?, width = ?, height = ?, codec = ?, rate = ?, "
                    "frames = ?, seconds = ? WHERE id = ?",
                    (settings_text(plan.settings), plan.width, plan.height, plan.codec, plan.rate, plan.frames, seconds, source),
                )
                db.executemany(
                    "INSERT INTO shards (source, idx, start_pts, end_pts, frames) VALUES (?, ?, ?, ?, ?)",
                    [(source, s.index, s.start_pts, s.end_pts, s.frames_estimate) for s in plan.shards],
                )

    def settings(self, source: int) -> LabelSettings:
        """That the shards of a planned source are labelled with."""
        return settings_of(self._all("SELECT settings FROM sources WHERE id = ?", (source,))[0][0])

    def set_settings(self, changed: Iterable[tuple[int, LabelSettings]]) -> None:
        with self.transaction() as db:
            rows = [(settings_text(settings), source) for source, settings in changed]
            db.executemany("UPDATE sources SET settings = ? WHERE id = ?", rows)

    def shards(self, source: int) -> list[ShardRow]:
        query = (
            "SELECT idx, start_pts, end_pts, frames, status, reason, pack, start, size, sha256 FROM shards WHERE source = ? "
            "ORDER BY idx"
        )
        return [
            ShardRow(Shard(*row[:4]), row[4], row[5], None if row[6] is None else Place(*row[6:]))
            for row in self._all(query, (source,))
        ]

    def last_pack(self) -> int:
        """The highest number of a pack that is spoken of, 0 where there is none."""
        return int(self._all("SELECT COALESCE(MAX(pack), 0) FROM shards", ())[0][0])

    def packs(self) -> set[int]:
        """That are spoken of."""
        return {row[0] for row in self._all("SELECT DISTINCT pack FROM shards WHERE pack IS NOT NULL", ())}

    def commit(self, outcomes: Sequence[tuple[ShardOutcome, Place]]) -> None:
        """Shards that are on the disk."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE shards SET status = ?, pack = ?, start = ?, size = ?, sha256 = ?, reason = ?, stats = ? "
                "WHERE source = ? AND idx = ?",
                [
                    (o.state, p.pack, p.start, p.size, p.sha256, o.reason, stats_text(o.stats), o.key.source, o.key.index)
                    for o, p in outcomes
                ],
            )

    def forget(self, key: ShardKey) -> None:
        """A shard whose bytes are not what they were is done again."""
        with self.transaction() as db:
            db.execute(
                "UPDATE shards SET status = 'todo', pack = NULL, sha256 = NULL, reason = '' WHERE source = ? AND idx = ?",
                (key.source, key.index),
            )

    def fail(self, source: int, reason: str) -> None:
        with self.transaction() as db:
            db.execute("UPDATE sources SET status = 'failed', reason = ? WHERE id = ?", (reason, source))

    def count_retry(self, source: int) -> None:
        with self.transaction() as db:
            db.execute("UPDATE sources SET retries = retries + 1 WHERE id = ?", (source,))

    def shard_stats(self, source: int) -> RunStats:
        """Counts and CPU of a source's shards so far."""
        total = RunStats()
        for (text,) in self._all("SELECT stats FROM shards WHERE source = ? AND stats IS NOT NULL ORDER BY idx", (source,)):
            total.add(stats_of(text))
        return total

    def finish(self, sources: Sequence[tuple[Entry, Made, str]]) -> set[int]:
        """Sources whose files are on the disk: (entry, files, why it ends early or ""). Returns packs that are no longer needed."""
        stats = {entry.id: stats_text(self.shard_stats(entry.id)) for entry, _, _ in sources}
        with self.transaction() as db:
            freed = set[int]()
            for entry, made, reason in sources:
                db.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                    [(f.path, entry.id, kind, f.rows, f.size, f.sha256) for kind, f in made.files],
                )
                state, origins = "broken" if reason else "done", orjson.dumps(made.origins).decode()
                db.execute(
                    "UPDATE sources SET status = ?, reason = ?, frames = ?, seconds = ?, stats = ?, origins = ? WHERE id = ?",
                    (state, reason, made.frames, made.seconds, stats[entry.id], origins, entry.id),
                )
                packs = db.execute("SELECT DISTINCT pack FROM shards WHERE source = ? AND pack IS NOT NULL", (entry.id,))
                freed |= {row[0] for row in packs.fetchall()}
                db.execute("UPDATE shards SET pack = NULL WHERE source = ?", (entry.id,))
            return {p for p in freed if not db.execute("SELECT 1 FROM shards WHERE pack = ? LIMIT 1", (p,)).fetchone()}

    def files(self, source: int | None = None) -> list[tuple[str, WrittenFile]]:
        """(kind, file) of one source or of all."""
        where, values = ("", ()) if source is None else ("WHERE source = ?", (source,))
        rows = self._all(f"SELECT kind, path, rows, sha256, size FROM files {where} ORDER BY path", values)
        return [(row[0], WrittenFile(*row[1:])) for row in rows]

    def finished_stats(self) -> dict[int, tuple[RunStats, dict[str, int]]]:
        """Of sources that are done: counts and CPU, and frames by origin."""
        rows = self._all("SELECT id, stats, origins FROM sources WHERE stats IS NOT NULL ORDER BY id", ())
        return {row[0]: (stats_of(row[1]), orjson.loads(row[2] or "{}")) for row in rows}

    def all_settings(self) -> dict[str, int]:
        """How many sources were planned with which settings, prices and price of error aside."""
        rows = self._all("SELECT settings FROM sources WHERE settings IS NOT NULL", ())
        counts: dict[str, int] = {}
        for (text,) in rows:
            values = orjson.loads(text)
            values.pop("prices", None)
            values["policy"] = str(values["policy"]).split(":")[0]
            key = orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()
            counts[key] = counts.get(key, 0) + 1
        return counts

    def _all(self, query: str, values: Sequence[Any]) -> list[Any]:
        with _translated(self.folder):
            return self._db.execute(query, tuple(values)).fetchall()


def _entry(row: Sequence[Any]) -> Entry:
    values = list(row)
    values[4] = datetime.fromisoformat(values[4]) if values[4] else None
    return Entry(*values)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    from everyframe.pipeline.sinks.files import write_error

    try:
        yield
    except sqlite3.DatabaseError as e:
        full = "full" in str(e) or "I/O" in str(e)
        what = "the disk is full: free some space and run again" if full else f"{e}: copy the folder back, or use another --out"
        raise SinkError(f"cannot use the journal {path}: {what}") from e
    except OSError as e:
        raise write_error(path, e) from e


def pack_file(folder: Path, number: int) -> Path:
    """Where the bytes of shards that came in together lie, until their sources are done."""
    return folder / "shards" / f"{number:08d}.shard"
