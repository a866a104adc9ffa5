"""From a clean picture to what a camera gives: light, rain, grain, a clock, as luma and chroma planes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import U8
from everyframe.pipeline.synthetic.camera import Camera, Generator
from everyframe.pipeline.synthetic.scenery import fractal

_SHEETS = 6
_SLACK = 32


class Sensor:
    """Develops the pictures of one camera, in order."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._rng = camera.rng(8)
        self._drift = self._rng.uniform(0, 2 * np.pi, 3)
        self._level = 0.0
        self._step = 0.0
        self._grain = [self._sheet() for _ in range(_SHEETS)] if camera.picture.grain else []
        self._rain = [self._streaks() for _ in range(3)] if camera.picture.rain else []
        self._clouds = self._sky() if camera.picture.clouds else None

    def develop(self, picture: U8, index: int) -> U8:
        """A BGR picture (h, w, 3) uint8 as planes of yuv420p, (h * 3 / 2, w) uint8."""
        planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)
        height, width = picture.shape[:2]
        luma = planes[:height]
        t = index / self._camera.rate
        if self._clouds is not None:
            left = int(t * 14) % (self._clouds.shape[1] - width)
            luma[:] = cv2.multiply(luma, self._clouds[:height, left : left + width], scale=1 / 255)
        luma[:] = cv2.LUT(luma, self._tone(t))
        for sheets in (self._rain, self._grain):
            if sheets:
                x, y = self._rng.integers(0, _SLACK, 2).tolist()
                sheet = sheets[int(self._rng.integers(len(sheets)))]
                luma[:] = cv2.add(luma, sheet[y : y + height, x : x + width], dtype=cv2.CV_8U)
        if self._camera.picture.grey:
            planes[height:] = 128
        if self._camera.picture.clock:
            _write_clock(luma, t)
        return planes

    def _tone(self, t: float) -> U8:
        """The curve from light to grey levels: slow changes, sudden steps that the exposure evens out again."""
        p = self._camera.picture
        if p.steps_s and self._rng.random() < 1 / (p.steps_s * self._camera.rate):
            self._step += float(self._rng.normal(0, 0.12))
        self._step *= 0.97 ** (25 / self._camera.rate)
        slow = np.sin(t * np.array([0.05, 0.31, 1.1]) * 2 * np.pi + self._drift) @ np.array([0.6, 0.3, 0.1])
        gain = 1 + p.light * float(slow) + self._step
        curve: U8 = np.clip(16 + (np.arange(256) - 16) * gain, 0, 255).round().astype(np.uint8)
        return curve

    def _sheet(self) -> NDArray[np.int16]:
        """Grain, larger than the picture so that it can be moved about."""
        p, c = self._camera.picture, self._camera
        noise = self._rng.standard_normal((c.height + _SLACK, c.width + _SLACK)).astype(np.float32)
        if p.grain_px:
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), p.grain_px), np.float32)
            noise /= noise.std()
        return (noise * p.grain).round().astype(np.int16)

    def _streaks(self) -> NDArray[np.int16]:
        c = self._camera
        sheet = np.zeros((c.height + _SLACK, c.width + _SLACK), np.uint8)
        count = int(c.picture.rain * c.width * c.height / 900)
        slant = float(self._rng.normal(0, 0.15))
        for x, y, long in _drops(self._rng, sheet.shape, count):
            cv2.line(sheet, (x, y), (x + round(slant * long), y + long), int(self._rng.integers(8, 50)), 1)
        return sheet.astype(np.int16)

    def _sky(self) -> U8:
        """Shadows of clouds as factors of 255, wider than the picture: they pass."""
        c = self._camera
        wide = c.width * 3
        small = fractal(self._rng, wide // 8, c.height // 8 + 1, 1, 4)
        shade = np.clip(small, 0, 1) * c.picture.clouds
        sky = cv2.resize(255 * (1 - shade), (wide, c.height), interpolation=cv2.INTER_CUBIC)
        return np.clip(sky, 0, 255).astype(np.uint8)


def _drops(rng: Generator, shape: tuple[int, ...], count: int) -> list[tuple[int, int, int]]:
    x, y = rng.integers(0, shape[1], count), rng.integers(0, shape[0], count)
    return list(zip(x.tolist(), y.tolist(), rng.integers(4, 22, count).tolist(), strict=True))


def _write_clock(luma: U8, t: float) -> None:
    seconds = int(t)
    text = f"{8 + seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    size = luma.shape[0] / 600 + 0.2
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    luma[-14 - tall : -6, 6 : 10 + wide] = 16
    cv2.putText(luma, text, (8, luma.shape[0] - 10), cv2.FONT_HERSHEY_SIMPLEX, size, 235, 1)
