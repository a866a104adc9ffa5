"""The sprites of one camera, made when they are first asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everyframe.pipeline.synthetic.camera import Camera, Generator
from everyframe.pipeline.synthetic.figures import person, vehicle
from everyframe.pipeline.synthetic.sprites import Sprite
from everyframe.pipeline.synthetic.truth import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, TRUCK

_PEOPLE, _VEHICLES = 7, 9
_COARSEST, _FINEST = 30.0, 120.0  # pixels a metre
_KINDS = {
    "highway": ((CAR, 0.74), (TRUCK, 0.2), (BUS, 0.03), (MOTORCYCLE, 0.03)),
    "": ((CAR, 0.76), (TRUCK, 0.08), (BUS, 0.04), (MOTORCYCLE, 0.04), (BICYCLE, 0.08)),
}


class Wardrobe:
    """Drawn sprites, or those given (cut out of real video): given ones of a kind are worn by all of that kind."""

    def __init__(self, camera: Camera, given: Sequence[Sprite] = ()) -> None:
        self._seed = camera.rng(3)
        self._kinds = _KINDS.get(camera.place.layout, _KINDS[""])
        self._given = [s for s in given if s.class_id == PERSON], [s for s in given if s.class_id != PERSON]
        ground = camera.place.ground
        self._per_m = min(max(ground.scale_at(camera.height), _COARSEST), _FINEST)
        self._people: dict[int, Sprite] = {}
        self._vehicles: dict[int, Sprite] = {}
        self._keys = self._seed.integers(0, 1 << 62, _PEOPLE + _VEHICLES).tolist()

    def person(self, rng: Generator) -> Sprite:
        given = self._given[0]
        if given:
            return given[int(rng.integers(len(given)))]
        i = int(rng.integers(_PEOPLE))
        if i not in self._people:
            self._people[i] = person(self._own(i), self._per_m)
        return self._people[i]

    def vehicle(self, rng: Generator) -> Sprite:
        given = self._given[1]
        if given:
            return given[int(rng.integers(len(given)))]
        i = int(rng.integers(_VEHICLES))
        if i not in self._vehicles:
            own = self._own(_PEOPLE + i)
            classes, shares = zip(*self._kinds, strict=True)
            self._vehicles[i] = vehicle(own, int(own.choice(classes, p=shares)), self._per_m)
        return self._vehicles[i]

    def car(self, rng: Generator) -> Sprite:
        """A car that may be parked."""
        given = [s for s in self._given[1] if s.class_id == CAR]
        return given[int(rng.integers(len(given)))] if given else vehicle(rng, CAR, self._per_m)

    def _own(self, i: int) -> Generator:
        """Of a sprite's own, so that its looks don't depend on when it is first asked for."""
        return np.random.default_rng(self._keys[i])
