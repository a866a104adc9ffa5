"""What a synthetic camera is: every parameter of its place, traffic, picture and coding, drawn at random from a seed.

Domain randomisation (Tobin et al. 2017): ranges are wider than what the real clips show, so that a policy trained on
such cameras has seen the like of a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe.pipeline.synthetic.ground import Ground

SIZES = (
    (320, 240), (352, 288), (480, 270), (480, 320), (640, 352), (640, 360), (640, 480), (768, 432), (768, 576),
    (960, 540), (1280, 720),
)  # fmt: skip
_SIZE_WEIGHTS = (3, 2, 1, 1, 2, 4, 2, 2, 1, 1, 1)
RATES = (5, 8, 10, 12, 15, 20, 24, 25, 30)
_RATE_WEIGHTS = (1, 1, 5, 3, 4, 2, 4, 10, 8)
LAYOUTS = ("road", "highway", "yard", "indoor", "noise")
_LAYOUT_WEIGHTS = (4, 2, 4, 2, 1)

LANE_M = 3.4

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Coding:
    """How libx264 codes it. gop: frames from one key frame to the next. b_frames: between two references, at most
    where `adaptive`. refs: reference pictures. crf: constant quality, or kbit_s: mean rate, where crf is None."""

    profile: str
    gop: int
    b_frames: int
    adaptive: bool
    pyramid: bool
    refs: int
    crf: float | None
    kbit_s: int | None
    preset: str


@dataclass(frozen=True, slots=True)
class Place:
    """The scene. layout: one of `LAYOUTS`. ground: see there. far: pixels a metre of the most distant objects.
    axis: direction of the road, degrees from straight across; road_half: half of its width in metres, 0 where there is
    none; road_z: metres to it straight ahead. posts: things that stand in front of others. parked:
    objects that stand for most of the time. sway: pixels by which plants move."""

    layout: str
    ground: Ground
    far: float
    axis: float
    road_half: float
    road_z: float
    posts: int
    parked: int
    sway: float

    @property
    def turn(self) -> float:
        """The road's direction in radians."""
        return float(np.deg2rad(self.axis))

    @property
    def road_middle(self) -> float:
        """Its distance, in metres and square to its direction, from the point under the camera."""
        return -self.road_z * float(np.cos(self.turn))


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who comes. mean: moving objects at a time. vehicles: their share. quiet, busy: factors on the arrivals in quiet
    and busy spells of `spell_s` seconds in the mean; day_s: period of a slow tide on top. stops: share of those on foot who
    stand still on their way. signal_s: period of a traffic light, 0 for none. haste: factor on all speeds."""

    mean: float
    vehicles: float
    quiet: float
    busy: float
    spell_s: float
    day_s: float
    stops: float
    signal_s: float
    haste: float


@dataclass(frozen=True, slots=True)
class Picture:
    """How it is taken. shake: pixels (standard deviation) with jolts_s seconds between jolts. grain: grey levels of sensor
    noise, smoothed over `grain_px`. light: amplitude of slow changes, as a factor; steps_s: seconds between sudden ones, 0
    for none. clouds, rain, shadow: strengths in 0..1. grey: without colour. clock: a running clock is written into it.
    repeats: share of frames that repeat the one before. blur: pixels of softness. haze: share of contrast lost far off."""

    shake: float
    jolts_s: float
    grain: float
    grain_px: float
    light: float
    steps_s: float
    clouds: float
    rain: float
    shadow: float
    grey: bool
    clock: bool
    repeats: float
    blur: float
    haze: float


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera and a clip of it: `frames` of (height, width) at `rate` a second. seed: of all that is random in it."""

    name: str
    seed: tuple[int, int]
    width: int
    height: int
    rate: int
    frames: int
    place: Place
    crowd: Crowd
    picture: Picture
    coding: Coding

    def rng(self, purpose: int) -> Generator:
        """A generator of its own for each purpose, so that one more draw in one of them changes no other."""
        return np.random.default_rng((*self.seed, purpose))


def draw_camera(
    seed: int, index: int, seconds: float, size: tuple[int, int] | None = None, rate: int | None = None
) -> Camera:
    """Camera number `index` of a seed. size: width and height, even; where None they are drawn, as is the rate."""
    rng = np.random.default_rng((seed, index, 0))
    drawn_size = SIZES[_pick(rng, _SIZE_WEIGHTS)]
    drawn_rate = RATES[_pick(rng, _RATE_WEIGHTS)]
    width, height = size or drawn_size
    rate = rate or drawn_rate
    place = _place(rng, width, height)
    return Camera(
        name=f"camera{index:03d}",
        seed=(seed, index),
        width=width,
        height=height,
        rate=rate,
        frames=max(1, round(seconds * rate)),
        place=place,
        crowd=_crowd(rng, place.layout),
        picture=_picture(rng, place.layout, height),
        coding=_coding(rng, width, height, rate),
    )


def _pick(rng: Generator, weights: tuple[int, ...]) -> int:
    share = np.array(weights, np.float64)
    return int(rng.choice(len(weights), p=share / share.sum()))


