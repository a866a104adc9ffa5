"""Learns the weights of `flow`'s quality from the dense detector, on video without labels.

Self-distillation: the detector on every frame is the teacher. The rung is played on each clip, with the teacher's
detections in place of a rectangle's, and wherever a label would have differed from the teacher's, the measures there at that
time have missed an error. Weights are those that foretell the number of errors best (least squares, not negative).
Half of the rectangles are drawn at random, so that also what the weights would not choose is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from everyframe.operators.boxes import iou, match
from everyframe.operators.detectors import NanoDetDetector
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.flow.displacement import Displacement
from everyframe.operators.flow.memory import GRID, Rect
from everyframe.operators.flow.operator import MOST_SAVED, SHARE, WORTH
from everyframe.operators.flow.quality import Quality
from everyframe.operators.flow.settle import settle
from everyframe.operators.flow.weights import BLOB_MEASURES, CELL_MEASURES, FIRST, TRACK_MEASURES, Weights
from everyframe.operators.flow.windows import COLS, ROWS, Need, choose, inner, inside, price
from everyframe.operators.propagate import Propagate
from everyframe.operators.types import F32, I32, Bool, MotionField, Objects, View
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.evaluation.dense import dense
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.labelling.tracks import TrackKeeper
from everyframe.pipeline.metrics import SCORE, group_table
from everyframe.pipeline.sources.file import FileSource

EVERY = 10
RANDOM = 0.5
"""Share of the rectangles that are drawn."""
CLOSE = 0.2  # overlap from which a track that should be elsewhere, or is too weak, accounts for a missed object
RIDGE = 1e-4  # of the largest variance: measures that always go together share their weight

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Clip:
    """What training needs of a video: fields and the teacher's objects, one for each frame."""

    width: int
    height: int
    imgsz: int
    fields: list[MotionField]
    teacher: list[Objects]


@dataclass(slots=True)
class Sums:
    """Normal equations of one kind of measure: of measures with each other, and with the errors."""

    squares: NDArray[np.float64]
    errors: NDArray[np.float64]

    @classmethod
    def of(cls, measures: Sequence[str]) -> Sums:
        return cls(np.zeros((len(measures),) * 2), np.zeros(len(measures)))

    def add(self, measures: F32, errors: F32, weight: float) -> None:
        """measures (n, k), errors (n,)."""
        x = measures.astype(np.float64)
        self.squares += weight * (x.T @ x)
        self.errors += weight * (x.T @ errors)

    def solve(self) -> F32:
        """The weights (k,) float32; 0 for measures that were never there."""
        size = np.sqrt(np.maximum(np.diag(self.squares), 1e-12))
        scaled = self.squares / size[:, None] / size[None, :] + RIDGE * np.eye(len(size))
        root = np.linalg.cholesky(scaled).T
        found, _ = nnls(root, np.linalg.solve(root.T, self.errors / size))
        weights: F32 = (found / size).astype(np.float32)
        return weights


@dataclass(slots=True)
class _Learnt:
    cells: Sums = field(default_factory=lambda: Sums.of(CELL_MEASURES))
    blobs: Sums = field(default_factory=lambda: Sums.of(BLOB_MEASURES))
    tracks: Sums = field(default_factory=lambda: Sums.of(TRACK_MEASURES))


def read(video: str, detector: NanoDetDetector, limit: int | None = None, progress: Progress | None = None) -> Clip:
    """A video's fields, and the detector on each of its frames (from the cache where it is there).

    Raises SourceError for a video that cannot be read, or that has frames which are not decoded.
    """
    teacher = dense(video, detector, limit, measure=False, progress=progress).frames
    with FileSource(video) as source:
        info = source.info
        known = (item.field for item in field_slots(source) if item.field is not None)
        fields = list(islice(known, limit))
    if len(fields) != len(teacher):
        raise SourceError(f"{video} gave {len(fields)} of {len(teacher)} frames with motion: name a video that decodes.")
    return Clip(info.width, info.height, detector.imgsz, fields, teacher)


def train(
    clips: Sequence[Clip], supercategory: Sequence[str], epochs: int = 2, seed: int = 0, progress: Progress | None = None
) -> Weights:
    """Weights that foretell best where labels differ from the teacher's; each clip counts the same.

    The first epoch is steered by a guess, each further one by what the epoch before learned. Equal clips and seeds
    give equal weights.
    """
    groups, weights = group_table(tuple(supercategory)), FIRST
    for epoch in range(epochs):
        learnt = _Learnt()
        for number, clip in enumerate(clips):
            _Play(clip, groups, weights, learnt, np.random.default_rng((seed, epoch, number))).run()
            if progress is not None:
                progress(f"epoch {epoch + 1} of {epochs}", number + 1, len(clips))
        weights = Weights(learnt.cells.solve(), learnt.blobs.solve(), learnt.tracks.solve())
    return weights


