"""Finds moments in an archive's labels and cuts them out of the sources."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from everyframe.pipeline.archive.query import Archive, QueryError, rows_of
from everyframe.pipeline.archive.tables import file_name
from everyframe.pipeline.errors import EveryframeError, UsageError, mask_secrets
from everyframe.pipeline.sinks.files import whole
from everyframe.pipeline.sources.clipping import cut
from everyframe.pipeline.sources.remote import is_remote

MANIFEST = "clips.csv"
_HEADS = ("clip", "camera", "source", "path", "asked_start_s", "asked_end_s", "start_s", "end_s", "frames", "matches", "trouble")


@dataclass(frozen=True, slots=True)
class Moment:
    """A span of one source in which frames match, padding included. matches: how many."""

    camera: str
    source: str
    start_s: float
    end_s: float
    matches: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What became of a moment. clip: the file, empty where there is none; trouble: why, in one sentence.
    start_s, end_s: what the clip shows, in the source's time: it begins with the key frame before the moment."""

    moment: Moment
    path: str
    clip: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    frames: int = 0
    trouble: str = ""


def find(archive: Archive, where: str, gap_s: float = 2.0, pad_s: float = 1.0) -> list[Moment]:
    """Spans of frames with an object of which `where` is true: SQL over the columns of the view objects.

    Frames at most gap_s apart are one moment; pad_s is added at both ends. Sorted by camera, source and time. Raises QueryError.
    """
    if ";" in where:
        raise QueryError("--where: write one condition, without a semicolon.")
    # a line of its own, so that a comment in the condition ends with it
    sql = f"SELECT DISTINCT camera, source, time_s FROM objects WHERE (\n{where}\n) ORDER BY camera, source, time_s"
    frames = ((str(c), str(s), float(t)) for c, s, t in rows_of(archive.ask(sql)))
    return list(join(frames, gap_s, pad_s))


def join(frames: Iterable[tuple[str, str, float]], gap_s: float, pad_s: float) -> Iterator[Moment]:
    """Moments of (camera, source, seconds) in order: neighbours of one source whose padded spans touch, or that are at most
    gap_s apart, become one."""
    open_: tuple[str, str, float, float, int] | None = None
    reach = max(gap_s, 2 * pad_s)
    for camera, source, at in frames:
        if open_ is not None and open_[:2] == (camera, source) and at - open_[3] <= reach:
            open_ = (camera, source, open_[2], at, open_[4] + 1)
            continue
        if open_ is not None:
            yield _padded(open_, pad_s)
        open_ = (camera, source, at, at, 1)
    if open_ is not None:
        yield _padded(open_, pad_s)


def _padded(span: tuple[str, str, float, float, int], pad_s: float) -> Moment:
    camera, source, start, end, matches = span
    return Moment(camera, source, max(0.0, start - pad_s), end + pad_s, matches)


def paths_of(archive: Archive) -> dict[tuple[str, str], str]:
    """Where each (camera, source) was when it was labelled; empty text where the archive doesn't say."""
    rows = rows_of(archive.ask("SELECT camera, source, path FROM sources"))
    return {(str(camera), str(source)): str(path or "") for camera, source, path in rows}


def locate(path: str, source: str, folders: Sequence[Path]) -> str:
    """The source as it can be opened: where it was, else a file of its name below one of the folders. Empty if there is none."""
    if path and (is_remote(path) or Path(path).is_file()):
        return path
    name = Path(path).name or source
    for folder in folders:
        found = sorted(p for p in folder.rglob("*") if p.is_file() and (p.name == name or (not path and p.stem == source)))
        if found:
            return str(found[0])
    return ""


def cut_all(
    moments: Sequence[Moment], paths: dict[tuple[str, str], str], out: Path, folders: Sequence[Path] = ()
) -> Iterator[Cut]:
    """Cuts the moments, one after the other, into files whose names sort by camera, source and time.

    A source that is gone or can't be read is a `Cut` with a trouble; the rest goes on. Raises SinkError where `out` can't be written.
    """
    for moment in moments:
        known = paths.get((moment.camera, moment.source), "")
        path = locate(known, moment.source, folders)
        if not path:
            where = mask_secrets(known) or moment.source
            yield Cut(moment, known, trouble=f"{where} is not there any more: name its folder with --sources.")
            continue
        target = out / clip_name(moment)
        try:
            piece = cut(path, moment.start_s, moment.end_s, target)
        except EveryframeError as e:
            if not target.parent.is_dir():
                raise
            yield Cut(moment, path, trouble=str(e))
            continue
        yield Cut(moment, path, target.name, piece.start_s, piece.end_s, piece.frames)


def clip_name(moment: Moment) -> str:
    """As gate_a_000123.480.mp4: camera, source and where in the source, in seconds."""
    return f"{file_name(moment.camera)}_{file_name(moment.source)}_{moment.start_s:010.3f}.mp4"


def write_manifest(cuts: Iterable[Cut], out: Path) -> Path:
    """`clips.csv`: what was cut, and what could not be. Raises SinkError."""
    path = out / MANIFEST
    with whole(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADS)
        writer.writerows(_row(c) for c in cuts)
    return path


def _row(c: Cut) -> tuple[object, ...]:
    m = c.moment
    spans = [f"{s:.3f}" for s in (m.start_s, m.end_s, c.start_s, c.end_s)]
    return (c.clip, m.camera, m.source, mask_secrets(c.path), *spans, c.frames, m.matches, c.trouble)


def check_numbers(gap_s: float, pad_s: float) -> None:
    for name, value in (("--join", gap_s), ("--pad", pad_s)):
        if not 0 <= value < 86400:
            raise UsageError(f"{name}: write seconds from 0 on, not {value:g}.")
