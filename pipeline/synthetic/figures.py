"""Drawn objects: people who walk, and vehicles seen from the side to the front."""

from __future__ import annotations

import cv2
import numpy as np

from everyframe.operators.types import U8
from everyframe.pipeline.synthetic.sprites import Look, Sheet, Sprite, look_of
from everyframe.pipeline.synthetic.truth import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, TRUCK

STEPS = 8
_TURNS = (0.0, 0.4, 0.8, 1.2, np.pi / 2)  # radians from the side view
_SKIN = ((120, 150, 205), (90, 120, 180), (60, 85, 130), (140, 170, 220))
_GLASS = (70, 60, 50)
_TYRE = (30, 30, 30)

Colour = tuple[int, int, int]
Generator = np.random.Generator


def person(rng: Generator, per_m: float) -> Sprite:
    """Someone on foot, 1.5 to 1.95 m, in `STEPS` steps of a walk. per_m: pixels a metre at the largest scale."""
    tall = float(np.clip(rng.normal(1.7, 0.1), 1.5, 1.95)) / 1.7
    top, trousers, hair = _cloth(rng), _cloth(rng), _tone(rng, 10, 90)
    skin = _SKIN[rng.integers(len(_SKIN))]
    stout, stride = float(rng.uniform(0.17, 0.25)), float(rng.uniform(0.2, 0.34))
    has_coat, has_bag, striped = rng.random(3) < (0.3, 0.35, 0.25)
    bag, stripe = _cloth(rng), _cloth(rng)
    looks = []
    for step in range(STEPS):
        swing = stride * float(np.sin(2 * np.pi * step / STEPS))
        sheet = Sheet(1.3, 2.05, 2 * per_m)
        t = tall
        for side in (-1, 1):
            knee = (side * swing * 0.45 + 0.04, 0.48 * t)
            sheet.line([(0.03 * side, 0.92 * t), knee, (side * swing, 0.07)], 0.15, trousers)
            sheet.oval(side * swing + 0.05, 0.05, 0.12, 0.05, _TYRE)
        sheet.line(
            [(0.0, 1.42 * t), (swing * 0.4, 1.12 * t), (swing * 0.9, 0.88 * t)], 0.1, _darker(top, 0.75)
        )
        low = 0.62 if has_coat else 0.86
        body = [(-stout, low * t), (-stout * 0.9, 1.36 * t), (-0.1, 1.48 * t), (0.1, 1.48 * t)]
        sheet.polygon([*body, (stout * 0.9, 1.36 * t), (stout, low * t)], top)
        if striped:
            for y in np.arange(low + 0.08, 1.35, 0.16):
                sheet.line([(-stout * 0.9, y * t), (stout * 0.9, y * t)], 0.05, stripe)
        sheet.line(
            [(0.02, 1.42 * t), (-swing * 0.4, 1.12 * t), (-swing * 0.9 + 0.04, 0.88 * t)],
            0.1,
            _darker(top, 0.9),
        )
        if has_bag:
            sheet.polygon(
                [(-stout - 0.1, 1.0 * t), (-stout - 0.1, 1.38 * t), (-0.08, 1.4 * t), (-0.08, 1.0 * t)], bag
            )
        sheet.oval(0.0, 1.59 * t, 0.095, 0.125, skin)
        sheet.oval(-0.02, 1.64 * t, 0.1, 0.09, hair)
        looks.append(sheet.look(rng, 9, smaller=2))
    return Sprite.of(PERSON, looks, True, 0.5)


def vehicle(rng: Generator, class_id: int, per_m: float) -> Sprite:
    """A vehicle of a COCO class: car, truck, bus, bicycle or motorcycle. per_m as for `person`."""
    if class_id in (BICYCLE, MOTORCYCLE):
        return _two_wheels(rng, class_id, per_m)
    length, width, height = {
        CAR: (rng.uniform(3.6, 5.0), rng.uniform(1.65, 1.95), rng.uniform(1.4, 1.9)),
        TRUCK: (rng.uniform(5.5, 12), rng.uniform(2.2, 2.5), rng.uniform(2.6, 3.8)),
        BUS: (rng.uniform(9, 12), 2.5, rng.uniform(2.9, 3.3)),
    }[class_id]
    paint = _cloth(rng)
    side = _side(rng, class_id, float(length), float(height), paint, 1.5 * per_m)
    front = _front(rng, float(width), float(height), paint, 1.5 * per_m)
    looks = [_turned(side, front, turn, 1.5 * per_m) for turn in _TURNS]
    return Sprite.of(class_id, looks, False, float(length))