class _Play:
    """The rung on one clip, as `operators/flow/operator.py` has it, with the teacher's detections for the net's."""

    def __init__(
        self, clip: Clip, groups: I32, weights: Weights, learnt: _Learnt, draw: np.random.Generator
    ) -> None:
        self._clip, self._groups, self._weights, self._learnt, self._draw = clip, groups, weights, learnt, draw
        self._box = fit(clip.width, clip.height, clip.imgsz)
        self._quality = Quality(self._box)
        self._keeper = TrackKeeper(groups, SCORE)
        self._saved = 0.0

    def run(self) -> None:
        propagate, where = Propagate(), Displacement.none(self._clip.width, self._clip.height)
        for index, (motion, seen) in enumerate(zip(self._clip.fields, self._clip.teacher, strict=True)):
            view = View(self._clip.width, self._clip.height, motion)
            self._keeper.state = self._keeper.state.moved(propagate.apply(view, self._keeper.state.objects))
            where = where.then(motion)
            self._quality.follow(motion)
            self._saved = min(self._saved + SHARE, MOST_SAVED * SHARE)
            if index % EVERY == 0:
                self._keeper.take(seen, index)
                self._quality.looked_at_all()
                where, self._saved = Displacement.none(self._clip.width, self._clip.height, motion.cell), 0.0
            else:
                self._step(where, seen, index)

    def _step(self, where: Displacement, seen: Objects, index: int) -> None:
        tracks = self._keeper.state.objects
        blobs = self._quality.blobs(tracks, where.cell)
        measures = (
            self._quality.of_cells(), self._quality.of_blobs(blobs),
            self._quality.of_tracks(tracks, where),
        )  # fmt: skip
        self._learn(measures, tracks, self._box.to_source(blobs), seen)
        rect = self._rect(measures, tracks, blobs)
        if rect is None:
            return
        grid = (self._quality.rows, self._quality.cols)
        found = seen[inside(self._box.to_input(seen.xyxy), rect, grid, 0.0)]
        looked, taken = settle(tracks, found, rect, self._box, self._groups)
        self._quality.looked(inner(rect, grid), tracks.track_id[looked])
        self._keeper.take(Objects.concat([tracks[~looked], taken]), index)

    def _learn(self, measures: tuple[F32, F32, F32], tracks: Objects, blobs: F32, seen: Objects) -> None:
        wrong, missed = errors(tracks, seen[seen.score >= SCORE], self._groups)
        weight = 1 / len(self._clip.fields)
        self._learnt.tracks.add(measures[2], wrong, weight)
        cells, things = np.zeros(measures[0].shape[:2], np.float32), np.zeros(len(blobs), np.float32)
        centres = (missed[:, :2] + missed[:, 2:]) / 2
        for centre, (x, y) in zip(centres, self._box.to_input(np.tile(centres, 2))[:, :2] / GRID, strict=True):
            holds = np.flatnonzero(((centre >= blobs[:, :2]) & (centre < blobs[:, 2:])).all(1))
            if len(holds):
                things[holds[0]] += 1
            else:
                cells[min(int(y), self._quality.rows - 1), min(int(x), self._quality.cols - 1)] += 1
        self._learnt.cells.add(measures[0].reshape(-1, len(CELL_MEASURES)), cells.reshape(-1), weight)
        self._learnt.blobs.add(measures[1], things, weight)

    def _rect(self, measures: tuple[F32, F32, F32], tracks: Objects, blobs: F32) -> Rect | None:
        if self._draw.random() < RANDOM:
            return self._random()
        values = np.concatenate((measures[2] @ self._weights.tracks, measures[1] @ self._weights.blobs))
        boxes = np.concatenate((self._box.to_input(tracks.xyxy), blobs))
        chosen = choose(Need(measures[0] @ self._weights.cells, values, boxes), WORTH, self._saved)
        if chosen is None:
            return None
        self._saved -= chosen[1]
        return chosen[0]

    def _random(self) -> Rect | None:
        grid = (self._quality.rows, self._quality.cols)
        cols, rows = min(int(self._draw.choice(COLS)), grid[1]), min(int(self._draw.choice(ROWS)), grid[0])
        cost = price(cols, rows, grid)
        if cost > self._saved:
            return None
        self._saved -= cost
        left, top = int(self._draw.integers(grid[1] - cols + 1)), int(self._draw.integers(grid[0] - rows + 1))
        return left, top, left + cols, top + rows


def errors(tracks: Objects, seen: Objects, groups: I32) -> tuple[F32, F32]:
    """How many errors each track accounts for, (n,) float32, and the boxes (m, 4) that no track accounts for.

    tracks: those reported and those too weak. seen: what the teacher reports. A reported track that no object matches
    is one error; an object that no reported track matches is one, and is charged to the nearest track that is too weak
    or in the wrong place.
    """
    same = groups[tracks.class_id][:, None] == groups[seen.class_id][None, :]
    overlap = np.where(same, iou(tracks.xyxy, seen.xyxy), 0).astype(np.float32)
    strong: Bool = tracks.score >= SCORE
    rows, columns = match(np.where(strong[:, None], overlap, 0).astype(np.float32), 0.5)
    wrong = strong.astype(np.float32)
    wrong[rows] = 0
    missing = np.setdiff1d(np.arange(len(seen)), columns)
    free = np.setdiff1d(np.arange(len(tracks)), rows)
    charged, mended = match(overlap[np.ix_(free, missing)], CLOSE)
    wrong[free[charged]] += 1
    missed: F32 = seen.xyxy[np.delete(missing, mended)]
    return wrong, missed
