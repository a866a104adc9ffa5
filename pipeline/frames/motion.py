"""From the codec's motion vectors to one `MotionField` a frame.

H.264 (clause 8.4) predicts a block from reference pictures that may lie several frames away, on either side. FFmpeg
exports the vector and the list (0: mostly the past, 1: mostly the future), not which picture it points to. Encoders
sort each list by distance, so the nearest reference of a list is by far the most used one: a vector is taken to point
to it and is scaled to one frame step by the time between the pictures. Which pictures are references, and which of
them were decoded before, the packets say.
"""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from everyframe.operators.types import MotionField

CELL = 8
LARGE_CELL, LARGE = 16, 1280 * 960
"""Cells of pictures with more pixels: a macroblock, which in them is no coarser a part of the picture."""
MOVING_PX = 0.3  # above the quarter-pixel noise of a still picture


def cell_of(width: int, height: int) -> int:
    """Side of the cells of a picture's motion field, pixels."""
    return LARGE_CELL if width * height > LARGE else CELL


@njit(cache=True, nogil=True)
def _rasterise(vectors, past, future, cell, motion, distance):  # type: ignore[no-untyped-def]
    """Writes each vector, scaled to one frame step, into the cells of its block; the nearer reference wins.

    past, future: distance in frame steps to the reference of list 0 and 1 (> 0). motion (rows, cols, 2) and
    distance (rows, cols), the latter filled with a large value, are written.
    """
    rows, cols = distance.shape
    for i in range(vectors.shape[0]):
        v = vectors[i]
        is_past = v["source"] < 0
        d = past if is_past else future
        if d <= 0.0:
            continue
        sign = -1.0 if is_past else 1.0
        scale = sign / (d * v["motion_scale"])
        mx = v["motion_x"] * scale
        my = v["motion_y"] * scale
        c0 = max((v["dst_x"] - v["w"] // 2) // cell, 0)
        r0 = max((v["dst_y"] - v["h"] // 2) // cell, 0)
        c1 = min((v["dst_x"] + (v["w"] + 1) // 2 - 1) // cell + 1, cols)
        r1 = min((v["dst_y"] + (v["h"] + 1) // 2 - 1) // cell + 1, rows)
        for r in range(r0, r1):
            for c in range(c0, c1):
                if d < distance[r, c]:
                    distance[r, c] = d
                    motion[r, c, 0] = mx
                    motion[r, c, 1] = my
                elif d == distance[r, c]:
                    motion[r, c, 0] = 0.5 * (motion[r, c, 0] + mx)
                    motion[r, c, 1] = 0.5 * (motion[r, c, 1] + my)


def field_from_vectors(
    vectors: np.ndarray, past: float, future: float, width: int, height: int, cell: int | None = None
) -> MotionField:
    """Rasterises FFmpeg's vectors of one picture.

    vectors: structured array of AVMotionVector. past, future: distance to the reference of list 0 and list 1 in frame
    steps; 0 where there is none (its vectors are left out). width, height: coded picture in pixels. Cells without a
    vector were coded anew: `known` is False there. cell: `cell_of` the picture if not given.
    """
    cell = cell or cell_of(width, height)
    rows, cols = -(-height // cell), -(-width // cell)
    motion = np.zeros((rows, cols, 2), np.float32)
    distance = np.full((rows, cols), np.float32(1e9))
    _rasterise(vectors, np.float32(past), np.float32(future), cell, motion, distance)
    return MotionField(motion, distance < 1e9, cell, width, height)


@njit(cache=True, nogil=True)
def _project(vectors, distance, back, cell, moving, motion, known):  # type: ignore[no-untyped-def]
    """Completes the motion of a frame with the vectors of a later picture that spans it.

    A block of the later picture (list 0, `distance` frame steps long) is followed `back` steps along its own vector;
    where it passes, cells slower than `moving` pixels take its motion, others the mean of both. Temporal direct prediction (H.264, 8.4.1.2.3)
    assumes the same straight path. motion and known are written.
    """
    rows, cols = known.shape
    still = np.ones((rows, cols), np.bool_)
    for r in range(rows):
        for c in range(cols):
            still[r, c] = motion[r, c, 0] ** 2 + motion[r, c, 1] ** 2 <= moving * moving
    for i in range(vectors.shape[0]):
        v = vectors[i]
        if v["source"] >= 0:
            continue
        mx = v["motion_x"] / v["motion_scale"] / distance
        my = v["motion_y"] / v["motion_scale"] / distance
        if mx * mx + my * my <= moving * moving:
            continue
        x = v["dst_x"] + mx * back
        y = v["dst_y"] + my * back
        c0 = max(int(np.floor((x - v["w"] / 2) / cell + 0.5)), 0)
        c1 = min(int(np.floor((x + v["w"] / 2) / cell + 0.5)), cols)
        r0 = max(int(np.floor((y - v["h"] / 2) / cell + 0.5)), 0)
        r1 = min(int(np.floor((y + v["h"] / 2) / cell + 0.5)), rows)
        for r in range(r0, r1):
            for c in range(c0, c1):
                own = 0.0 if still[r, c] else 0.5
                motion[r, c, 0] = own * motion[r, c, 0] - (1 - own) * mx
                motion[r, c, 1] = own * motion[r, c, 1] - (1 - own) * my
                known[r, c] = True


def add_spanning(field: MotionField, vectors: np.ndarray, distance: float, back: float) -> MotionField:
    """`field` completed from a later picture's list-0 vectors that span it.

    B pictures are quantised coarsely and code much as "skip", which loses a part of small motion; the next I or P
    picture has it. distance: frame steps from that picture to its reference; back: from it to this field's picture.
    """
    motion, known = field.motion.copy(), field.known.copy()
    _project(vectors, np.float32(distance), np.float32(back), field.cell, np.float32(MOVING_PX), motion, known)
    return MotionField(motion, known, field.cell, field.width, field.height)


def rotate_field(field: MotionField, degrees: int) -> MotionField:
    """Turns a field of the coded picture counter-clockwise by 0, 90, 180 or 270 degrees to the upright picture."""
    turns = degrees // 90 % 4
    if turns == 0:
        return field
    x, y = field.motion[..., 0], field.motion[..., 1]
    turned = {1: (y, -x), 2: (-x, -y), 3: (-y, x)}[turns]
    motion = np.rot90(np.stack(turned, -1), turns)
    width, height = (field.height, field.width) if turns % 2 else (field.width, field.height)
    return MotionField(
        np.ascontiguousarray(motion), np.ascontiguousarray(np.rot90(field.known, turns)), field.cell, width, height
    )


class OpticalFlow:
    """DIS optical flow (Kroeger et al., ECCV 2016; OpenCV) for streams whose codec exports no vectors.

    Works on luma scaled down to at most 320 pixels in width: boxes need no finer motion.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._before: np.ndarray | None = None

    def field(self, luma: np.ndarray) -> MotionField:
        """The field of an upright gray picture (height, width) uint8 against the picture given before it."""
        height, width = luma.shape
        cell = cell_of(width, height)
        scale = min(1.0, 320 / width)
        size = (max(16, round(width * scale)), max(16, round(height * scale)))
        small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        before, self._before = self._before, small
        if before is None or before.shape != small.shape:
            return unknown_field(width, height, cell)
        back = self._flow.calc(small, before, np.zeros((*small.shape, 2), np.float32))
        rows, cols = -(-height // cell), -(-width // cell)
        covered = (cols * cell * size[0] / width, rows * cell * size[1] / height)
        xs = (np.arange(cols, dtype=np.float32) + 0.5) * np.float32(covered[0] / cols) - 0.5
        ys = (np.arange(rows, dtype=np.float32) + 0.5) * np.float32(covered[1] / rows) - 0.5
        grid = np.meshgrid(xs, ys)
        at_cells = cv2.remap(back, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        motion = -at_cells * np.array([width / size[0], height / size[1]], np.float32)
        return MotionField(motion.astype(np.float32), np.ones((rows, cols), np.bool_), cell, width, height)


def unknown_field(width: int, height: int, cell: int | None = None) -> MotionField:
    """A field of which nothing is known. cell: `cell_of` the picture if not given."""
    cell = cell or cell_of(width, height)
    rows, cols = -(-height // cell), -(-width // cell)
    return MotionField(
        np.zeros((rows, cols, 2), np.float32), np.zeros((rows, cols), np.bool_), cell, width, height
    )
