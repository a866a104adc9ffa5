"""Where it happens: a background in the perspective of its ground, and what stands in front of what."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import U8
from everyframe.pipeline.synthetic.camera import LANE_M, Camera, Generator, Place
from everyframe.pipeline.synthetic.ground import Ground
from everyframe.pipeline.synthetic.paint import I16

F32 = NDArray[np.float32]
MARGIN = 24
"""Pixels of background around the picture, for a camera that shakes."""


@dataclass(frozen=True, slots=True)
class Scenery:
    """background (h + 2 MARGIN, w + 2 MARGIN, 3) uint8 BGR. cover, of its size, int16: row of the foot, in the picture, of
    what stands at a pixel; very low where only ground or sky is. plants: rows and columns of what sways in the wind."""

    background: U8
    cover: I16
    plants: tuple[tuple[slice, slice], ...] = ()


NOTHING = -32000
_GREENER = np.array((-15, 15, -10), np.float32)


def make_scenery(camera: Camera) -> Scenery:
    """The scenery of a camera, a function of its parameters alone."""
    rng = camera.rng(1)
    ground, place = camera.place.ground, camera.place
    width, height = camera.width + 2 * MARGIN, camera.height + 2 * MARGIN
    x, z = ground.grid(-MARGIN, -MARGIN, width, height)
    canvas = _surface(rng, place, x, z, width, height)
    cover = np.full((height, width), NOTHING, np.int16)
    _backdrop(rng, canvas, camera)
    if camera.picture.haze:
        _add_haze(canvas, z, ground.focal / place.far, camera.picture.haze)
    plants = []
    for row in sorted(_feet(rng, camera)):
        plants += _add_post(rng, canvas, cover, ground, row, place.layout)
    picture = np.clip(canvas, 0, 255).astype(np.uint8)
    if camera.picture.blur:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), camera.picture.blur), np.uint8)
    if camera.picture.grey:
        picture = np.asarray(
            cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8
        )
    return Scenery(picture, cover, tuple(plants) if place.sway else ())


def fractal(rng: Generator, width: int, height: int, coarse: int = 3, fine: int = 9) -> F32:
    """Noise whose octaves fade with frequency, (height, width) float32, mean 0, about -1 .. 1."""
    out = np.zeros((height, width), np.float32)
    for octave in range(coarse, fine):
        cells = 1 << octave
        if cells > 2 * max(width, height):
            break
        rows, cols = (max(2, round(cells * side / max(width, height))) + 1 for side in (height, width))
        grid = rng.standard_normal((rows, cols)).astype(np.float32)
        out += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.62 ** (octave - coarse)
    return out / np.float32(2.2)


def _colour(rng: Generator, low: float, high: float, spread: float) -> F32:
    return (rng.uniform(low, high) + rng.normal(0, spread, 3)).astype(np.float32)


def _mottled(rng: Generator, colour: F32, width: int, height: int, rough: float, fine: int = 9) -> F32:
    """A surface of one colour, (height, width, 3), with `rough` grey levels of texture."""
    return colour + (fractal(rng, width, height, 3, fine) * rough)[..., None]


def _surface(
    rng: Generator, place: Place, x: NDArray[np.float64], z: NDArray[np.float64], width: int, height: int
) -> F32:
    """The ground: asphalt with lanes, paving, floor boards, or noise."""
    speckle = rng.normal(0, rng.uniform(2, 12), (height, width)).astype(np.float32)
    base = _mottled(rng, _colour(rng, 60, 180, 6), width, height, float(rng.uniform(5, 20)))
    base += _litter(rng, width, height)[..., None]
    if place.layout == "noise":
        tilt = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * rng.normal(0, 30, 3).astype(
            np.float32
        )
        return base + tilt + (fractal(rng, width, height, 2, 7) * 25 + speckle)[..., None]
    turn = place.turn
    x, z = np.clip(x, -1e4, 1e4), np.minimum(z, 1e4)
    across, along = x * np.sin(turn) - z * np.cos(turn), x * np.cos(turn) + z * np.sin(turn)
    if place.road_half:
        middle, half = place.road_middle, place.road_half
        is_road = abs(across - middle) < half
        base[is_road] = _mottled(rng, _colour(rng, 60, 130, 4), width, height, 5)[is_road]
        lane = abs((across - middle) / LANE_M % 1.0 - 0.5) > 0.475
        base[lane & is_road & ((along / 6.0) % 1.0 < 0.5)] += 70
        base[(abs(abs(across - middle) - half) < 0.15)] += 60
    else:
        tile = float(_tile_m(rng, place.layout))
        joint = (abs(across / tile % 1.0 - 0.5) > 0.47) | (abs(along / tile % 1.0 - 0.5) > 0.47)
        base[joint & (z < 60)] -= 18
        odd = (np.floor(across / tile) + np.floor(along / tile)) % 2 == 0
        base[odd & (z < 60)] += float(rng.uniform(0, 10))
    return base + speckle[..., None]


def _litter(rng: Generator, width: int, height: int) -> F32:
    """Stains, cracks and leaves: grey levels to add, (height, width) float32."""
    out = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(20, 250))):
        at = int(rng.integers(width)), int(rng.integers(height))
        level = float(rng.normal(0, 18))
        if rng.random() < 0.5:
            axes = int(rng.integers(1, 14)), int(rng.integers(1, 5))
            cv2.ellipse(out, at, axes, float(rng.uniform(-15, 15)), 0, 360, level, -1)
        else:
            cv2.line(out, at, (at[0] + int(rng.normal(0, 40)), at[1] + int(rng.normal(0, 15))), level, 1)
    return out


def _tile_m(rng: Generator, layout: str) -> float:
    return float(rng.uniform(0.3, 0.8) if layout == "indoor" else rng.uniform(0.6, 3.0))


def _backdrop(rng: Generator, canvas: F32, camera: Camera) -> None:
    """What is beyond the farthest ground on which things move: walls with windows, trees, sky."""
    ground, place = camera.place.ground, camera.place
    edge = int(np.clip(ground.horizon + ground.height_m * place.far * 0.92 + MARGIN, 0, canvas.shape[0]))
    if edge < 4:
        return
    width = canvas.shape[1]
    canvas[:edge] = _mottled(rng, _colour(rng, 150, 235, 8), width, edge, 6, 6)
    left = -int(rng.integers(0, 80))
    while left < width:
        wide = int(rng.integers(30, max(31, width // 2)))
        tall = int(edge * rng.uniform(0.3, 1.1))
        part = canvas[max(0, edge - tall) : edge, max(0, left) : max(0, left + wide)]
        if part.size:
            is_wall = rng.random() < 0.6
            part[:] = _mottled(
                rng, _colour(rng, 40, 190, 9), part.shape[1], part.shape[0], 8 if is_wall else 30
            )
            if is_wall:
                _add_windows(rng, part)
        left += wide


def _add_windows(rng: Generator, wall: F32) -> None:
    step = int(rng.integers(12, 40))
    dark = _colour(rng, 20, 90, 8)
    for y in range(step // 3, wall.shape[0] - step // 2, step):
        for x in range(step // 3, wall.shape[1] - step // 2, step):
            wall[y : y + step // 2, x : x + step // 2] = dark + rng.normal(0, 8)


def _add_haze(canvas: F32, z: NDArray[np.float64], far: float, haze: float) -> None:
    veil = np.clip(z / far, 0, 1).astype(np.float32)[..., None] * np.float32(haze)
    canvas[:] = canvas * (1 - veil) + 190 * veil


def _feet(rng: Generator, camera: Camera) -> list[float]:
    """Rows on which the posts stand, in the picture."""
    ground = camera.place.ground
    near, far = ground.scale_at(camera.height), camera.place.far * 1.2
    scales = np.exp(rng.uniform(np.log(far), np.log(max(near * 0.7, far * 1.01)), camera.place.posts))
    return [ground.horizon + ground.height_m * float(scale) for scale in scales]


def _add_post(
    rng: Generator, canvas: F32, cover: I16, ground: Ground, row: float, layout: str
) -> list[tuple[slice, slice]]:
    """Puts something upright at a row: a pole, a tree, a hedge, a wall or a pillar. Gives the plants."""
    kind = str(rng.choice(("pole", "tree", "hedge", "box") if layout != "indoor" else ("box", "pole", "box")))
    scale = ground.scale_at(row)
    wide, tall = {
        "pole": (rng.uniform(0.1, 0.4), rng.uniform(3, 8)),
        "tree": (rng.uniform(1.5, 4.0), rng.uniform(3, 8)),
        "hedge": (rng.uniform(2.0, 7.0), rng.uniform(0.7, 1.4)),
        "box": (rng.uniform(0.6, 2.5), rng.uniform(0.8, 2.2)),
    }[kind]
    middle = float(rng.uniform(0, ground.width)) + MARGIN
    half, high = float(wide) * scale / 2, float(tall) * scale
    x0, x1 = round(middle - half), round(middle + half) + 1
    y0, y1 = round(row + MARGIN - high), round(row + MARGIN)
    rows, cols = slice(max(0, y0), max(0, y1)), slice(max(0, x0), max(0, x1))
    part = canvas[rows, cols]
    if not part.size:
        return []
    shape = _outline(rng, kind, part.shape[1], part.shape[0])
    colour = _colour(rng, 30, 160, 15) + (_GREENER if kind in ("tree", "hedge") else 0)
    part[shape] = _mottled(rng, colour, part.shape[1], part.shape[0], 28 if kind in ("tree", "hedge") else 7)[
        shape
    ]
    cover[rows, cols][shape] = np.int16(np.clip(row, NOTHING + 1, 32000))
    is_plant = kind in ("tree", "hedge") and min(part.shape[:2]) >= 12
    return [(rows, cols)] if is_plant else []


def _outline(rng: Generator, kind: str, width: int, height: int) -> NDArray[np.bool_]:
    shape = np.ones((height, width), np.bool_)
    if kind == "tree":
        y, x = np.mgrid[:height, :width]
        rough = fractal(rng, width, height, 2, 5) * 0.25
        crown = ((x / width - 0.5) * 2) ** 2 + ((y / height - 0.35) / 0.38) ** 2 < 1 + rough
        trunk = (abs(x / width - 0.5) < 0.06) & (y > height * 0.5)
        return np.asarray(crown | trunk, np.bool_)
    if kind == "hedge":
        top = np.abs(fractal(rng, width, 2, 3, 7)[0]) * 0.3
        return np.asarray(np.arange(height)[:, None] >= top[None, :] * height, np.bool_)
    return shape
