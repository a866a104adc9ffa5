"""How good what is known of each part of the picture still is: the errors to be expected there, learned.

The feature quality of Zhu et al. (CVPR 2018), with two deviations: it comes from the compressed stream and the tracks in
place of a branch of the net, and its unit is wrong labels. For each cell of a grid, and for each track, a few measures
are kept since it was last looked at; a weighted sum of them is the number of errors to be expected. The weights are
learned against the dense detector (`everyframe train-flow`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from everyframe.operators.boxes import iou
from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.flow.displacement import Displacement
from everyframe.operators.flow.memory import GRID, Rect
from everyframe.operators.flow.weights import BLOB_MEASURES, TRACK_MEASURES, Weights
from everyframe.operators.flow.windows import Need
from everyframe.operators.types import F32, I32, Bool, MotionField, Objects

MOVING_PX = 0.5
REPORTED = 0.45
DOUBT = 0.2  # of the score: so near to what is reported a track may be reported or not
TOUCHING = 0.05
USUAL = 0.02  # how fast what is usual for a cell is learned: over some 50 frames
LONGEST = 30.0  # frames: beyond, an age says no more
MOST = 4.0
FADES, RECENT = 0.6, 0.3  # what moved counts for two frames more: vectors flicker
SMALLEST = 4  # cells of a field
MOST_BLOBS = 16
UNIT = 10.0  # frames: ages are measured in it


class Quality:
    """One stream's measures; the one owner of what is kept about each cell and track.

    box: how the picture lies in the net's input. `follow` is told of every frame, `looked` of what was looked at.
    """

    def __init__(self, box: Letterbox) -> None:
        self.box = box
        self.rows, self.cols = box.outer[1] // GRID, box.outer[0] // GRID
        self._age = np.zeros((self.rows, self.cols), np.float32)
        self._frame = 0
        self._whole_at = 0
        self._seen: dict[int, int] = {}
        self._recent: F32 | None = None  # (field rows, field cols): cells coded anew or straying, fading away
        self._usual = np.zeros((2, self.rows, self.cols), np.float32)
        self._excess = np.zeros((2, self.rows, self.cols), np.float32)

    def follow(self, field: MotionField) -> None:
        """One decoded frame on."""
        self._frame += 1
        self._age += 1
        if self._recent is None or self._recent.shape != field.known.shape:
            self._recent = np.zeros(field.known.shape, np.float32)
        if not field.known.any():  # an intra picture says nothing of what changed
            return
        whole = np.median(field.motion[::8, ::8].reshape(-1, 2), axis=0)
        now = np.zeros((2, *field.known.shape), np.float32)
        _add_news(field.motion, field.known, whole[0], whole[1], now, self._recent)
        on_grid = self._on_grid(now, field.cell)
        self._excess += on_grid - self._usual
        self._usual += np.float32(USUAL) * (on_grid - self._usual)

    def looked(self, rect: Rect, tracks: I32) -> None:
        """A rectangle of the grid was looked at, and with it tracks of these ids."""
        x0, y0, x1, y1 = rect
        self._age[y0:y1, x0:x1] = 0
        self._excess[:, y0:y1, x0:x1] = 0
        self._seen.update(dict.fromkeys(tracks.tolist(), self._frame))

    def looked_at_all(self) -> None:
        self.looked((0, 0, self.cols, self.rows), np.zeros(0, np.int32))
        self._seen.clear()
        self._whole_at = self._frame

    def need(self, tracks: Objects, where: Displacement, weights: Weights) -> Need:
        """Errors to be expected; tracks: in this frame. where: the motion since the key frame."""
        cells = self.of_cells() @ weights.cells
        blobs = self.blobs(tracks, where.cell)
        values = np.concatenate((self.of_tracks(tracks, where) @ weights.tracks, self.of_blobs(blobs) @ weights.blobs))
        return Need(cells, values, np.concatenate((self.box.to_input(tracks.xyxy), blobs)))

    def of_cells(self) -> F32:
        """(rows, cols, 1) float32, in the order of `CELL_MEASURES`."""
        age = np.minimum(self._age, LONGEST) / UNIT
        return age[..., None].astype(np.float32)

    def blobs(self, tracks: Objects, cell: int) -> F32:
        """Boxes (n, 4) float32, in pixels of the net's input, of what moves as one or was coded anew, beside all tracks."""
        if self._recent is None:
            return np.zeros((0, 4), np.float32)
        news = ((self._recent > RECENT) & ~_covered(tracks, self._recent.shape, cell)).view(np.uint8)
        joined = cv2.morphologyEx(news, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        stats = stats[1:][stats[1:, 4] >= SMALLEST]
        stats = stats[np.argsort(-stats[:, 4], kind="stable")][:MOST_BLOBS]
        corners = np.concatenate((stats[:, :2], stats[:, :2] + stats[:, 2:4]), 1).astype(np.float32) * cell
        return self.box.to_input(corners)

    def of_blobs(self, boxes: F32) -> F32:
        """(n, 2) float32, in the order of `BLOB_MEASURES`."""
        out = np.zeros((len(boxes), len(BLOB_MEASURES)), np.float32)
        excess = np.clip(self._excess, 0, MOST).sum(0)
        for i, (x0, y0, x1, y1) in enumerate((boxes / GRID).tolist()):
            r, c = slice(int(y0), int(y1) + 1), slice(int(x0), int(x1) + 1)
            age = min(float(self._age[r, c].mean()) if self._age[r, c].size else 0.0, LONGEST) / UNIT
            size = min(((x1 - x0) * (y1 - y0)) ** 0.5, MOST)
            unusual = min(float(excess[r, c].sum()) if age else 0.0, MOST)
            out[i] = size * min(age, 1.0), unusual
        return out

    def of_tracks(self, tracks: Objects, where: Displacement) -> F32:
        """(n, 5) float32, in the order of `TRACK_MEASURES`."""
        if not len(tracks):
            return np.zeros((0, len(TRACK_MEASURES)), np.float32)
        ages = [self._frame - self._seen.get(t, self._whole_at) for t in tracks.track_id.tolist()]
        age = np.minimum(np.array(ages, np.float32), LONGEST) / np.float32(UNIT)
        self._forget_others(tracks)
        boxes = tracks.xyxy
        overlap = iou(boxes, boxes)
        np.fill_diagonal(overlap, 0)
        strong = tracks.score >= REPORTED
        at = (boxes[:, :2] + boxes[:, 2:]) / (2 * where.cell)
        rows, cols = where.reliable.shape
        r, c = np.clip(at[:, 1], 0, rows - 1).astype(np.intp), np.clip(at[:, 0], 0, cols - 1).astype(np.intp)
        shift = where.shift[r, c]
        side = np.sqrt(np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1))
        moved = np.minimum(np.hypot(shift[:, 0], shift[:, 1]) / side, 2) * np.minimum(age, 1)
        doubt = np.maximum(0, 1 - np.abs(tracks.score - REPORTED) / DOUBT)
        values = (
            age * strong, age * doubt, age * (overlap.max(1) > TOUCHING), strong * moved,
            age * ~where.reliable[r, c],
        )  # fmt: skip
        return np.stack(values, 1).astype(np.float32)

    def _forget_others(self, tracks: Objects) -> None:
        if len(self._seen) > 2 * len(tracks):
            alive = set(tracks.track_id.tolist())
            self._seen = {t: at for t, at in self._seen.items() if t in alive}

    def _on_grid(self, layers: F32, cell: int) -> F32:
        """(k, field rows, field cols) to (k, rows, cols): means over the grid's cells; 0 beyond the picture."""
        sx, sy = self.box.scale
        height, width = layers.shape[1:]
        size = (max(1, round(width * cell / sx / GRID)), max(1, round(height * cell / sy / GRID)))
        small = cv2.resize(layers.transpose(1, 2, 0), size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
        out = np.zeros((len(layers), self.rows, self.cols), np.float32)
        out[:, : size[1], : size[0]] = small.transpose(2, 0, 1)[:, : self.rows, : self.cols]
        return out


@njit(cache=True, nogil=True)
def _add_news(motion, known, whole_x, whole_y, now, recent):  # type: ignore[no-untyped-def]
    """Marks cells coded anew (now[0]) and cells that move against the picture as a whole (now[1]); fades `recent`."""
    for r in range(known.shape[0]):
        for c in range(known.shape[1]):
            recent[r, c] *= FADES
            if not known[r, c]:
                now[0, r, c] = recent[r, c] = 1.0
            elif abs(motion[r, c, 0] - whole_x) + abs(motion[r, c, 1] - whole_y) > MOVING_PX:
                now[1, r, c] = recent[r, c] = 1.0


def _covered(tracks: Objects, shape: tuple[int, ...], cell: int) -> Bool:
    """Cells of a field in or next to a track's box, (rows, cols) bool."""
    out = np.zeros(shape, np.bool_)
    tracks = tracks[tracks.score > 0]
    low = np.maximum(np.floor(tracks.xyxy[:, :2] / cell).astype(int) - 1, 0)
    high = np.maximum(np.ceil(tracks.xyxy[:, 2:] / cell).astype(int) + 1, 0)
    for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True):
        out[y0:y1, x0:x1] = True
    return out
