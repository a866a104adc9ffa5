"""Label files: a temporary name until the file is whole, then its final name, in one step."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from everyframe.pipeline.errors import SinkError, SourceBroken
from everyframe.pipeline.records import FrameLabels

PART = ".part"
"""Ending of a file that is still being written."""
SYNCS = 4
"""Files that are forced to the disk at a time: more wait no less."""

_WHY = {
    errno.ENOSPC: "the disk is full: free some space or name another folder with --out",
    errno.EDQUOT: "the disk quota is used up: free some space or name another folder with --out",
    errno.EFBIG: "the file grew beyond what this system allows: name another folder with --out",
    errno.EROFS: "the file system is read-only: name another folder with --out",
    errno.EACCES: "permission denied: name a folder that you may write to with --out",
    errno.EPERM: "permission denied: name a folder that you may write to with --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder: name another folder with --out",
    errno.EEXIST: "it is a file, not a folder: name another folder with --out",
    errno.EISDIR: "a folder has that name: remove it or name another folder with --out",
    errno.ENAMETOOLONG: "the name is too long: rename the source or name a shorter folder with --out",
}


def write_error(path: Path, error: OSError) -> SinkError:
    """One sentence for a failed write: what, where, what to do."""
    why = _WHY.get(error.errno or 0, error.strerror or str(error))
    return SinkError(f"cannot write {path}: {why}")


def part_path(path: Path) -> Path:
    """Where `path` is written until it is whole: hidden, in the same folder, one for each process."""
    return path.with_name(f".{path.name}.{os.getpid()}{PART}")


def is_kept(kind: type[BaseException] | None) -> bool:
    """Whether files of a run that ended this way are finished: labels before a break or Ctrl-C are whole."""
    return kind is None or issubclass(kind, SourceBroken | KeyboardInterrupt)


def take_final_name(part: Path, path: Path) -> None:
    """Forces `part` to the disk, then renames it. Raises OSError."""
    _sync(part)
    os.replace(part, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Forces a file, or what a folder holds by name, to the disk. Raises OSError."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives the temporary name of a file, which is `path` after the block; an error in it leaves no trace. Raises SinkError."""
    part = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        take_final_name(part, path)
    except OSError as e:
        raise write_error(path, e) from e
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all, and on the disk. Raises SinkError."""
    with whole(path) as part:
        part.write_bytes(data)


def write_all(files: Sequence[tuple[Path, bytes]]) -> None:
    """As `write_whole` for many files: when it returns all are on the disk. They are forced to it side by side, and each
    folder once, which is much less of a wait. An error leaves no trace of those that have not their final names. Raises SinkError."""
    if not files:
        return
    path = files[0][0]
    try:
        for path, data in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            part_path(path).write_bytes(data)
        with ThreadPoolExecutor(SYNCS) as pool:
            list(pool.map(lambda file: _sync(part_path(file[0])), files))
        for path, _ in files:
            os.replace(part_path(path), path)
        for path in sorted({path.parent for path, _ in files}):
            _sync(path)
    except OSError as e:
        raise write_error(path, e) from e
    finally:
        for path, _ in files:
            with contextlib.suppress(OSError):
                part_path(path).unlink(missing_ok=True)


class FileSink:
    """A label file that appends. Formats override `head`, `lines` and, where needed, `finish`.

    path: final name; its folder is created. location: that name as text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.location = str(path)
        self._part = part_path(path)
        self._written = 0

    def head(self) -> bytes:
        """What the file begins with."""
        return b""

    def lines(self, labels: list[FrameLabels]) -> bytes:
        """What is appended for these records."""
        raise NotImplementedError

    def finish(self) -> bytes:
        """What the file ends with."""
        return b""

    def write(self, labels: list[FrameLabels]) -> None:
        self._do(lambda: self._append(self.lines(labels)))
        self._written += len(labels)

    def __enter__(self) -> Self:
        self._do(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or (is_kept(kind) and self._written):
            self._do(self._commit)
        else:
            self.discard()

    def discard(self) -> None:
        """Closes and removes the unfinished file; never raises."""
        with contextlib.suppress(OSError):  # what could not be flushed is thrown away anyway
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._file = open(self._part, "wb")  # noqa: SIM115  (closed in commit or discard)
        self._append(self.head())

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()  # readers follow the file while it grows

    def _commit(self) -> None:
        self._append(self.finish())
        self._file.close()
        take_final_name(self._part, self.path)

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as e:
            if hasattr(self, "_file"):
                self.discard()
            raise write_error(self.path, e) from e