def _side(rng: Generator, class_id: int, length: float, height: float, paint: Colour, per_m: float) -> Look:
    sheet = Sheet(length + 0.4, height + 0.3, per_m)
    if class_id == CAR:
        wheels, radius = _car_body(rng, sheet, length / 2, height, paint), 0.33
    else:
        wheels, radius = _box_body(rng, sheet, length / 2, height, paint, class_id == TRUCK), 0.48
    for x in wheels:
        sheet.oval(x, radius, radius, radius, _TYRE)
        sheet.oval(x, radius, radius * 0.5, radius * 0.5, (150, 150, 150))
    return sheet.look(rng, 5, smaller=1)


def _car_body(rng: Generator, sheet: Sheet, half: float, h: float, paint: Colour) -> list[float]:
    """Draws it and gives the places of its wheels. half: of its length; h: its height."""
    bonnet, boot = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.0, 1.0))
    waist = 0.6 * h
    roof = [
        (-half + boot * 0.9, waist),
        (-half + boot + 0.35, h),
        (half - bonnet - 0.9, h),
        (half - bonnet, waist),
    ]
    low = [(-half, 0.22), (-half, waist * 0.95)]
    sheet.polygon([*low, *roof, (half - 0.05, waist * 0.85), (half, 0.22)], paint)
    sheet.polygon([(x * 0.97 - 0.03, y - 0.08 if y > waist else y + 0.02) for x, y in roof], _GLASS)
    sheet.line([(-0.1, waist), (-0.1, h)], 0.09, paint)
    return [-half + 0.8, half - 0.85]


def _box_body(
    rng: Generator, sheet: Sheet, half: float, h: float, paint: Colour, is_truck: bool
) -> list[float]:
    """A truck or a bus, as `_car_body`."""
    cab = float(rng.uniform(1.6, 2.2)) if is_truck else 0.0
    sheet.polygon([(-half, 0.5), (-half, h), (half - cab, h), (half - cab, 0.5)], paint)
    if is_truck:
        back, cabin = half - cab + 0.1, _cloth(rng)
        sheet.polygon(
            [(back, 0.5), (back, h * 0.8), (half - 0.3, h * 0.8), (half, 0.5 * h), (half, 0.5)], cabin
        )
        pane = [(half - 0.9, h * 0.5), (half - 0.9, h * 0.75), (half - 0.35, h * 0.75), (half - 0.1, h * 0.5)]
        sheet.polygon(pane, _GLASS)
    else:
        ends = -half + 0.2, half - 0.2
        sheet.polygon(
            [(ends[0], 0.5 * h), (ends[0], 0.85 * h), (ends[1], 0.85 * h), (ends[1], 0.5 * h)], _GLASS
        )
        for x in np.arange(-half + 1.3, half - 0.5, 1.2):
            sheet.line([(x, 0.5 * h), (x, 0.85 * h)], 0.1, paint)
    return [-half + 1.2, -half + 2.3, half - 1.2] if half > 4 else [-half + 1.0, half - 1.0]


