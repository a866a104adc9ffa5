"""What Linux shows of processes (proc(5))."""

from __future__ import annotations

from pathlib import Path


def stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on, as names may hold anything; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def below(root: int) -> list[int]:
    """Process ids of `root` and all below it."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := stat(int(folder.name)):
            parents[int(folder.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found
