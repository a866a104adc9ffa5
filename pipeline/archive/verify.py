"""Proves that an archive is whole: one record for every frame of every source, in order, files as they were written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from everyframe.pipeline.archive.journal import Entry, Journal
from everyframe.pipeline.archive.plan import is_same
from everyframe.pipeline.archive.types import WrittenFile
from everyframe.pipeline.errors import SourceBroken, SourceError, mask_secrets
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import scan

_TABLES = ("labels", "costs")


@dataclass(slots=True)
class Verdict:
    """What was looked at, and what is not so, in sentences. unchecked: sources that are no longer there to be counted."""

    sources: int = 0
    files: int = 0
    frames: int = 0
    unchecked: int = 0
    problems: list[str] = field(default_factory=list)


def verify(out: Path, count_frames: bool = True) -> Verdict:
    """Looks at everything in an archive's folder. count_frames: reads the packets of every source that is still there, to know
    how many frames it has; it is decoded only where these are not as many as the records. Raises UsageError where there is no archive, or one that is being written."""
    verdict = Verdict()
    with Journal(out, create=False) as journal:
        for entry in journal.entries():
            verdict.sources += 1
            verdict.problems += _source(out, journal, entry, verdict, count_frames)
        _strangers(out, journal, verdict)
        kinds = journal.all_settings()
        if len(kinds) > 1:
            verdict.problems.append(f"sources were labelled with {len(kinds)} different settings")
    return verdict


def _source(out: Path, journal: Journal, entry: Entry, verdict: Verdict, count_frames: bool) -> list[str]:
    name = mask_secrets(entry.path)
    if entry.status not in ("done", "broken"):
        return [f"{name}: not labelled ({entry.reason or 'its run was not brought to an end'})"]
    problems = []
    if entry.status == "broken":
        problems.append(f"{name}: labelled up to a break only ({entry.reason})")
    indices = []
    for kind, file in journal.files(entry.id):
        verdict.files += 1
        problem = _file(out, file)
        if problem:
            problems.append(problem)
        elif kind == "labels":
            indices.append(pq.read_table(out / file.path, columns=["frame_index"], partitioning=None).column(0).to_numpy())
    found = np.sort(np.concatenate(indices)) if len(indices) > 1 else indices[0] if indices else np.zeros(0, np.int32)
    verdict.frames += len(found)
    if len(found) != entry.frames or not np.array_equal(found, np.arange(len(found))):
        problems.append(f"{name}: {_gaps(found, entry.frames)}")
    for part in indices:
        if (np.diff(part) <= 0).any():
            problems.append(f"{name}: its records are not in order")
    return problems + _against_source(entry, name, journal, verdict, count_frames)


def _against_source(entry: Entry, name: str, journal: Journal, verdict: Verdict, count_frames: bool) -> list[str]:
    if not is_same(entry.path, entry.fingerprint):
        return [f"{name}: the source has changed since it was labelled"]
    if not count_frames or entry.status != "done":
        return []
    limit = journal.settings(entry.id).limit
    try:
        expected = _within(scan(entry.path).frames, limit)
        if expected != entry.frames:  # packets that give no picture, as where a recording begins inside a group of pictures
            expected = _within(_decoded(entry.path), limit)
    except (SourceError, SourceBroken):
        verdict.unchecked += 1
        return []
    return [] if expected == entry.frames else [f"{name}: has {expected} frames, and {entry.frames} records"]


def _within(frames: int, limit: int | None) -> int:
    return frames if limit is None else min(frames, limit)


def _decoded(path: str) -> int:
    """Frames that a full decode gives. Raises SourceError or SourceBroken."""
    with FileSource(path) as source:
        decoder = Decoder(source, vectors=False)
        return sum(len(decoder.push(packet, True)) for packet in source.packets()) + len(decoder.finish())


def _gaps(found: np.ndarray, frames: int) -> str:
    missing = np.setdiff1d(np.arange(frames), found)
    doubled = len(found) - len(np.unique(found))
    if len(missing):
        return f"{len(missing)} of {frames} frames have no record, the first is frame {missing[0]}"
    return f"{doubled} frames have more than one record" if doubled else f"{len(found)} records for {frames} frames"


def _file(out: Path, file: WrittenFile) -> str:
    path = out / file.path
    try:
        with open(path, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{file.path}: is missing"
    except OSError as e:
        return f"{file.path}: cannot be read ({e.strerror})"
    return "" if digest == file.sha256 else f"{file.path}: its checksum is not that of the file which was written"


def _strangers(out: Path, journal: Journal, verdict: Verdict) -> None:
    """Tables that a query would read and no source has."""
    known = {file.path for _, file in journal.files()}
    for folder in _TABLES:
        for path in sorted((out / folder).rglob("*.parquet")):
            relative = path.relative_to(out).as_posix()
            if relative not in known and not path.name.startswith("."):
                verdict.problems.append(f"{relative}: belongs to no source")
