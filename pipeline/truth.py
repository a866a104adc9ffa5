"""Ground truth in MOT format: what people (or pixel masks) say is in each frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import F32, I32, Objects
from everyframe.pipeline.errors import SourceError, UsageError

LEAST_COLUMNS = 7


@dataclass(frozen=True, slots=True)
class Truth:
    """n boxes of the labelled frames.

    frame (n,) int32: display index from 0. xyxy (n, 4) float32 pixels, not clipped to the picture. identity (n,)
    int32. ignored (n,) bool: neither to be found nor wrong to find. first, last: the labelled frames, both included:
    there, a frame without boxes is empty; outside of them nothing is known.
    """

    frame: I32
    xyxy: F32
    identity: I32
    ignored: NDArray[np.bool_]
    first: int
    last: int

    def frames(self, count: int) -> range:
        """The labelled frames among the first `count`."""
        return range(min(self.first, count), min(self.last + 1, count))

    def objects(self, index: int, class_id: int) -> Objects:
        """What is to be found in a frame, as objects of one class with score 1 and the truth's identities."""
        rows = (self.frame == index) & ~self.ignored
        n = int(rows.sum())
        return Objects.of(self.xyxy[rows], np.ones(n), np.full(n, class_id), self.identity[rows])

    def ignored_boxes(self, index: int) -> F32:
        """(m, 4) float32: boxes of a frame in which anything may be found."""
        boxes: F32 = self.xyxy[(self.frame == index) & self.ignored]
        return boxes


def load_truth(path: str, labelled: tuple[int, int] | None = None) -> Truth:
    """Reads a MOT ground truth file: lines `frame, id, left, top, width, height, conf, ...`, frames from 1.

    Rows with conf 0 are regions to ignore. labelled: first and last labelled frame, from 1 and both included; where
    None, from the first to the last frame that has a row. A class column is not read: the file is taken to label one
    group of classes. Raises SourceError for a file that cannot be read, UsageError for a range that makes no sense.
    """
    rows = _read(path)
    frame = rows[:, 0].astype(np.int32) - 1
    if labelled is not None and not 1 <= labelled[0] <= labelled[1]:
        raise UsageError(
            f"labelled frames {labelled[0]}-{labelled[1]} of {path}: give the first and the last, counted from 1."
        )
    first, last = (
        (int(frame.min()), int(frame.max())) if labelled is None else (labelled[0] - 1, labelled[1] - 1)
    )
    inside = (frame >= first) & (frame <= last)
    rows, frame = rows[inside], frame[inside]
    xyxy = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], 1).astype(np.float32)
    return Truth(frame, xyxy, rows[:, 1].astype(np.int32), rows[:, 6] == 0, first, last)


def _read(path: str) -> NDArray[np.float64]:
    """(n, 7) float64: the first columns of all rows, n > 0."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except FileNotFoundError as e:
        raise SourceError(f"No ground truth file {path}: name a file in MOT format.") from e
    except (OSError, UnicodeDecodeError) as e:
        raise SourceError(f"Cannot read the ground truth {path}: name a text file in MOT format.") from e
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise SourceError(f"The ground truth {path} is empty: name a file in MOT format.")
    return np.array(rows, np.float64)


def _row(path: str, number: int, line: str) -> list[float]:
    cells = line.split(",")
    try:
        values = [float(cell) for cell in cells[:LEAST_COLUMNS]]
    except ValueError:
        values = []
    whole = len(values) == LEAST_COLUMNS and bool(np.isfinite(values).all())
    if not whole or values[0] < 1 or values[4] <= 0 or values[5] <= 0:
        raise SourceError(
            f"Line {number} of the ground truth {path} is not MOT format: write frame (from 1), id, left, top, "
            "width, height, conf, with numbers throughout."
        )
    return values
