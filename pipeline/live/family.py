"""CPU and memory of the processes below this one that nobody else answers for: Ray's own, spare cameras, an embedded Redis."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
SEARCH_S = 5.0
"""So often new processes are looked for; known ones are read every time."""


@dataclass(frozen=True, slots=True)
class Rest:
    """cpu_s: CPU that such processes have used, never less than before. rss_bytes: their resident memory now."""

    cpu_s: float = 0.0
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    cpu_s: float
    rss_bytes: int
    started: int


class Family:
    """root: process id whose descendants are counted, itself left out. proc: where Linux shows processes."""

    def __init__(self, root: int, proc: Path = Path("/proc")) -> None:
        self._root, self._proc = root, proc
        self._members: dict[int, tuple[int, float]] = {}  # when it was started, CPU seconds when it was last read
        self._searched = float("-inf")
        self._cpu_s = 0.0

    def take(self, now: float, others: Collection[int]) -> Rest:
        """What is used now. others: process ids that are counted elsewhere."""
        if now - self._searched >= SEARCH_S:
            self._searched = now
            self._search()
        rss = 0
        for pid, (started, before) in list(self._members.items()):
            found = self._stat(pid)
            if found is None or found.started != started:  # it has ended, and its number may be another's
                del self._members[pid]
                continue
            self._members[pid] = started, found.cpu_s
            if pid not in others:
                self._cpu_s += found.cpu_s - before
                rss += found.rss_bytes
        return Rest(self._cpu_s, rss)

    def _search(self) -> None:
        stats = {}
        for name in os.listdir(self._proc):
            if name.isdecimal() and (found := self._stat(int(name))) is not None:
                stats[int(name)] = found
        children: dict[int, list[int]] = {}
        for pid, found in stats.items():
            children.setdefault(found.parent, []).append(pid)
        below = list(children.get(self._root, ()))
        for pid in below:
            below += children.get(pid, ())
            self._members.setdefault(pid, (stats[pid].started, 0.0))

    def _stat(self, pid: int) -> _Stat | None:
        """None of a process that has ended."""
        try:
            text = (self._proc / str(pid) / "stat").read_text()
        except OSError:
            return None
        row = text.rpartition(")")[2].split()  # from the third field of proc(5) on: names may hold anything
        cpu_s = (int(row[11]) + int(row[12])) / _TICKS
        return _Stat(int(row[1]), cpu_s, int(row[21]) * _PAGE, int(row[19]))
