"""A flat ground seen by an upright camera: where things stand, and how large they look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ground:
    """A pinhole camera `height_m` above the ground.

    horizon: its row in pixels, above the picture where negative. focal: pixels. width, height: of the picture. A point x
    metres to the right and z metres away is at column width / 2 + x * scale and row horizon + height_m * scale, with
    scale = focal / z pixels a metre.
    """

    horizon: float
    height_m: float
    focal: float
    width: int
    height: int

    def scale_at(self, row: float) -> float:
        """Pixels a metre of what stands at a row, in pixels; the row must be below the horizon."""
        return (row - self.horizon) / self.height_m

    def depth_at(self, row: float) -> float:
        """Metres from the camera to the ground at a row."""
        return self.focal / self.scale_at(row)

    def project(self, x: float, z: float) -> tuple[float, float, float]:
        """Column, row and scale (pixels a metre) of a point on the ground, in metres."""
        scale = self.focal / z
        return self.width / 2 + x * scale, self.horizon + self.height_m * scale, scale

    def grid(self, left: int, top: int, width: int, height: int) -> tuple[F64, F64]:
        """Ground coordinates (x, z) in metres, (height, width) each, of pixels from (left, top) on; inf above the horizon."""
        rows = top + np.arange(height) + 0.5
        scale = np.maximum((rows - self.horizon) / self.height_m, 0.0)
        with np.errstate(divide="ignore"):
            z = np.where(scale > 0, self.focal / np.maximum(scale, 1e-9), np.inf)
        columns = left + np.arange(width) + 0.5 - self.width / 2
        with np.errstate(invalid="ignore"):
            x = columns[None, :] * (z / self.focal)[:, None]
        return np.nan_to_num(x, nan=0.0), np.broadcast_to(z[:, None], x.shape)

    @property
    def nearest(self) -> float:
        """Metres to the ground at the lower border."""
        return self.depth_at(self.height)
