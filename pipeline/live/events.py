"""What happens to tracks, from labels of one frame after the other: new, update, gone, zones and lines. Pure but for its memory.

The place of an object is the middle of its lower edge. Time counts, not frames: skipped or held frames change nothing.
docs/events.md has the definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everyframe.operators.detectors.coco import NAMES
from everyframe.pipeline.live.types import Camera, CameraEvent, EventKind
from everyframe.pipeline.live.zones import crossings, depth, side
from everyframe.pipeline.records import FrameLabels

Rows = npt.NDArray[np.int64]
NONE = float("nan")


@dataclass(frozen=True, slots=True)
class Rules:
    """new_frames: records in which a track must be reported before it is told of. gone_s: how long it must be away.
    update_s: between updates. hold_s: how long an object must be on the other side of a zone's edge. margin: how far it must be
    out of a zone to have left it, and beyond a line to have crossed it, in picture heights. tracks: kept at most."""

    new_frames: int = 3
    gone_s: float = 1.0
    update_s: float = 5.0
    hold_s: float = 0.2
    margin: float = 0.01
    tracks: int = 1000


@dataclass(slots=True)
class PlaceCount:
    """Of a zone: inside now, entered and left ever. Of a line: in and out ever."""

    inside: int = 0
    entered: int = 0
    left: int = 0
    went_in: int = 0
    went_out: int = 0

    @property
    def net(self) -> int:
        return self.went_in - self.went_out


class EventMaker:
    """The events of one camera. names: class names in the order of `class_id`."""

    def __init__(self, camera: Camera, names: tuple[str, ...] = NAMES, rules: Rules | None = None) -> None:
        self._camera = camera
        self._names = names
        self._rules = rules or Rules()
        self._zones, self._lines = camera.zones, camera.lines
        names_of = [*(zone.name for zone in camera.zones), *(line.name for line in camera.lines)]
        self._counts = {name: PlaceCount() for name in names_of}
        self._time = -np.inf
        self._rows = self._blank(np.empty(0, np.int64))
        self._events: list[CameraEvent] = []
        self._frame = 0

    def take(self, labels: FrameLabels) -> list[CameraEvent]:
        """Events of the next frame, in order. A time that goes back counts as standing still."""
        self._begin(labels)
        self._end_of(self._time - self._rows["last"] > self._rules.gone_s)
        found = self._match(labels)
        if len(found):
            self._tell_new(found)
            self._tell_zones(found)
            self._tell_lines(found)
            self._tell_updates(found)
        return self._events

    def finish(self) -> list[CameraEvent]:
        """All tracks end."""
        self._events = []
        self._end_of(np.ones(len(self._rows["id"]), bool))
        return self._events

    def counts(self) -> dict[str, PlaceCount]:
        """By the name of a zone or line."""
        for i, zone in enumerate(self._zones):
            self._counts[zone.name].inside = int(self._rows["inside"][:, i].sum())
        return self._counts

    @property
    def tracks(self) -> int:
        """Tracks that are remembered."""
        return len(self._rows["id"])

    # -- tracks, as columns sorted by id

    def _blank(self, ids: Rows) -> dict[str, npt.NDArray[Any]]:
        n, zones, lines = len(ids), len(self._zones), len(self._lines)
        return {
            "id": ids, "class": np.zeros(n, np.int64), "first": np.full(n, self._time), "last": np.full(n, self._time),
            "count": np.zeros(n, np.int64), "told": np.zeros(n, bool), "updated": np.full(n, self._time),
            "box": np.zeros((n, 4)), "at": np.full((n, 2), NONE), "inside": np.zeros((n, zones), bool),
            "since": np.full((n, zones), NONE), "turn": np.full((n, zones), NONE), "side": np.zeros((n, lines), np.int64),
            "through": np.zeros((n, lines), np.int64),
        }  # fmt: skip

    def _begin(self, labels: FrameLabels) -> None:
        self._events = []
        self._frame = labels.frame_index
        if np.isfinite(labels.time_s):
            self._time = max(self._time, labels.time_s)
        aspect = np.array([labels.width / labels.height, 1.0])
        self._scale = aspect / (labels.width, labels.height)
        self._polygons = [np.asarray(zone.points, float) * aspect for zone in self._zones]
        self._ends = [(np.asarray(line.start) * aspect, np.asarray(line.end) * aspect) for line in self._lines]
        self._limit = aspect

    def _match(self, labels: FrameLabels) -> Rows:
        """Takes over what is reported; rows of these tracks. `way` is set to where they were and are, in picture heights."""
        objects = labels.objects
        good = (objects.track_id >= 0) & np.isfinite(objects.xyxy).all(1)
        ids, index = np.unique(objects.track_id[good].astype(np.int64), return_index=True)
        boxes = objects.xyxy[good].astype(np.float64)[index]
        is_known = self._known(ids)
        if not is_known.all():
            added = self._blank(ids[~is_known])
            joined = {name: np.concatenate([column, added[name]]) for name, column in self._rows.items()}
            order = np.argsort(joined["id"], kind="stable")
            self._rows = {name: column[order] for name, column in joined.items()}
            self._forget(ids)
        rows, kept = self._rows, self._known(ids)
        ids, boxes, classes = ids[kept], boxes[kept], objects.class_id[good][index][kept]
        found = np.searchsorted(rows["id"], ids)
        at = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], 1) * self._scale
        at = np.clip(at, 0.0, self._limit)
        before = rows["at"][found] * self._limit  # kept in shares: the picture's size may change
        self._way = np.where(np.isnan(before), at, before), at
        rows["at"][found], rows["box"][found], rows["class"][found] = at / self._limit, boxes, classes
        rows["last"][found] = self._time
        rows["count"][found] += 1
        return found

    def _known(self, ids: Rows) -> npt.NDArray[np.bool_]:
        mine = self._rows["id"]
        if not len(mine):
            return np.zeros(len(ids), bool)
        found: npt.NDArray[np.bool_] = mine[np.minimum(np.searchsorted(mine, ids), len(mine) - 1)] == ids
        return found

    def _forget(self, reported: Rows) -> None:
        """Ends the tracks that were seen longest ago where there are too many."""
        over = len(self._rows["id"]) - self._rules.tracks
        if over > 0:
            age = np.where(np.isin(self._rows["id"], reported), self._time, self._rows["last"])
            ends = np.zeros(len(age), bool)
            ends[np.argsort(age, kind="stable")[:over]] = True
            self._end_of(ends)

    def _end_of(self, ends: npt.NDArray[np.bool_]) -> None:
        if not ends.any():
            return
        rows = self._rows
        for row in np.flatnonzero(ends & rows["told"]):
            for i in np.flatnonzero(rows["inside"][row]):
                self._left(int(row), int(i), float(rows["last"][row]))
            self._tell("gone", int(row), dwell_s=rows["last"][row] - rows["first"][row])
        self._rows = {name: column[~ends] for name, column in rows.items()}

    # -- what is told

    def _tell(self, kind: EventKind, row: int, place: str = "", dwell_s: float = 0.0) -> None:
        rows, number = self._rows, int(self._rows["class"][row])
        x1, y1, x2, y2 = rows["box"][row].tolist()
        self._events.append(
            CameraEvent(
                self._camera.name, kind, float(self._time), self._frame, int(rows["id"][row]), self._name(number), place,
                max(float(dwell_s), 0.0), (x1, y1, x2, y2),
            )
        )  # fmt: skip

    def _name(self, number: int) -> str:
        return self._names[number] if 0 <= number < len(self._names) else str(number)

    def _tell_new(self, found: Rows) -> None:
        rows = self._rows
        for row in found[~rows["told"][found] & (rows["count"][found] >= self._rules.new_frames)]:
            rows["told"][row] = True
            self._tell("new", int(row), dwell_s=self._time - rows["first"][row])

    def _of_class(self, found: Rows, classes: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        if not classes:
            return np.ones(len(found), bool)
        numbers = self._rows["class"][found].tolist()
        return np.array([self._name(number) in classes for number in numbers], bool)

    def _tell_zones(self, found: Rows) -> None:
        rows = self._rows
        for i, (zone, polygon) in enumerate(zip(self._zones, self._polygons, strict=True)):
            deep = depth(self._way[1], polygon)
            was = rows["inside"][found, i]
            # Into a zone at its edge, which may be the picture's; out of it only well beyond.
            now = (deep >= np.where(was, -self._rules.margin, 0.0)) & self._of_class(found, zone.classes)
            turn = rows["turn"][found, i]
            turn = np.where(now == was, NONE, np.where(np.isnan(turn), self._time, turn))
            rows["turn"][found, i] = turn
            flips = (now != was) & (self._time - turn >= self._rules.hold_s) & rows["told"][found]
            for row in found[flips]:
                self._flip(int(row), i)

    def _flip(self, row: int, i: int) -> None:
        rows = self._rows
        turn, rows["turn"][row, i] = float(rows["turn"][row, i]), NONE
        if rows["inside"][row, i]:
            self._left(row, i, turn)
            rows["inside"][row, i] = False
            return
        rows["inside"][row, i], rows["since"][row, i] = True, turn
        name = self._zones[i].name
        self._counts[name].entered += 1
        self._tell("entered", row, name, self._time - turn)

    def _left(self, row: int, i: int, when: float) -> None:
        name = self._zones[i].name
        self._counts[name].left += 1
        self._tell("left", row, name, when - self._rows["since"][row, i])

    def _tell_lines(self, found: Rows) -> None:
        rows = self._rows
        for i, (line, ends) in enumerate(zip(self._lines, self._ends, strict=True)):
            rows["through"][found, i] += crossings(*self._way, *ends)
            away = side(self._way[1], *ends)
            now = np.where(np.abs(away) >= self._rules.margin, np.where(away >= 0, 1, -1), 0)
            now = np.where(rows["told"][found], now, 0)
            was, through = rows["side"][found, i], rows["through"][found, i]
            # First seen, the side of a track is where it began: it may have crossed before it was told of.
            was = np.where((was == 0) & (through != 0), -np.sign(through), was)
            crossed = (now != 0) & (now == -was) & (np.sign(through) == now) & self._of_class(found, line.classes)
            for row, way in zip(found[crossed], now[crossed], strict=True):
                self._cross(int(row), line.name, int(way))
            settled = now != 0
            rows["side"][found[settled], i] = now[settled]
            rows["through"][found[settled], i] = 0

    def _cross(self, row: int, name: str, way: int) -> None:
        if way > 0:
            self._counts[name].went_in += 1
        else:
            self._counts[name].went_out += 1
        self._tell("in" if way > 0 else "out", row, name, self._time - self._rows["first"][row])

    def _tell_updates(self, found: Rows) -> None:
        rows = self._rows
        due = rows["told"][found] & (self._time - rows["updated"][found] >= self._rules.update_s)
        for row in found[due]:
            rows["updated"][row] = self._time
            self._tell("update", int(row), dwell_s=self._time - rows["first"][row])