def _log(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _some(rng: Generator, chance: float, value: Any) -> Any:
    """The value at a chance, else a zero of its type; drawn in any case, so that what follows stays the same."""
    return value if rng.random() < chance else type(value)(0)


def _place(rng: Generator, width: int, height: int) -> Place:
    layout = LAYOUTS[_pick(rng, _LAYOUT_WEIGHTS)]
    low, high, tall_low, tall_high = {
        "road": (-0.4, 0.35, 2.8, 9.0),
        "highway": (-0.2, 0.3, 5.0, 14.0),
        "yard": (-0.6, 0.25, 3.0, 10.0),
        "indoor": (-0.4, 0.2, 2.4, 4.5),
        "noise": (-0.5, 0.3, 2.6, 9.0),
    }[layout]
    horizon = float(rng.uniform(low, high)) * height
    ground = Ground(horizon, _log(rng, tall_low, tall_high), width * _log(rng, 0.7, 1.8), width, height)
    nearest = ground.scale_at(height)
    least = (8.0 if layout in ("road", "highway") else 16.0) * width / 640
    far = min(max(nearest / _log(rng, 2, 6), least), nearest / 1.6)
    steep = layout == "highway"
    axis = float(rng.uniform(60, 90) if steep else rng.uniform(0, 40)) * float(rng.choice((-1, 1)))
    lanes = int(rng.integers(1, 3) if layout == "road" else rng.integers(2, 5))
    parked = int(rng.poisson(2.0)) if layout in ("road", "yard") else 0
    return Place(
        layout=layout,
        ground=ground,
        far=far,
        axis=axis,
        road_half=lanes * LANE_M if layout in ("road", "highway", "noise") else 0.0,
        road_z=ground.focal / (nearest * _log(rng, max(0.15, far / nearest), 0.8)),
        posts=int(rng.poisson(0.5 if steep else 1.4)),
        parked=_some(rng, 0.5, parked),
        sway=_some(rng, 0.35 if layout in ("road", "yard", "highway") else 0.05, _log(rng, 0.3, 3.0)),
    )


def _crowd(rng: Generator, layout: str) -> Crowd:
    most = {"highway": 14.0, "indoor": 3.5}.get(layout, 12.0)
    vehicles = {
        "road": rng.uniform(0.3, 1.0),
        "highway": 1.0,
        "noise": rng.uniform(0, 1),
        "yard": rng.uniform(0, 0.25),
    }
    share = float(vehicles.get(layout, 0.0))
    return Crowd(
        mean=_log(rng, 0.35, most),
        vehicles=share,
        quiet=_log(rng, 0.02, 0.5),
        busy=_log(rng, 1.0, 3.0),
        spell_s=_log(rng, 4, 40),
        day_s=_log(rng, 40, 600),
        stops=float(rng.uniform(0, 0.6)),
        signal_s=_some(rng, 0.4 if layout == "road" else 0.0, float(rng.uniform(15, 50))),
        haste=_log(rng, 0.7, 1.4),
    )


def _picture(rng: Generator, layout: str, height: int) -> Picture:
    outdoors = layout != "indoor"
    return Picture(
        shake=_some(rng, 0.15, _log(rng, 0.2, 6.0) * height / 360),
        jolts_s=_log(rng, 1, 15),
        grain=_log(rng, 0.6, 5.0),
        grain_px=_some(rng, 0.6, float(rng.uniform(0.4, 1.2))),
        light=_log(rng, 0.005, 0.15),
        steps_s=_some(rng, 0.2, _log(rng, 5, 60)),
        clouds=_some(rng, 0.2 if outdoors else 0.0, float(rng.uniform(0.05, 0.4))),
        rain=_some(rng, 0.1 if outdoors else 0.0, float(rng.uniform(0.1, 0.6))),
        shadow=_some(rng, 0.6, float(rng.uniform(0.15, 0.6))),
        grey=bool(rng.random() < 0.12),
        clock=bool(rng.random() < 0.25),
        repeats=_some(rng, 0.12, float(rng.uniform(0.02, 0.2))),
        blur=_some(rng, 0.5, float(rng.uniform(0.4, 1.2))),
        haze=float(rng.uniform(0, 0.7)) ** 2,
    )


def _coding(rng: Generator, width: int, height: int, rate: int) -> Coding:
    profile = ("baseline", "main", "high")[_pick(rng, (2, 2, 4))]
    b_frames = _some(rng, 0.35, int(rng.integers(1, 4)))
    gop = _log(rng, 10, 250) if rng.random() < 0.5 else rate * float(rng.choice((1, 2, 4)))
    is_constant = bool(rng.random() < 0.55)
    kbit_s = width * height * rate * _log(rng, 0.03, 0.2) / 1000
    crf = round(float(rng.uniform(18, 30)), 1)
    return Coding(
        profile=profile,
        gop=int(np.clip(round(gop), 10, 250)),
        b_frames=0 if profile == "baseline" else b_frames,
        adaptive=bool(rng.random() < 0.4),
        pyramid=bool(rng.random() < 0.4),
        refs=int(rng.choice((1, 1, 1, 2, 3, 4))),
        crf=crf if is_constant else None,
        kbit_s=None if is_constant else max(40, round(kbit_s)),
        preset=str(rng.choice(("superfast", "veryfast", "veryfast", "faster"))),
    )
