"""Shares a budget of CPU among groups of sources so that the whole archive has the fewest errors. Pure.

Each group has measured points (price of error, cost, error). Of these only those on the lower convex hull are worth taking
(Shoham and Gersho, Efficient Bit Allocation for an Arbitrary Set of Quantizers, 1988): one multiplier, errors saved for a
CPU second, holds for all groups, and the next second always goes where it saves most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A way to label a group. cpu_s: of all of the group; errors: 1 - F1, times the group's weight."""

    price: float
    cpu_s: float
    errors: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What a group was given. step: its place on the group's hull, 0 the cheapest; steps: of the hull. worth: errors saved for a CPU
    second by the last step that was bought, 0 where none was."""

    point: Point
    step: int
    steps: int
    worth: float = 0.0


def hull(points: Sequence[Point]) -> list[Point]:
    """The lower convex hull, the cheapest first: each further point saves less for a second than the one before it."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cpu_s, p.errors)):
        if found and (point.errors >= found[-1].errors or point.cpu_s <= found[-1].cpu_s):
            continue
        while len(found) > 1 and _worth(found[-2], found[-1]) <= _worth(found[-1], point):
            found.pop()
        found.append(point)
    return found


def allocate(groups: Sequence[Sequence[Point]], budget_s: float) -> list[Choice]:
    """For each group a point of its hull, with the least sum of errors for a sum of costs within the budget (to within one step,
    which is left unbought). Where even the cheapest points cost more, these. Raises ValueError for a group without a point."""
    hulls = [hull(points) for points in groups]
    if any(not points for points in hulls):
        raise ValueError("a group without a point cannot be given anything")
    at = [0] * len(hulls)
    worth = [0.0] * len(hulls)
    spent = sum(points[0].cpu_s for points in hulls)
    steps = [(_worth(points[i], points[i + 1]), g, i) for g, points in enumerate(hulls) for i in range(len(points) - 1)]
    closed: set[int] = set()
    for value, group, i in sorted(steps, key=lambda step: (-step[0], step[1], step[2])):
        extra = hulls[group][i + 1].cpu_s - hulls[group][i].cpu_s
        if group in closed or spent + extra > budget_s:
            closed.add(group)  # a later step of a group can't come before an earlier one
            continue
        spent += extra
        at[group], worth[group] = i + 1, value
    return [Choice(points[i], i, len(points), w) for points, i, w in zip(hulls, at, worth, strict=True)]


def _worth(cheap: Point, dear: Point) -> float:
    """Errors saved for a CPU second."""
    return (cheap.errors - dear.errors) / (dear.cpu_s - cheap.cpu_s)
