"""Who is where at each frame: arrivals by rates that change, people who stop, cars that queue."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from everyframe.pipeline.synthetic.camera import Camera, Generator
from everyframe.pipeline.synthetic.routes import Route, border, lanes, walk
from everyframe.pipeline.synthetic.sprites import Look, Sprite
from everyframe.pipeline.synthetic.wardrobe import Wardrobe

WARM_UP_S = 90.0
_GAP_M = 1.8
_ACCELERATION = 2.5
_FOOT = -1
_WALK, _DRIVE, _DRIVE_FAST = 1.1, 7.5, 20.0  # metres a second


@dataclass(frozen=True, slots=True)
class Placed:
    """An object in a frame. column, row: of the middle of its foot, pixels; scale: pixels a metre there."""

    identity: int
    class_id: int
    look: Look
    column: float
    row: float
    scale: float


@dataclass(slots=True)
class Actor:
    """Someone under way. lane: number of the lane, `_FOOT` on foot. halts: (metres along the route, seconds) still to
    come. waits: seconds of a halt that are left. beside: metres to the side of the route."""

    identity: int
    sprite: Sprite
    route: Route
    lane: int
    wanted: float
    speed: float
    along: float = 0.0
    beside: float = 0.0
    walked: float = 0.0
    waits: float = 0.0
    halts: list[tuple[float, float]] = field(default_factory=list)


class Traffic:
    """The moving part of a scene. `step` once a frame."""

    def __init__(self, camera: Camera, wardrobe: Wardrobe) -> None:
        self._camera = camera
        self._place, self._crowd = camera.place, camera.crowd
        self._wardrobe = wardrobe
        self._rng = camera.rng(2)
        self._lanes = lanes(self._place, self._rng)
        self._actors: list[Actor] = []
        self._identity = 0
        self._t = -WARM_UP_S
        self._spell, self._spell_ends = 1.0, self._t
        self._tide = float(self._rng.uniform(0, 2 * np.pi))
        self._rates = self._arrival_rates()
        self._parked = self._park()
        while self._t < -1e-9:
            self._advance(min(0.25, -self._t))

    def step(self) -> list[Placed]:
        """The objects of the next frame, farthest first."""
        placed = [self._placed(actor) for actor in (*self._parked, *self._actors)]
        self._advance(1 / self._camera.rate)
        return sorted(placed, key=lambda p: (p.row, p.identity))

    def _placed(self, actor: Actor) -> Placed:
        x, z, heading = actor.route.at(actor.along)
        x, z = x - actor.beside * np.sin(heading), z + actor.beside * np.cos(heading)
        column, row, scale = self._place.ground.project(x, max(z, 0.2))
        return Placed(
            actor.identity,
            actor.sprite.class_id,
            actor.sprite.look(heading, actor.walked),
            column,
            row,
            scale,
        )

    def _arrival_rates(self) -> tuple[float, float]:
        """Arrivals a second on wheels and on foot that give the wanted number of objects at a time."""
        crowd = self._crowd
        level = (crowd.quiet + crowd.busy) / 2
        share = crowd.vehicles if self._lanes else 0.0
        ride = (
            float(np.mean([lane.length for lane in self._lanes]) / self._car_speed(0.0))
            if self._lanes
            else 1.0
        )
        stroll = float(np.mean([walk(self._place, self._rng).length for _ in range(16)]))
        stay = stroll / (_WALK * crowd.haste) + crowd.stops * 9.0
        return crowd.mean * share / ride / level, crowd.mean * (1 - share) / stay / level

    def _car_speed(self, spread: float) -> float:
        base = _DRIVE_FAST if self._place.layout == "highway" else _DRIVE
        return float(base * self._crowd.haste * np.exp(spread))

    def _advance(self, dt: float) -> None:
        self._t += dt
        if self._t >= self._spell_ends:
            is_busy = self._spell == self._crowd.busy
            self._spell = self._crowd.quiet if is_busy else self._crowd.busy
            self._spell_ends = self._t + float(self._rng.exponential(self._crowd.spell_s))
        tide = 1 + 0.6 * np.sin(2 * np.pi * self._t / self._crowd.day_s + self._tide)
        for rate, arrive in zip(self._rates, (self._arrive_on_wheels, self._arrive_on_foot), strict=True):
            for _ in range(self._rng.poisson(rate * self._spell * tide * dt)):
                arrive()
        self._move(dt)
        self._actors = [actor for actor in self._actors if actor.along < actor.route.length]

    def _next(self) -> int:
        self._identity += 1
        return self._identity

    def _arrive_on_wheels(self) -> None:
        if not self._lanes:
            return
        lane = int(self._rng.integers(len(self._lanes)))
        sprite = self._wardrobe.vehicle(self._rng)
        last = min((a.along for a in self._actors if a.lane == lane), default=np.inf)
        if last < sprite.length_m + 6:
            return
        speed = self._car_speed(float(self._rng.normal(0, 0.15)))
        self._actors.append(Actor(self._next(), sprite, self._lanes[lane], lane, speed, speed))

    def _arrive_on_foot(self) -> None:
        rng, route = self._rng, walk(self._place, self._rng)
        company = 1 + int(rng.random() < 0.2) + int(rng.random() < 0.06)
        speed = float(_WALK * self._crowd.haste * np.exp(rng.normal(0, 0.18)))
        halts = self._halts(rng, route)
        for i in range(company):
            beside = float((i - (company - 1) / 2) * 0.65 + rng.normal(0, 0.1))
            actor = Actor(self._next(), self._wardrobe.person(rng), route, _FOOT, speed, speed, beside=beside)
            actor.halts, actor.walked = list(halts), float(rng.uniform(0, 1.5))
            self._actors.append(actor)

    def _halts(self, rng: Generator, route: Route) -> list[tuple[float, float]]:
        if rng.random() >= self._crowd.stops:
            return []
        count = int(rng.integers(1, 3))
        stay = 40.0 if rng.random() < 0.15 else 5.0
        return sorted(
            (float(rng.uniform(0.1, 0.9)) * route.length, float(rng.exponential(stay))) for _ in range(count)
        )

    def _move(self, dt: float) -> None:
        for lane in range(len(self._lanes)):
            ahead, stop = np.inf, self._stop_line(lane)
            for actor in sorted((a for a in self._actors if a.lane == lane), key=lambda a: -a.along):
                room = min(ahead, stop if stop > actor.along + 0.5 else np.inf) - actor.along
                self._drive(actor, room, dt)
                ahead = actor.along - actor.sprite.length_m - _GAP_M
        for actor in self._actors:
            if actor.lane == _FOOT:
                _go(actor, dt)

    def _stop_line(self, lane: int) -> float:
        """Metres along a lane where a red light holds traffic now; inf where it does not."""
        period = self._crowd.signal_s
        is_red = period > 0 and (self._t % period) < period * 0.45
        return self._lanes[lane].length * 0.6 if is_red else np.inf

    @staticmethod
    def _drive(actor: Actor, room: float, dt: float) -> None:
        """As fast as wanted, as slow as the room ahead asks for: it must be enough to brake."""
        safe = np.sqrt(2 * _ACCELERATION * max(room, 0.0)) * 0.9 if np.isfinite(room) else np.inf
        speed = min(actor.wanted, safe, actor.speed + _ACCELERATION * dt)
        actor.speed = max(0.0, float(max(speed, actor.speed - 3 * _ACCELERATION * dt)))
        step = min(actor.speed * dt, max(room, 0.0)) if np.isfinite(room) else actor.speed * dt
        actor.along += step
        actor.walked += step

    def _park(self) -> list[Actor]:
        """Cars that stand all the time, beside the road or somewhere in the yard."""
        rng, place = self._rng, self._place
        found = []
        for _ in range(place.parked):
            far, near = place.ground.focal / place.far, place.ground.nearest * 1.3
            z = float(np.exp(rng.uniform(np.log(near), np.log(max(far * 0.7, near * 1.01)))))
            x = float(rng.uniform(-0.9, 0.9)) * border(place, z)
            turn = place.turn if rng.random() < 0.8 else float(rng.uniform(0, np.pi))
            if place.road_half:
                off = place.road_middle + float(rng.choice((-1, 1))) * (place.road_half - 1.0)
                along = x * np.cos(turn) + z * np.sin(turn)
                x, z = off * np.sin(turn) + along * np.cos(turn), -off * np.cos(turn) + along * np.sin(turn)
                if not place.ground.nearest * 1.1 < z < far:
                    continue
            ends = np.array([(x, z), (x + np.cos(turn), z + np.sin(turn))])
            found.append(Actor(self._next(), self._wardrobe.car(rng), Route.through(ends), _FOOT, 0.0, 0.0))
        return found


def _go(actor: Actor, dt: float) -> None:
    """Walks on, or stands where a halt is due."""
    if actor.waits > 0:
        actor.waits -= dt
        return
    if actor.halts and actor.along >= actor.halts[0][0]:
        actor.waits = actor.halts.pop(0)[1]
        return
    actor.along += actor.wanted * dt
    actor.walked += actor.wanted * dt
