"""The inner loops of drawing: a sprite onto a picture, and what is still seen of it afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.operators.types import U8

I16 = NDArray[np.int16]
NOBODY = -1
_SOLID = 128
_VEIL = 190  # grey level of haze


@njit(cache=True, nogil=True)
def _paint(  # type: ignore[no-untyped-def]
    picture, owner, cover, shift_x, shift_y, sprite, left, top, width, height, number, foot, strength, clear
):
    rows, cols = picture.shape[0], picture.shape[1]
    tall, wide = sprite.shape[0], sprite.shape[1]
    step_x, step_y = wide / width, tall / height
    y0, y1 = int(np.floor(top)), int(np.ceil(top + height))
    x0, x1 = int(np.floor(left)), int(np.ceil(left + width))
    solid = 0
    for y in range(y0, y1):
        v = (y + 0.5 - top) * step_y - 0.5
        fv = np.floor(v)
        v0 = int(fv)
        wv = int((v - fv) * 256.0)
        va = min(max(v0, 0), tall - 1)
        vb = min(max(v0 + 1, 0), tall - 1)
        in_rows = 0 <= y < rows
        for x in range(x0, x1):
            u = (x + 0.5 - left) * step_x - 0.5
            fu = np.floor(u)
            u0 = int(fu)
            wu = int((u - fu) * 256.0)
            ua = min(max(u0, 0), wide - 1)
            ub = min(max(u0 + 1, 0), wide - 1)
            w00, w01 = (256 - wv) * (256 - wu), (256 - wv) * wu
            w10, w11 = wv * (256 - wu), wv * wu
            alpha = (
                sprite[va, ua, 3] * w00 + sprite[va, ub, 3] * w01
                + sprite[vb, ua, 3] * w10 + sprite[vb, ub, 3] * w11
            ) >> 16  # fmt: skip
            if alpha == 0:
                continue
            if not in_rows or x < 0 or x >= cols:
                continue
            if alpha >= _SOLID:
                solid += 1
            if cover[y + shift_y, x + shift_x] > foot:
                continue
            rest = 65536 - int(alpha * strength)
            for c in range(3):
                value = (
                    sprite[va, ua, c] * w00 + sprite[va, ub, c] * w01
                    + sprite[vb, ua, c] * w10 + sprite[vb, ub, c] * w11
                ) >> 16  # fmt: skip
                value = (value * clear + alpha * _VEIL * (256 - clear) // 255) >> 8
                mixed = value + ((picture[y, x, c] * rest) >> 16)
                picture[y, x, c] = min(mixed, 255)
            if number >= 0 and alpha >= _SOLID:
                owner[y, x] = number
    return solid


@njit(cache=True, nogil=True)
def _seen(owner, number, x0, y0, x1, y1):  # type: ignore[no-untyped-def]
    count = 0
    low_x, low_y, high_x, high_y = x1, y1, x0, y0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if owner[y, x] == number:
                count += 1
                low_x, high_x = min(low_x, x), max(high_x, x + 1)
                low_y, high_y = min(low_y, y), max(high_y, y + 1)
    return count, low_x, low_y, high_x, high_y


def paint(
    picture: U8,
    owner: I16,
    cover: I16,
    shift: tuple[int, int],
    sprite: U8,
    box: tuple[float, float, float, float],
    number: int,
    foot: float,
    strength: float = 1.0,
    haze: float = 0.0,
) -> int:
    """Draws a sprite, scaled to a box at sub-pixel precision, into a picture; returns its solid pixels there.

    picture (h, w, 3) uint8 BGR and owner (h, w) int16 are written: the latter gets `number` where the sprite is at
    least half solid; a negative number, as of shadows, leaves it alone. cover: rows of the foot of scenery that stands
    at a pixel, `shift` (x, y) pixels into it is the picture's corner: what stands nearer than `foot` hides the sprite.
    sprite (h', w', 4) uint8, colour times alpha; it is sampled bilinearly, so it should be at most twice the box's size.
    box: left, top, width, height in pixels. strength: 1 for solid things, less for black ones through which the ground is
    seen. haze: share of a grey veil over it. The count includes what is hidden.
    """
    left, top, width, height = box
    scale, clear = strength * 65536.0 / 255.0, round((1 - haze) * 256)
    count: int = _paint(
        picture,
        owner,
        cover,
        shift[0],
        shift[1],
        sprite,
        left,
        top,
        width,
        height,
        number,
        foot,
        scale,
        clear,
    )
    return count


def seen(owner: I16, number: int, box: tuple[float, float, float, float]) -> tuple[int, Any]:
    """How many pixels belong to `number`, and their tight box (x1, y1, x2, y2); looked for inside `box` as in `paint`."""
    left, top, width, height = box
    rows, cols = owner.shape
    x0, y0 = max(0, int(left) - 1), max(0, int(top) - 1)
    x1, y1 = min(cols, int(left + width) + 2), min(rows, int(top + height) + 2)
    count, *tight = _seen(owner, number, x0, y0, x1, y1)
    return count, tight
