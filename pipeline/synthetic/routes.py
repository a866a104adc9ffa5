"""Ways over the ground: lanes of the road, and the paths of people on foot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everyframe.pipeline.synthetic.camera import LANE_M, Generator, Place

F64 = NDArray[np.float64]
_STEP_M = 1.5


@dataclass(frozen=True, slots=True)
class Route:
    """A line over the ground. points (n, 2) float64: x and z in metres, n > 1. reached (n,): metres from its start."""

    points: F64
    reached: F64

    @classmethod
    def through(cls, points: F64) -> Route:
        steps = np.hypot(*np.diff(points, axis=0).T)
        return cls(points, np.concatenate([[0.0], np.cumsum(steps)]))

    @property
    def length(self) -> float:
        return float(self.reached[-1])

    def at(self, along: float) -> tuple[float, float, float]:
        """x, z and heading (radians from straight to the right) after `along` metres."""
        i = int(np.clip(np.searchsorted(self.reached, along, "right") - 1, 0, len(self.points) - 2))
        (x0, z0), (x1, z1) = self.points[i], self.points[i + 1]
        part = (along - self.reached[i]) / max(self.reached[i + 1] - self.reached[i], 1e-9)
        return x0 + (x1 - x0) * part, z0 + (z1 - z0) * part, float(np.arctan2(z1 - z0, x1 - x0))


def border(place: Place, z: float) -> float:
    """Metres from the middle to the side of the picture at a distance of z metres."""
    return place.ground.width * z / (2 * place.ground.focal)


def out_below(place: Place, tall: float) -> float:
    """Distance at which something `tall` metres high has left over the lower border; where the camera hangs too low
    for that, as near as makes sense."""
    ground = place.ground
    clear = (ground.height_m - tall) * ground.focal / (ground.height - ground.horizon)
    return max(clear, 0.45 * ground.nearest)


def lanes(place: Place, rng: Generator) -> list[Route]:
    """The road's lanes, from where their traffic comes into view to where it leaves. Empty without a road."""
    count = int(2 * place.road_half / LANE_M)
    one_way = rng.random() < 0.25
    found = []
    for i in range(count):
        off = place.road_middle - place.road_half + LANE_M * (i + 0.5)
        line = _straight(place, off, 7.0, 4.0)
        if line is not None:
            found.append(line if one_way or i < count / 2 else _reversed(line))
    return found


def walk(place: Place, rng: Generator) -> Route:
    """A path on foot: along the road, or from border to border with turns in between."""
    if place.road_half and rng.random() < 0.6:
        side = float(rng.choice((-1, 1)))
        line = _straight(
            place, place.road_middle + side * (place.road_half + rng.uniform(0.6, 3.0)), 0.8, 1.9
        )
        if line is not None:
            wobble = np.cumsum(rng.normal(0, 0.12, line.points.shape), 0)
            line = Route.through(line.points + wobble - wobble.mean(0))
            return line if rng.random() < 0.5 else _reversed(line)
    points = [_edge(place, rng), *(_inside(place, rng) for _ in range(rng.integers(0, 3))), _edge(place, rng)]
    return _rounded(np.array(points))


def _straight(place: Place, off: float, beyond: float, tall: float) -> Route | None:
    """The visible part of a line in the road's direction, `beyond` metres longer than that at the sides."""
    turn = place.turn
    along = np.arange(-200.0, 200.0, _STEP_M)
    x = off * np.sin(turn) + along * np.cos(turn)
    z = -off * np.cos(turn) + along * np.sin(turn)
    far = place.ground.focal / place.far
    near = out_below(place, tall)
    inside = (z > near) & (z < far) & (abs(x) < place.ground.width * z / (2 * place.ground.focal) + beyond)
    rows = np.flatnonzero(inside)
    if len(rows) < 3:
        return None
    run = max(np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1), key=len)
    return Route.through(np.stack([x[run], z[run]], 1)) if len(run) >= 3 else None


def _reversed(route: Route) -> Route:
    return Route.through(route.points[::-1].copy())


def _edge(place: Place, rng: Generator) -> tuple[float, float]:
    """Somewhere just out of view."""
    ground = place.ground
    far, near = ground.focal / place.far, ground.nearest * 1.02
    where = rng.random()
    if where < 0.2:
        return float(rng.uniform(-0.8, 0.8)) * border(place, far), far
    if where < 0.4 and ground.height_m > 2.5:
        z = out_below(place, 2.0)
        return float(rng.uniform(-0.9, 0.9)) * border(place, z), z
    z = float(np.exp(rng.uniform(np.log(near), np.log(far))))
    return float(rng.choice((-1, 1))) * (border(place, z) + 0.8), z


def _inside(place: Place, rng: Generator) -> tuple[float, float]:
    far, near = place.ground.focal / place.far, place.ground.nearest * 1.05
    z = float(np.exp(rng.uniform(np.log(near), np.log(far))))
    return float(rng.uniform(-0.8, 0.8)) * border(place, z), z


def _rounded(points: F64) -> Route:
    """Corners cut off twice (Chaikin 1974), so that nobody turns on the spot."""
    for _ in range(2):
        if len(points) > 2:
            a, b = points[:-1], points[1:]
            cut = np.stack([a * 0.75 + b * 0.25, a * 0.25 + b * 0.75], 1).reshape(-1, 2)
            points = np.concatenate([points[:1], cut, points[-1:]])
    return Route.through(points)
