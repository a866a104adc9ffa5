"""What it costs to decode a whole file with one thread and throw the pictures away: the measure that cheap labelling is held against."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LIMIT_S = 600.0
"""A command that takes longer is ended."""


def children_cpu_s() -> float:
    """CPU seconds, user and system, of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_s(command: Sequence[str], env: dict[str, str] | None = None) -> float:
    """CPU seconds of a command and all its children. Ends the script, with what the command said, where it fails.

    Nothing else may be started meanwhile: the kernel counts all children of a process together.
    """
    before = children_cpu_s()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return children_cpu_s() - before


def need_ffmpeg() -> None:
    """Ends the script where ffmpeg is not there."""
    if shutil.which("ffmpeg") is None:
        sys.exit("this benchmark compares with ffmpeg: install it (apt-get install ffmpeg)")


def decoding(path: Path, frames: int | None = None) -> list[str]:
    """The command that decodes a file fully with one thread. frames: the first of them only."""
    least = [] if frames is None else ["-frames:v", str(frames)]
    return ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", str(path), "-map", "0:v:0", *least, "-f", "null", "-"]


def decoding_cpu_s(path: Path, frames: int | None = None) -> float:
    """CPU seconds of decoding a file fully with one thread (`ffmpeg -threads 1 -i FILE -f null -`), start of the program included."""
    return cpu_s(decoding(path, frames))
