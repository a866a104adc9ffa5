"""Paths of objects through key frames between which nothing was decoded, and the labels of the frames
between.

`PathLinker` sees key frames one by one and gives each interval once `lag` more key frames are known. It keeps
`lag` + 2 key frames, as boxes and looks only. All open links are improved in turn, each interval by an
optimal assignment with its neighbours held fixed, until none changes: iterated conditional modes (Besag,
1986), from several starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.operators import link
from everyframe.operators.link import NONE, Beliefs, Nodes, Rows
from everyframe.operators.spans import Interval, Step, between, leading, trailing
from everyframe.operators.types import F32, I32, NO_TRACK, Objects

LAG = 2
SWEEPS = 8


@dataclass(slots=True)
class _Gap:
    """What is known of the interval between two key frames, links aside: worth but for place, displacements
    (n, m, 2) in sizes, and place as it is judged without neighbours (n, m). carried: place is known from
    motion vectors."""

    seconds: float
    fit: link.F64
    shift: link.F64
    alone: link.F64
    carried: bool


class PathLinker:
    """Links key frames of one stream.

    width, height: of the picture; rate: frames a second; groups: supercategory index of each class id.
    Deterministic: equal key frames give equal intervals and track ids, counted from 0.
    """

    def __init__(
        self,
        width: int,
        height: int,
        rate: float,
        groups: I32,
        beliefs: Beliefs | None = None,
        lag: int = LAG,
    ) -> None:
        if rate <= 0 or lag < 0:
            raise ValueError(f"PathLinker needs rate > 0 and lag >= 0, got {rate} and {lag}")
        self.width, self.height, self.rate, self.lag = width, height, rate, lag
        self._groups = np.asarray(groups, np.int32)
        self._beliefs = beliefs or Beliefs()
        self._nodes: list[Nodes] = []
        self._gaps: list[_Gap] = []
        self._next: list[Rows] = []
        self._tracks: list[I32] = []
        self._counts: list[int] = []
        self._new_track = 0
        self._first_open = 0  # intervals before it are given out; at most one of them is kept
        self._led = False

    def push(
        self, index: int, objects: Objects, looks: F32 | None = None, carried: F32 | None = None
    ) -> list[Interval]:
        """Takes a key frame and gives the intervals that are finished by it, in order.

        index: display frame, above the one before. objects: down to the lowest score at hand, for weak ones
        bridge gaps. looks (n, d): `appearance.look` of their boxes, None where there is no picture. carried
        (k, 4): the objects of the key frame before (all k that were pushed) moved here by motion vectors,
        None where the frames between were not decoded.
        """
        if self._nodes and index <= self._nodes[-1].index:
            raise ValueError(f"key frame {index} does not come after key frame {self._nodes[-1].index}")
        if looks is not None and len(looks) != len(objects):
            raise ValueError(f"looks must have {len(objects)} rows, got {len(looks)}")
        self._append(link.nodes(index, objects, self._groups, looks), carried)
        self._counts.append(len(objects))
        if self._gaps:
            self._solve()
        return self._give(self.lag)

    def finish(self, frames: int) -> list[Interval]:
        """Ends the stream of `frames` frames: the remaining intervals, up to the last frame."""
        return self.so_far(frames)

    def so_far(self, frames: int) -> list[Interval]:
        """All intervals that are not given yet, without waiting for key frames to come; the last one runs on to
        `frames`. Later key frames go on with the same tracks, and the next interval begins at the last key frame
        again."""
        if not self._nodes:
            return []
        done = self._give(0)
        if not self._led:
            done.append(self._lead())
        return [*done, trailing(self._step(len(self._nodes) - 1), frames, self.size)]

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def _append(self, new: Nodes, carried: F32 | None) -> None:
        self._tracks.append(np.full(len(new), NO_TRACK, np.int32))
        if self._nodes:
            self._gaps.append(self._gap(self._nodes[-1], new, carried))
            self._next.append(np.full(len(self._nodes[-1]), NONE, np.intp))
        self._nodes.append(new)

    def _gap(self, a: Nodes, b: Nodes, carried: F32 | None) -> _Gap:
        seconds = (b.index - a.index) / self.rate
        fit = link.fit(a, b, float(self.width * self.height), seconds, self._beliefs)
        shift = link.shifts(a, b)
        if carried is None:
            alone = link.place_alone(shift, seconds, self._beliefs)
        else:
            if len(carried) != self._counts[-1]:
                raise ValueError(f"carried must have {self._counts[-1]} rows, got {len(carried)}")
            box = carried[a.row].astype(np.float64)
            moved = link.expected(a, b, (box[:, :2] + box[:, 2:]) / 2 - a.centre)
            alone = link.place_carried(shift, moved, seconds, self._beliefs)
        return _Gap(seconds, fit, shift, alone, carried is not None)

    def _previous(self, t: int) -> Rows:
        """(n,): which node of t - 1 leads to each node of t."""
        out = np.full(len(self._nodes[t]), NONE, np.intp)
        if t > 0:
            linked = np.flatnonzero(self._next[t - 1] != NONE)
            out[self._next[t - 1][linked]] = linked
        return out

    def _worth(self, t: int, look_on: bool = True) -> link.F64:
        """(n, m): worth of all links of interval t given the links before it and, with `look_on`, after it.

        A path's likelihood is a product over its links, each given the link before. So the link after counts
        by how much likelier it gets than at the start of a path.
        """
        gap, a, b = self._gaps[t], self._nodes[t], self._nodes[t + 1]
        place = gap.alone.copy()
        if t > 0 and not gap.carried:
            prev = self._previous(t)
            has = np.flatnonzero(prev != NONE)
            moved = (a.centre[has] - self._nodes[t - 1].centre[prev[has]]) * (
                gap.seconds / self._gaps[t - 1].seconds
            )
            unit = np.sqrt(a.size[has, None] * b.size[None])
            guess = moved[:, None] / unit[..., None]
            place[has] = link.place_after(gap.shift[has], guess, gap.seconds, self._beliefs)
        if look_on and t + 1 < len(self._gaps) and not self._gaps[t + 1].carried:
            after, c = self._gaps[t + 1], self._nodes[t + 2]
            has = np.flatnonzero(self._next[t + 1] != NONE)
            to = self._next[t + 1][has]
            unit = np.sqrt(b.size[has] * c.size[to])
            moved = (b.centre[None, has] - a.centre[:, None]) * (after.seconds / gap.seconds)
            guess = moved / unit[None, :, None]
            place[:, has] += link.place_after(after.shift[has, to][None], guess, after.seconds, self._beliefs)
            place[:, has] -= after.alone[has, to][None]
        return gap.fit + place

    def _best(self, t: int) -> Rows:
        """Links of interval t of greatest worth, given those around."""
        if self._gaps[t].fit.size == 0:
            return np.full(len(self._nodes[t]), NONE, np.intp)
        return link.assign(self._worth(t))

    def _total(self) -> float:
        total = 0.0
        for t in range(self._first_open, len(self._next)):
            linked = np.flatnonzero(self._next[t] != NONE)
            if len(linked):
                total += float(self._worth(t, look_on=False)[linked, self._next[t][linked]].sum())
        return total

    def _sweep(self) -> None:
        """Improves the open intervals in turn, back and forth, until no link changes."""
        first, end = self._first_open, len(self._next)
        order = [*range(end - 1, first - 1, -1), *range(first + 1, end)]
        for _ in range(SWEEPS):
            changed = False
            for t in order:
                links = self._best(t)
                changed |= bool((links != self._next[t]).any())
                self._next[t] = links
            if not changed:
                return

    def _solve(self) -> None:
        """Finds the open links anew: from the links so far, and from none, forward and backward."""
        first, end = self._first_open, len(self._next)
        so_far = self._next[first:]
        none = [np.full(len(links), NONE, np.intp) for links in so_far]
        starts = ((so_far, [end - 1]), (none, range(first, end)), (none, range(end - 1, first - 1, -1)))
        best, best_links = -np.inf, so_far
        seen: list[list[Rows]] = []
        for links, order in starts:
            self._next[first:] = links
            for t in order:
                self._next[t] = self._best(t)
            if _known(seen, self._next[first:]):
                continue
            seen.append(self._next[first:])
            self._sweep()
            total = self._total()
            if total > best + 1e-9:
                best, best_links = total, self._next[first:]
        self._next[first:] = best_links

    def _step(self, t: int) -> Step:
        """Key frame t with its links on both sides, for interpolation."""
        before = self._nodes[t - 1] if t > 0 else None
        after = self._nodes[t + 1] if t < len(self._next) else None
        following = self._next[t] if after is not None else np.full(len(self._nodes[t]), NONE, np.intp)
        return Step(
            self._nodes[t], self._tracks[t], self._counts[t], before, self._previous(t), after, following
        )

    def _name(self, t: int) -> None:
        """Gives a track id to each node of t that has none, after those that its links bring."""
        if t > 0:
            linked = np.flatnonzero(self._next[t - 1] != NONE)
            self._tracks[t][self._next[t - 1][linked]] = self._tracks[t - 1][linked]
        bare = np.flatnonzero(self._tracks[t] == NO_TRACK)
        self._tracks[t][bare] = np.arange(self._new_track, self._new_track + len(bare), dtype=np.int32)
        self._new_track += len(bare)

    def _lead(self) -> Interval:
        self._led = True
        self._name(0)
        return leading(self._step(0), self.size)

    def _give(self, lag: int) -> list[Interval]:
        done = []
        while len(self._next) - self._first_open > lag:
            if not self._led:
                done.append(self._lead())
            t = self._first_open
            self._name(t + 1)
            done.append(between(self._step(t), self._step(t + 1), self.rate, self.size))
            self._first_open += 1
            self._forget()
        return done

    def _forget(self) -> None:
        """Drops key frames that no open link looks at."""
        while self._first_open > 1:
            for kept in (self._nodes, self._gaps, self._next, self._tracks, self._counts):
                del kept[0]
            self._first_open -= 1


def _known(seen: list[list[Rows]], links: list[Rows]) -> bool:
    return any(all(np.array_equal(a, b) for a, b in zip(one, links, strict=True)) for one in seen)
