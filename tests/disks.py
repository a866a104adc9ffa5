"""Small file systems, which are soon full."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IS_ROOT = os.geteuid() == 0


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size, as "64k" or "2m", in a new folder. The test is skipped where it can't be mounted."""
    folder.mkdir()
    mount = shutil.which("mount")
    if not IS_ROOT or mount is None:
        pytest.skip("a small disk can only be mounted by root")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def small_files(room: int) -> Iterator[None]:
    """No file of this process can grow beyond `room` bytes: write refuses, as on a full disk, for any user.

    Not a fixture: pytest's own log may be a file, and it is written to before fixtures end.
    """
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