def _front(rng: Generator, width: float, height: float, paint: Colour, per_m: float) -> Look:
    sheet = Sheet(width + 0.2, height + 0.3, per_m)
    w, h = width / 2, height
    for x in (-w + 0.18, w - 0.18):
        sheet.polygon([(x - 0.13, 0.0), (x - 0.13, 0.5), (x + 0.13, 0.5), (x + 0.13, 0.0)], _TYRE)
    sheet.polygon(
        [(-w, 0.25), (-w, 0.58 * h), (-w * 0.82, h), (w * 0.82, h), (w, 0.58 * h), (w, 0.25)], paint
    )
    sheet.polygon(
        [(-w * 0.88, 0.58 * h), (-w * 0.74, 0.93 * h), (w * 0.74, 0.93 * h), (w * 0.88, 0.58 * h)], _GLASS
    )
    lamp = (235, 245, 250) if rng.random() < 0.5 else (40, 40, 200)
    for x in (-w * 0.75, w * 0.75):
        sheet.oval(x, 0.45 * h, 0.14, 0.08, lamp)
    return sheet.look(rng, 5, smaller=1)


def _turned(side: Look, front: Look, turn: float, per_m: float) -> Look:
    """Both faces next to each other, each foreshortened."""
    height = side.scales[0].shape[0]
    along = max(1, round(side.scales[0].shape[1] * np.cos(turn)))
    across = max(1, round(front.scales[0].shape[1] * np.sin(turn)))
    parts: list[U8] = []
    if along > 8:
        parts.append(
            np.asarray(cv2.resize(side.scales[0], (along, height), interpolation=cv2.INTER_AREA), np.uint8)
        )
    if across > 8:
        face = cv2.resize(front.scales[0], (across, height), interpolation=cv2.INTER_AREA)
        parts.append(np.asarray(face, np.uint8))
    whole = np.concatenate(parts, 1)
    alpha = np.maximum(whole[..., 3:].astype(np.uint16), 1)
    plain = np.minimum(whole[..., :3].astype(np.uint16) * 255 // alpha, 255).astype(np.uint8)
    return look_of(np.dstack([plain, whole[..., 3]]), per_m)


def _two_wheels(rng: Generator, class_id: int, per_m: float) -> Sprite:
    frame, top = _cloth(rng), _cloth(rng)
    looks = []
    for step in range(STEPS):
        turn = 2 * np.pi * step / STEPS
        sheet = Sheet(2.4, 2.0, 2 * per_m)
        thick = 0.05 if class_id == BICYCLE else 0.12
        for x in (-0.55, 0.55):
            sheet.oval(x, 0.34, 0.34, 0.34, _TYRE)
            sheet.oval(x, 0.34, 0.34 - thick, 0.34 - thick, (110, 110, 110))
        sheet.line([(-0.55, 0.34), (-0.2, 0.85), (0.45, 0.85), (0.55, 0.34)], 0.08, frame)
        if class_id == MOTORCYCLE:
            sheet.polygon([(-0.7, 0.45), (-0.6, 0.85), (0.45, 0.95), (0.5, 0.45)], frame)
        foot = (
            (0.05 + 0.15 * np.cos(turn), 0.32 + 0.15 * np.sin(turn)) if class_id == BICYCLE else (0.1, 0.35)
        )
        sheet.line([(-0.15, 0.95), (0.2, 0.72), foot], 0.14, _darker(top, 0.6))
        sheet.line([(-0.15, 0.95), (0.08, 1.42)], 0.32, top)
        sheet.line([(0.08, 1.4), (0.5, 1.0)], 0.1, _darker(top, 0.85))
        sheet.oval(0.14, 1.65, 0.11, 0.13, _SKIN[0] if class_id == BICYCLE else _darker(frame, 0.7))
        looks.append(sheet.look(rng, 6, smaller=2))
    return Sprite.of(class_id, looks, True, 1.8)


def _cloth(rng: Generator) -> Colour:
    """Mostly grey, dark or white, at times bright: as clothes and cars are."""
    base = float(rng.choice((35, 60, 110, 170, 225), p=(0.25, 0.2, 0.2, 0.15, 0.2)))
    spread = 35 if rng.random() < 0.3 else 8
    blue, green, red = np.clip(base + rng.normal(0, spread, 3), 8, 245).astype(int).tolist()
    return blue, green, red


def _tone(rng: Generator, low: int, high: int) -> Colour:
    value = int(rng.integers(low, high))
    return value, value, min(255, value + 10)


def _darker(colour: Colour, factor: float) -> Colour:
    blue, green, red = (round(c * factor) for c in colour)
    return blue, green, red
