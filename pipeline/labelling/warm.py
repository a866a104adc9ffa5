"""Compiles or loads the kernels of the hot path before anything is measured: part of starting, not of a frame's cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from everyframe.operators.base import Detector, Prices
from everyframe.operators.detectors.letterbox import Letterbox, fit
from everyframe.operators.propagate import Propagate
from everyframe.operators.region.crops import InParts
from everyframe.operators.region.sizes import crop_sizes
from everyframe.operators.types import Objects, View
from everyframe.pipeline.frames.motion import add_spanning, field_from_vectors
from everyframe.pipeline.labelling.ladder import Ladder
from everyframe.pipeline.labelling.lattice import Gap, Lattice
from everyframe.pipeline.labelling.middle import Middle
from everyframe.pipeline.labelling.scene import moving_scene
from everyframe.pipeline.labelling.tracks import TrackKeeper
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.records import Frame
from everyframe.policies.base import Mode, Observation, PacketFacts, Policy
from everyframe.policies.registry import make_policy

WIDTH, HEIGHT, FRAMES = 320, 240, 4
LEAST_REPORTED = 0.45

_VECTOR = np.dtype(
    [
        ("source", "<i4"), ("w", "u1"), ("h", "u1"), ("src_x", "<i2"), ("src_y", "<i2"), ("dst_x", "<i2"),
        ("dst_y", "<i2"), ("flags", "<u8"), ("motion_x", "<i4"), ("motion_y", "<i4"), ("motion_scale", "<u2"),
    ],
    align=True,
)  # fmt: skip
"""FFmpeg's AVMotionVector, as the decoder gives it."""


@lru_cache(maxsize=64)
def warm_up(policy: str, mode: Mode) -> None:
    """Calls the kernels of the hot path and of a policy once on a small picture; seconds on a machine's first run, a
    quarter second later."""
    vectors = np.zeros(4, _VECTOR)
    vectors["source"], vectors["w"], vectors["h"], vectors["motion_scale"] = -1, 16, 16, 4
    vectors["dst_x"], vectors["dst_y"] = [8, 24, 8, 24], [8, 8, 24, 24]
    vectors["motion_x"] = 8
    field = field_from_vectors(vectors, 1.0, 0.0, 32, 32)
    field = add_spanning(field, vectors, 1.0, 0.0)
    Propagate().apply(View(32, 32, field), Objects.of([[4, 4, 28, 28], [0, 0, 16, 16]], [0.9, 0.5], [0, 0]))
    made = make_policy(policy, mode)
    warm_policy(made)
    if made.traits.look_back > 0:
        warm_looking_back()


def warm_policy(policy: Policy) -> None:
    """Has a policy choose on a few frames of a scene in which something moves, also beside its tracks."""
    policy.reset(0)
    for index in range(FRAMES):
        view, objects = moving_scene(WIDTH, HEIGHT, index)
        assert view.motion is not None
        facts = PacketFacts(index, 1000, index == 0, "P", True, float(index))
        policy.gate(facts)
        tracks = objects[index:]
        ages = np.full(len(tracks), index, np.int32)
        policy.choose(
            Observation(
                facts, index, index, view.motion.motion, view.motion.known, view.motion.cell, tracks.xyxy, tracks.score,
                ages, tracks.class_id, math.nan,
            )
        )  # fmt: skip


def warm_looking_back() -> None:
    """Closes a gap in which all objects go."""
    scene = [moving_scene(WIDTH, HEIGHT, index) for index in range(FRAMES + 2)]
    frames = [
        Frame(index, "P", False, None, view.picture, view.luma, WIDTH, HEIGHT)
        for index, (view, _) in enumerate(scene)
        if view.picture is not None and view.luma is not None
    ]
    gap = Gap([view.motion for view, _ in scene[1:]], frames, FRAMES + 1, (WIDTH, HEIGHT))
    keeper = TrackKeeper(np.zeros(1, np.int32), LEAST_REPORTED)
    keeper.look(scene[0][1], 0)
    middle = Middle(None, lambda frame: Objects.empty(), lambda frame, crops: Objects.empty())
    Lattice(keeper, middle, 0.01, LEAST_REPORTED).close(gap, keeper.state, Objects.empty())


def warm_rungs(detector: Detector, rungs: Sequence[str]) -> None:
    """Runs rungs on a few frames of a scene in which something moves, also beside its tracks."""
    for name in rungs:
        ladder = Ladder(detector, (name,), Prices(), Meter())
        for index in range(FRAMES):
            view, objects = moving_scene(WIDTH, HEIGHT, index)
            ladder.follow(view)
            ladder.look("detect" if index == 0 else name, view, objects[index:])


def warm_crops(detector: Detector, width: int, height: int) -> None:
    """Looks once at a grey crop of each size of the fixed list for pictures of a size; nothing where that is 0."""
    if not width or not isinstance(detector, InParts):
        return
    for size in map(tuple, crop_sizes(fit(width, height, detector.imgsz)).tolist()):
        box = Letterbox(size, size, size)
        grey = np.full((size[1], size[0], 3), 128, np.uint8)
        detector.infer_many([detector.prepare_in(grey, box)])


def warm_detector(detector: Detector, width: int, height: int) -> None:
    """Looks once at a grey picture of this size: runtimes build their graph and buffers on the first call."""
    detector.detect(np.full((height, width, 3), 128, np.uint8))
