"""Where the content of each cell was at the key frame: the motion fields since then, composed.

Features are resampled once, from the key frame itself, however many frames lie between: resampling them from frame to
frame would blur them a little more each time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from everyframe.operators.types import F32, Bool, MotionField


@dataclass(frozen=True, slots=True)
class Displacement:
    """Motion of one picture against the key frame, on the grid of a `MotionField`.

    shift (rows, cols, 2) float32: position now - position in the key frame, pixels (x, y), of the content that is in
    this cell now. reliable (rows, cols) bool: False where a cell on the way was coded anew: what is there now need not
    be in the key frame at all. cell: pixels. age: frames since the key frame.
    """

    shift: F32
    reliable: Bool
    cell: int
    width: int
    height: int
    age: int

    @classmethod
    def none(cls, width: int, height: int, cell: int = 8) -> Displacement:
        """At the key frame itself: nothing has moved."""
        rows, cols = -(-height // cell), -(-width // cell)
        return cls(
            np.zeros((rows, cols, 2), np.float32), np.ones((rows, cols), np.bool_), cell, width, height, 0
        )

    def then(self, field: MotionField) -> Displacement:
        """One frame on. Raises ValueError for a field of another grid."""
        if field.known.shape != self.reliable.shape or field.cell != self.cell:
            raise ValueError(
                f"a field of {field.known.shape} cells of {field.cell} px cannot follow one of "
                f"{self.reliable.shape} of {self.cell} px"
            )
        shift, reliable = np.empty_like(self.shift), np.empty_like(self.reliable)
        _compose(self.shift, self.reliable, field.motion, field.known, np.float32(self.cell), shift, reliable)
        return Displacement(shift, reliable, self.cell, self.width, self.height, self.age + 1)


@njit(cache=True, nogil=True)
def _compose(before, was_reliable, motion, known, cell, shift, reliable):  # type: ignore[no-untyped-def]
    """shift(p) = motion(p) + before(p - motion(p)), bilinear; what comes from outside takes the rim's shift."""
    rows, cols = known.shape
    for r in range(rows):
        for c in range(cols):
            x = c - motion[r, c, 0] / cell
            y = r - motion[r, c, 1] / cell
            inside = -0.5 <= x <= cols - 0.5 and -0.5 <= y <= rows - 0.5
            x = min(max(x, 0.0), cols - 1.0)
            y = min(max(y, 0.0), rows - 1.0)
            c0, r0 = int(x), int(y)
            c1, r1 = min(c0 + 1, cols - 1), min(r0 + 1, rows - 1)
            fx, fy = x - c0, y - r0
            for k in range(2):
                top = before[r0, c0, k] * (1.0 - fx) + before[r0, c1, k] * fx
                low = before[r1, c0, k] * (1.0 - fx) + before[r1, c1, k] * fx
                shift[r, c, k] = motion[r, c, k] + top * (1.0 - fy) + low * fy
            nearest = was_reliable[r0 if fy < 0.5 else r1, c0 if fx < 0.5 else c1]
            reliable[r, c] = known[r, c] and inside and nearest
