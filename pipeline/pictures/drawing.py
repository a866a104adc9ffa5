"""The contact sheet: some frames of a labelled video side by side, chosen to show each way that boxes come to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from everyframe.operators.types import U8, Origin
from everyframe.pipeline.errors import SinkError, UsageError
from everyframe.pipeline.labels import read_labels
from everyframe.pipeline.pictures.overlay import (
    INK,
    PAPER,
    STYLES,
    Colour,
    draw_box,
    draw_labels,
    put_text,
    text_size,
)
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.schema import ORIGINS, Record, from_record
from everyframe.pipeline.sinks.files import write_whole
from everyframe.pipeline.sinks.video import pictures_at

_CELL = 560  # width of a picture, pixels
_GAP, _HEAD, _CAPTION = 20, 72, 34
_GREY: Colour = (120, 112, 104)
_COMMON = (Origin.DETECTED, Origin.PROPAGATED, Origin.INTERPOLATED)
_SHOWN = (Origin.DETECTED, Origin.REGION, Origin.RESIDUAL, Origin.FLOW, *_COMMON[1:], Origin.HELD)


def contact_sheet(source_path: str | Path, labels_path: str | Path, out_png: str | Path, frames: int = 6) -> None:
    """Draws `frames` frames of a video with their labels, a caption under each and a legend, into a PNG.

    labels_path: the video's .labels.jsonl. Raises UsageError: no labels; SinkError: a file cannot be read or written.
    """
    facts = _Facts.of(labels_path)
    chosen = facts.choose(frames)
    records = {r["frame_index"]: r for r in read_labels(labels_path) if r["frame_index"] in chosen}
    rows = [records[index] for index in sorted(records)]
    pictures = list(pictures_at(str(source_path), [(r["frame_index"], r["pts"]) for r in rows]))
    cells = [_cell(p, r) for p, r in zip(pictures, rows, strict=True) if p is not None]
    if not cells:
        raise SinkError(f"cannot draw {out_png}: none of the labelled frames could be read from {source_path} again")
    _save(_sheet(cells, rows[0], facts), Path(out_png))


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the choice is made from. counts (frames, origins): boxes of each origin; index (frames,): frame numbers."""

    index: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, labels_path: str | Path) -> _Facts:
        index, counts = [], []
        for record in read_labels(labels_path):
            origins = [o["origin"] for o in record["objects"]]
            index.append(record["frame_index"])
            counts.append([origins.count(name) for name in ORIGINS])
        if not index:
            raise UsageError(f"no labels in {labels_path}: a contact sheet needs at least one labelled frame")
        return cls(np.array(index), np.array(counts))

    def choose(self, frames: int) -> set[int]:
        """Frame numbers, one from each of `frames` equal stretches; stretches take turns at what they should show."""
        total = self.counts.sum(0)
        turns = [origin for origin in _SHOWN[:-1] if total[origin]] or [Origin.HELD]
        chosen = set()
        for turn, rows in enumerate(np.array_split(np.arange(len(self.index)), min(frames, len(self.index)))):
            wanted = self.counts[rows, turns[turn % len(turns)]]
            others = self.counts[rows].sum(1)
            middle = np.abs(np.arange(len(rows)) - len(rows) / 2) / len(rows)
            chosen.add(int(self.index[rows[np.argmax(4 * wanted + others - middle)]]))
        return chosen


def _cell(picture: U8, record: Record) -> U8:
    """A picture of `_CELL` width with its boxes, and a caption below."""
    labels = from_record(record)
    scale = _CELL / labels.width
    size = (_CELL, max(1, round(labels.height * scale)))
    # Drawn after scaling, so that lines and letters stay sharp.
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)
    draw_labels(small, labels, _names(record, labels), scale, line=2)
    cell = np.full((small.shape[0] + _CAPTION, _CELL, 3), PAPER, np.uint8)
    cell[: small.shape[0]] = small
    base = small.shape[0] + 24
    put_text(cell, (0, base), f"frame {labels.frame_index}", 17, INK, bold=True)
    x = text_size(f"frame {labels.frame_index}", 17, bold=True)[0] + 12
    put_text(cell, (x, base), f"{labels.time_s:.2f} s   {_age(labels)}", 16, _GREY)
    # What most of its boxes are: a propagated frame may show interpolated ones.
    counts = np.bincount(labels.objects.origin, minlength=len(Origin))
    origin = Origin(int(counts.argmax())) if len(labels.objects) else labels.origin
    width = text_size(origin.label, 15)[0] + 16
    cv2.rectangle(cell, (_CELL - width, base - 17), (_CELL, base + 6), STYLES[origin].colour, cv2.FILLED)
    put_text(cell, (_CELL - width + 8, base), origin.label, 15, INK)
    return cell


def _age(labels: FrameLabels) -> str:
    if labels.origin == Origin.DETECTED:
        return "CNN ran here"
    if labels.key_age > labels.frame_index:
        return "CNN has not run yet"
    return "CNN ran 1 frame ago" if labels.key_age == 1 else f"CNN ran {labels.key_age} frames ago"


def _names(record: Record, labels: FrameLabels) -> tuple[str, ...]:
    """Class names by class id, as far as this record tells them."""
    known = {o["class_id"]: o["label"] for o in record["objects"]}
    return tuple(known.get(i, str(i)) for i in range(int(labels.objects.class_id.max(initial=-1)) + 1))


def _sheet(cells: list[U8], first: Record, facts: _Facts) -> U8:
    columns = min(3, len(cells)) if len(cells) != 4 else 2
    rows = -(-len(cells) // columns)
    height = max(cell.shape[0] for cell in cells)
    shape = (_HEAD + rows * (height + _GAP), _GAP + columns * (_CELL + _GAP), 3)
    sheet = np.full(shape, PAPER, np.uint8)
    for i, cell in enumerate(cells):
        y, x = _HEAD + i // columns * (height + _GAP), _GAP + i % columns * (_CELL + _GAP)
        sheet[y : y + cell.shape[0], x : x + _CELL] = cell
    put_text(sheet, (_GAP, 44), first["source"], 24, INK, bold=True)
    x = _GAP + text_size(first["source"], 24, bold=True)[0] + 16
    put_text(sheet, (x, 44), f"{len(facts.index)} frames, policy {first['policy']}", 18, _GREY)
    _legend(sheet, facts)
    return sheet


def _legend(sheet: U8, facts: _Facts) -> None:
    """Samples of the lines that occur, right-aligned in the head."""
    total = facts.counts.sum(0)
    x = sheet.shape[1] - _GAP
    for origin in reversed([o for o in _SHOWN if total[o] or o in _COMMON]):
        x -= text_size(origin.label, 17)[0]
        put_text(sheet, (x, 44), origin.label, 17, INK)
        x -= 64
        draw_box(sheet, (x, 26), (x + 54, 48), STYLES[origin], 3)
        x -= 26


def _save(picture: U8, path: Path) -> None:
    done, data = cv2.imencode(".png", picture)
    assert done, "a picture of uint8 can always be encoded"
    write_whole(path, data.tobytes())
