"""From a trace to the table of the game: what every pair of looks would have given, by the product's own code.

Boxes are carried by `operators.propagate`, looks taken in by `TrackKeeper`, frames between two looks blended by
`pipeline.labelling.lookahead`; counts are those of pooled F1. Approximate: the tracks at a look remember one look, `MEMORY` frames
before it, in place of all before (weak objects and missed ones depend on it); looks back are not in the tables; for
gaps that are not in `GAPS` the game interpolates. benchmarks/simulation.py measures what that comes to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from everyframe.operators.boxes import LEAST_INSIDE, share_inside
from everyframe.operators.propagate import move
from everyframe.operators.types import F32, I32, Bool, MotionField, Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.labelling.tracks import TrackKeeper, TrackState
from everyframe.pipeline.suggest import did_you_mean
from everyframe.pipeline.traces.features import active_parts, packet_features, track_features
from everyframe.pipeline.traces.format import Trace
from everyframe.pipeline.traces.overhead import costs_of
from everyframe.policies.features import HORIZON
from everyframe.policies.simulation.counting import reported, right
from everyframe.policies.simulation.table import SCALE, Carried, ClipTable

MEMORY = 10
Told = Callable[[str, int, int], None]
I16 = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Truth:
    """What the dense detector reports. first (n + 1,): where the objects of each frame begin in boxes, groups."""

    first: I32
    boxes: F32
    groups: I16


@dataclass(frozen=True, slots=True)
class Scene:
    """A trace made ready. groups (classes,): supercategory of each; wanted (classes,): whether it is counted."""

    trace: Trace
    fields: list[MotionField | None]
    groups: I32
    wanted: Bool
    truth: Truth

    @property
    def size(self) -> tuple[int, int]:
        return self.trace.info.width, self.trace.info.height

    def __len__(self) -> int:
        return len(self.fields)


@dataclass(frozen=True, slots=True)
class Look:
    """A look at one frame. state: the tracks after it; ahead (horizon + 1, n, 4): their boxes carried on."""

    state: TrackState
    ahead: F32


def scene_of(trace: Trace, classes: Sequence[str] = ()) -> Scene:
    """classes: names to count, empty for all. Raises UsageError for a name that the detector does not know."""
    names = list(trace.meta["names"])
    for name in classes:
        if name not in names:
            raise UsageError(f"no class {name!r} in this trace{did_you_mean(name, names)}")
    groups = metrics.group_table(trace.meta["supercategory"])
    wanted = np.array([not classes or name in classes for name in names], np.bool_)
    return Scene(trace, list(trace.fields()), groups, wanted, _truth(trace, groups, wanted))


def _truth(trace: Trace, groups: I32, wanted: Bool) -> Truth:
    shown = [o[(o.score >= metrics.SCORE) & wanted[o.class_id]] for o in trace.objects]
    first = np.cumsum([0, *(len(o) for o in shown)]).astype(np.int32)
    whole = Objects.concat(shown)
    return Truth(first, whole.xyxy, groups[whole.class_id].astype(np.int16))


def looks_at(scene: Scene, horizon: int, told: Told | None = None) -> Iterator[Look]:
    """A look at each frame in turn."""
    for k in range(len(scene)):
        state = _state_at(scene, k)
        path = np.empty((horizon + 1, len(state.objects), 4), np.float32)
        path[0] = state.objects.xyxy
        for d in range(1, horizon + 1):
            field = scene.fields[k + d] if k + d < len(scene) else None
            path[d] = path[d - 1] if field is None else move(field, path[d - 1])
        if told is not None:
            told("carried", k + 1, len(scene))
        yield Look(state, path)


def _state_at(scene: Scene, k: int) -> TrackState:
    """The tracks after a look at frame k whose look before was `MEMORY` frames earlier."""
    keeper = TrackKeeper(scene.groups, metrics.SCORE)
    start = max(k - MEMORY, 0)
    objects = scene.trace.objects
    keeper.look(objects[start], start)
    for field in scene.fields[start + 1 : k + 1]:
        if field is not None:
            boxes = move(field, keeper.state.objects.xyxy)
            inside = share_inside(boxes, *scene.size) >= LEAST_INSIDE
            keeper.state = keeper.state.moved(replace(keeper.state.objects, xyxy=boxes)[inside])
    if k > start:
        keeper.look(objects[k], k)
    return keeper.state


@njit(cache=True, nogil=True)
def count_path(path, inside, scores, classes, groups, first, boxes, truth_groups, k, right_, shown_, visible):  # type: ignore[no-untyped-def]
    """Counts each frame of one path (steps, n, 4) from frame k on into right_, shown_ (steps,) and visible (steps, n)."""
    frames = first.shape[0] - 1
    for d in range(min(path.shape[0], frames - k)):
        a, b = first[k + d], first[k + d + 1]
        shown = inside[d].copy()
        shown_[d] = reported(path[d], scores, classes, shown)
        right_[d] = right(path[d], groups, shown, boxes[a:b], truth_groups[a:b])
        visible[:, d] = shown


def carried_of(scene: Scene, looks: Sequence[Look]) -> Carried:
    """Counts of every look carried on, and the boxes that are reported."""
    n, steps = len(looks), len(looks[0].ahead)
    right_, shown_ = np.zeros((n, steps), np.int16), np.zeros((n, steps), np.int16)
    boxes, visible, groups = [], [], []
    for k, look in enumerate(looks):
        objects = look.state.objects
        rows = np.flatnonzero((look.state.looked >= metrics.SCORE) & scene.wanted[objects.class_id])
        path = np.ascontiguousarray(look.ahead[:, rows])
        inside = np.logical_and.accumulate(
            share_inside(path.reshape(-1, 4), *scene.size).reshape(steps, -1) >= LEAST_INSIDE, 0
        )
        group = scene.groups[objects.class_id[rows]].astype(np.int16)
        seen = np.zeros((len(rows), steps), np.bool_)
        count_path(
            path, inside, objects.score[rows], objects.class_id[rows], group, scene.truth.first, scene.truth.boxes,
            scene.truth.groups, k, right_[k], shown_[k], seen,
        )  # fmt: skip
        boxes.append(np.clip(np.rint(path * SCALE), -32768, 32767).astype(np.int16).transpose(1, 0, 2))
        visible.append(seen)
        groups.append(group)
    first = np.cumsum([0, *(len(group) for group in groups)]).astype(np.int32)
    return Carried(
        right_, shown_, first, np.concatenate(boxes), np.concatenate(visible), np.concatenate(groups)
    )


@njit(cache=True, nogil=True)
def _agree(path, groups, first, boxes, truth_groups, k, out):  # type: ignore[no-untyped-def]
    shown = np.ones(path.shape[1], np.bool_)
    frames = first.shape[0] - 1
    for d in range(min(path.shape[0], frames - k)):
        a, b = first[k + d], first[k + d + 1]
        both = path.shape[1] + b - a
        out[d] = 2.0 * right(path[d], groups, shown, boxes[a:b], truth_groups[a:b]) / both if both else 1.0


def agreement_of(scene: Scene, looks: Sequence[Look]) -> NDArray[np.float16]:
    """(n, horizon + 1): what `TrackKeeper.agreement` would say of a look at frame k + d after one at k, NaN beyond the clip.

    Objects that have left the picture are still counted.
    """
    truth = _truth(scene.trace, scene.groups, np.ones(len(scene.groups), np.bool_))
    out = np.full((len(looks), len(looks[0].ahead)), np.nan, np.float32)
    for k, look in enumerate(looks):
        objects = look.state.objects
        rows = np.flatnonzero(look.state.looked >= metrics.SCORE)
        groups = scene.groups[objects.class_id[rows]].astype(np.int16)
        _agree(np.ascontiguousarray(look.ahead[:, rows]), groups, truth.first, truth.boxes, truth.groups, k, out[k])
    return out.astype(np.float16)


def build(
    trace: Trace, classes: Sequence[str] = (), horizon: int = HORIZON, both_sides: bool = True, told: Told | None = None
) -> ClipTable:
    """The table of a clip. horizon: frames after a look that are counted. both_sides: also for looking ahead, which takes
    most of the time: minutes for a thousand frames. `store.table_of` keeps tables beside their traces."""
    from everyframe.pipeline.traces.pairs import between_of

    scene = scene_of(trace, classes)
    looks = list(looks_at(scene, horizon, told))
    parts = active_parts(scene.fields)
    features = track_features(
        scene.fields, parts, [look.state for look in looks], [look.ahead for look in looks], scene.size
    )
    return ClipTable(
        name=str(trace.meta["video"]),
        costs=costs_of(trace),
        is_key=trace.packets.is_key[trace.frames.packet],
        truth=np.diff(scene.truth.first).astype(np.int16),
        true_first=scene.truth.first,
        true_boxes=scene.truth.boxes,
        true_group=scene.truth.groups,
        packets=packet_features(trace),
        motion=np.stack([part.values for part in parts]),
        tracks=features,
        agreement=agreement_of(scene, looks),
        carried=carried_of(scene, looks),
        between=between_of(scene, looks, horizon, told) if both_sides else None,
    )
