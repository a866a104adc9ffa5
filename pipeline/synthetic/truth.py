"""Ground truth of a synthetic clip: in memory, and as the MOT file beside the video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from everyframe.operators.types import F32, I32
from everyframe.pipeline.errors import SinkError, SourceError

COLUMNS = 9
PERSON, BICYCLE, CAR, MOTORCYCLE, BUS, TRUCK = 0, 1, 2, 3, 5, 7
"""Class ids of the COCO detector."""


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """n boxes of a clip, sorted by frame.

    frame (n,) int32: display index from 0. identity (n,) int32 from 1. xyxy (n, 4) float32 pixels: around the visible
    part. visibility (n,) float32 in 0..1: share of the object's pixels inside the picture that nothing hides. class_id
    (n,) int32 of the COCO detector. frames, width, height, rate: of the clip; a frame without boxes is empty.
    """

    frame: I32
    identity: I32
    xyxy: F32
    visibility: F32
    class_id: I32
    frames: int
    width: int
    height: int
    rate: float

    @classmethod
    def of(
        cls, rows: Iterable[Iterable[float]], frames: int, width: int, height: int, rate: float
    ) -> SceneTruth:
        """rows: frame from 0, identity, x1, y1, x2, y2, visibility, class_id."""
        table = np.array([tuple(row) for row in rows], np.float64).reshape(-1, 8)
        whole = table[:, [0, 1, 7]].astype(np.int32)
        return cls(
            whole[:, 0], whole[:, 1], table[:, 2:6].astype(np.float32), table[:, 6].astype(np.float32),
            whole[:, 2], frames, width, height, rate,
        )  # fmt: skip

    def rows_of(self, index: int) -> slice:
        """Where a frame's boxes are."""
        first, last = np.searchsorted(self.frame, [index, index + 1])
        return slice(int(first), int(last))


def write_truth(path: Path, truth: SceneTruth) -> None:
    """MOT lines: frame (from 1), id, left, top, width, height, 1, class id + 1, visibility. Raises SinkError."""
    side = truth.xyxy[:, 2:] - truth.xyxy[:, :2]
    lines = [
        f"{frame + 1},{identity},{x:.2f},{y:.2f},{w:.2f},{h:.2f},1,{class_id + 1},{visible:.3f}\n"
        for frame, identity, (x, y), (w, h), class_id, visible in zip(
            truth.frame.tolist(), truth.identity.tolist(), truth.xyxy[:, :2].tolist(), side.tolist(),
            truth.class_id.tolist(), truth.visibility.tolist(), strict=True,
        )
    ]  # fmt: skip
    try:
        path.write_text("".join(lines), "utf-8")
    except OSError as e:
        raise SinkError(f"cannot write {path} ({e.strerror or e}): free space or name another folder.") from e


def read_truth(path: Path, frames: int, width: int, height: int, rate: float) -> SceneTruth:
    """Reads what `write_truth` wrote; the rest is known from `cameras.json`. Raises SourceError."""
    try:
        text = path.read_text("utf-8")
        table = np.array([line.split(",") for line in text.splitlines()], np.float64).reshape(-1, COLUMNS)
    except (OSError, ValueError, UnicodeDecodeError) as e:
        raise SourceError(
            f"{path} is not the ground truth of a synthetic camera: run everyframe simulate again."
        ) from e
    xyxy = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1)
    rows = np.column_stack([table[:, 0] - 1, table[:, 1], xyxy, table[:, 8], table[:, 7] - 1])
    return SceneTruth.of(rows, frames, width, height, rate)
