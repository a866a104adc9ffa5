"""What has changed since it was last looked at and no track explains: a background model on a coarse grid of luma.

After running averages with a spread of their own for each cell (as in Stauffer and Grimson, CVPR 1999, with one mode).
Deviations: the reference is what the detector last looked at, not what was there most of the time, so that something
that came to rest stays news until it was seen, and is none from then on; what looks find teaches how far such changes
can be trusted on this camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from everyframe.operators.boxes import iou
from everyframe.operators.types import F32, U8, Bool, MotionField

LEAST_CHANGE = 9.0  # grey levels; smaller changes of a cell's mean are noise on any camera
SPREADS = 3.0  # times its usual change, for a cell to count as changed
USUAL = 3.0  # grey levels, before a cell's usual change is known
LEARN, UNLEARN = 0.02, 0.005  # share of one frame in a cell's usual change, where it is larger, and smaller
MOST_TAUGHT = 30.0  # grey levels that one frame may add to it
HABIT = 0.5  # share of a change that becomes usual where a look found nothing
MOST_SHIFT = 40.0  # grey levels; larger differences say nothing of the light of the whole picture
LEAST_CELLS = 2
MOST_BLOBS = 64
NEWS = 6.0  # frames after which a look is likely to find something else than the one before
PATIENCE = 2.0  # times longer, after each look in vain at a change that stays
MOST_PATIENCE = 32.0
GROWN = 1  # cells around a track that it explains
MOVING_PX = 0.5
PRIOR = 4.0  # looks at changes that are worth as much as what this camera has taught

WEIGHTS = np.array([-3.511, 1.507, -0.654, -1.361, 2.511, 0.591, -2.806], np.float32)
"""Of `chance`, by benchmarks/region_fit.py: constant, ln area, ln height, ln width, moving share, nothing moves, filled share of the box."""


@njit(cache=True, nogil=True)
def _mark(boxes, cw, ch, grown, covered):  # type: ignore[no-untyped-def]
    rows, cols = covered.shape
    covered[:] = False
    for i in range(boxes.shape[0]):
        c0, c1 = max(int(boxes[i, 0] / cw) - grown, 0), min(int(boxes[i, 2] / cw) + 1 + grown, cols)
        r0, r1 = max(int(boxes[i, 1] / ch) - grown, 0), min(int(boxes[i, 3] / ch) + 1 + grown, rows)
        for r in range(r0, r1):
            for c in range(c0, c1):
                covered[r, c] = True


@njit(cache=True, nogil=True)
def _follow(luma, seen, usual, before, covered, changed):  # type: ignore[no-untyped-def]
    """Brings reference and usual change up to date; marks the changed cells and counts them."""
    rows, cols = luma.shape
    total, n = 0.0, 0
    for r in range(rows):
        for c in range(cols):
            d = luma[r, c] - seen[r, c]
            if abs(d) < MOST_SHIFT:
                total += d
                n += 1
    shift = total / n if n > 0 else 0.0
    count = 0
    for r in range(rows):
        for c in range(cols):
            changed[r, c] = False
            if covered[r, c] or before[r, c]:
                # What a track leaves behind was not there when it was looked at: it is known from now on.
                seen[r, c] = luma[r, c]
                continue
            d = abs(luma[r, c] - seen[r, c] - shift)
            if d > max(LEAST_CHANGE, SPREADS * usual[r, c]):
                changed[r, c] = True
                count += 1
            step = min(d, MOST_TAUGHT) - usual[r, c]
            usual[r, c] += (LEARN if step > 0 else UNLEARN) * step
    return count


@njit(cache=True, nogil=True)
def _blobs(changed, motion, known, age, out):  # type: ignore[no-untyped-def]
    """Connected changed cells: first and last + 1 column and row, number, share that moves, mean age, as rows of `out`."""
    rows, cols = changed.shape
    left = changed.copy()
    stack = np.empty((rows * cols, 2), np.int32)
    n = 0
    for r in range(rows):
        for c in range(cols):
            if not left[r, c]:
                continue
            stack[0, 0], stack[0, 1] = r, c
            left[r, c] = False
            top = 1
            c0, c1, r0, r1, cells, moving, old = c, c, r, r, 0, 0, 0.0
            while top > 0:
                top -= 1
                y, x = stack[top, 0], stack[top, 1]
                c0, c1, r0, r1 = min(c0, x), max(c1, x), min(r0, y), max(r1, y)
                cells += 1
                old += age[y, x]
                speed = max(abs(motion[y, x, 0]), abs(motion[y, x, 1]))
                moving += (not known[y, x]) or speed > MOVING_PX
                for v in range(max(y - 1, 0), min(y + 2, rows)):
                    for u in range(max(x - 1, 0), min(x + 2, cols)):
                        if left[v, u]:
                            left[v, u] = False
                            stack[top, 0], stack[top, 1] = v, u
                            top += 1
            if cells >= LEAST_CELLS and n < out.shape[0]:
                out[n, 0], out[n, 1], out[n, 2], out[n, 3] = c0, r0, c1 + 1, r1 + 1
                out[n, 4], out[n, 5], out[n, 6] = cells, moving / cells, old / cells
                n += 1
    return n


@dataclass(frozen=True, slots=True)
class Changes:
    """n unexplained changes. xyxy (n, 4) float32 source pixels. chance (n,) float32: how likely a look finds an object
    there that is not tracked."""

    xyxy: F32
    chance: F32

    @classmethod
    def none(cls) -> Changes:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Scene:
    """What a frame looked like, for a look whose answer comes later. now (rows, cols) float32 luma of the grid's cells; changed
    (rows, cols) bool: those with unexplained changes; changes: the same, gathered."""

    now: F32
    changed: Bool
    changes: Changes


class Evidence:
    """Owner of what was last looked at, for one size of picture. Bounded by the grid."""

    def __init__(self, field: MotionField, luma: U8, net_per_pixel: float) -> None:
        self._shape = field.known.shape
        self._cell = (field.width / self._shape[1], field.height / self._shape[0])
        self._net = net_per_pixel
        self._seen = self._small(luma)
        self._usual = np.full(self._shape, USUAL, np.float32)
        self._covered = np.zeros(self._shape, np.bool_)
        self._age = np.zeros(self._shape, np.float32)  # frames since a look
        self._patience = np.ones(self._shape, np.float32)
        self._changed = np.zeros(self._shape, np.bool_)
        self._now = self._seen.copy()
        self._hits = self._hoped = 0.0
        self.changes = Changes.none()
        self.signs = np.zeros((0, len(WEIGHTS)), np.float32)

    def _small(self, luma: U8) -> F32:
        size = (self._shape[1], self._shape[0])
        return cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)

    def follow(self, field: MotionField, luma: U8, boxes: F32, steps: int) -> None:
        """One more frame, `steps` after the last. boxes (n, 4): the tracks, which explain what changes under them."""
        self._now = self._small(luma)
        self._age += steps
        before, self._covered = self._covered, np.zeros(self._shape, np.bool_)
        _mark(np.ascontiguousarray(boxes), *self._cell, GROWN, self._covered)
        count = _follow(self._now, self._seen, self._usual, before, self._covered, self._changed)
        self.changes = Changes.none() if count < LEAST_CELLS else self._gathered(field)

    def _gathered(self, field: MotionField) -> Changes:
        out = np.empty((MOST_BLOBS, 7), np.float32)
        blobs = out[: _blobs(self._changed, field.motion, field.known, self._age / self._patience, out)]
        xyxy = (blobs[:, :4] * np.array(self._cell * 2, np.float32)).astype(np.float32)
        trust = (self._hits + PRIOR) / (self._hoped + PRIOR)
        net = blobs[:, 4] * (self._cell[0] * self._cell[1] * self._net**2)
        wide, tall = ((xyxy[:, 2:] - xyxy[:, :2]) * self._net).T
        news = 1 - np.exp(-blobs[:, 6] / NEWS)
        self.signs = _signs(net, wide, tall, blobs[:, 5])
        likely = trust * news / (1 + np.exp(-(self.signs @ WEIGHTS)))
        return Changes(xyxy, np.minimum(likely, 1).astype(np.float32))

    def looked(self, field: MotionField, luma: U8) -> None:
        """The whole picture was looked at by another rung, which says nothing of what it found."""
        self._now = self._seen = self._small(luma)
        self._age[:] = 0
        self.changes = Changes.none()

    def scene(self) -> Scene:
        """The frame that was followed last."""
        return Scene(self._now, self._changed.copy(), self.changes)

    def settle(self, scene: Scene, areas: F32, found: F32) -> None:
        """A frame was looked at: areas (k, 4) of the picture, and found (n, 4) boxes of what was not tracked before."""
        inside = np.zeros(self._shape, np.bool_)
        _mark(np.ascontiguousarray(areas), *self._cell, -1, inside)
        held = holds_middle(scene.changes.xyxy, areas)
        hit = touch(scene.changes.xyxy, found)
        self._hoped += float(scene.changes.chance[held].sum())
        self._hits += float((hit & held).sum())
        shown = np.zeros(self._shape, np.bool_)
        _mark(np.ascontiguousarray(found), *self._cell, GROWN, shown)
        vain = inside & scene.changed & ~shown
        # It stays news, of a kind that is usual here: it is looked at again after a while.
        habit = HABIT * np.minimum(np.abs(scene.now - self._seen), MOST_TAUGHT)
        self._usual[vain] = np.maximum(self._usual, habit)[vain]
        self._age[inside] = 0
        self._patience[vain] = np.minimum(PATIENCE * self._patience[vain], MOST_PATIENCE)
        known = inside & ~vain
        self._patience[known] = 1
        self._seen[known] = scene.now[known]


def _signs(area: F32, wide: F32, tall: F32, moving: F32) -> F32:
    """(n, 7): what the regression weighs of a change. area (n,) square net pixels of its cells, wide and tall (n,) net
    pixels, moving (n,) share of its cells."""
    return np.stack((
        np.ones(len(area)), np.log(area / 400), np.log(np.maximum(tall, 8) / 40), np.log(np.maximum(wide, 8) / 40),
        moving, moving < 0.01, area / (wide * tall),
    ), 1).astype(np.float32)  # fmt: skip


def holds_middle(boxes: F32, areas: F32) -> Bool:
    """(n,) bool: boxes whose middle lies in one of the areas."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (middle[:, None] >= areas[None, :, :2]) & (middle[:, None] < areas[None, :, 2:])
    out: Bool = np.any(np.all(inside, axis=2), axis=1)
    return out


def touch(boxes: F32, others: F32) -> Bool:
    """(n,) bool: boxes that overlap one of the others."""
    out: Bool = np.any(iou(boxes, others) > 0, axis=1)
    return out
