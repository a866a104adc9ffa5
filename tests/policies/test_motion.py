"""The rule: what makes it look, what makes it sleep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.policies.base import Mode, Observation, PacketFacts, Rung, is_whole_look
from everyframe.policies.motion import DROWSY, LEAST_SPREAD, WINDOW, Motion, Normal
from everyframe.policies.stray import REACH, moving_tracks, stray_motion

ROWS, COLS, CELL = 30, 40, 8
NO_BOXES = np.zeros((0, 4), np.float32)


class Camera:
    """Feeds a policy frames whose motion and packet size a test decides; looks find nothing new."""

    def __init__(self, seed: int = 0, mode: Mode = "lookahead") -> None:
        self.policy = Motion(mode)
        self.policy.reset(0)
        self.rng = np.random.default_rng(seed)
        self.index = 0
        self.since = 1 << 30
        self.looks: list[int] = []
        self.parts: list[int] = []
        self.skipped: list[int] = []

    def frame(self, block: float = 0.0, size: int = 300, noise: float = 0.02, boxes=NO_BOXES) -> None:
        key = self.index % 250 == 0
        packet = PacketFacts(self.index, size + int(self.rng.integers(0, 30)), key, "I" if key else "P", True, self.index / 25)
        if self.policy.gate(packet):
            motion = np.zeros((ROWS, COLS, 2), np.float32)
            restless = self.rng.random((ROWS, COLS)) < noise
            motion[restless] = self.rng.normal(0, 2, (int(restless.sum()), 2))
            motion[10:16, 10:14] += (block, 0)
            decision = self.policy.choose(
                Observation(
                    packet, self.index, self.since, motion, np.ones((ROWS, COLS), np.bool_), CELL, boxes,
                    np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int32),
                    np.zeros(len(boxes), np.int32), 1.0,
                )
            )  # fmt: skip
            if decision.rung == "detect":
                self.looks.append(self.index)
                self.since = 0
            if decision.rung == "region":
                self.parts.append(self.index)
        else:
            self.skipped.append(self.index)
        self.since += 1
        self.index += 1


def test_a_quiet_camera_is_seldom_looked_at():
    camera = Camera()
    for _ in range(1500):
        camera.frame()
    assert len(camera.looks) < 30
    assert len([look for look in camera.looks if look > 500]) <= 4


def test_something_that_moves_as_one_is_looked_at_soon():
    camera = Camera()
    for _ in range(300):
        camera.frame()
    before = len(camera.looks)
    for _ in range(15):
        camera.frame(block=3)
    assert len(camera.looks) > before


def test_causal_frames_in_which_something_moves_are_left_to_region():
    camera = Camera(mode="causal")
    for _ in range(300):
        camera.frame()
    whole, parts = len(camera.looks), len(camera.parts)
    assert parts < 60
    for _ in range(15):
        camera.frame(block=3)
    assert len(camera.parts) >= parts + 12
    for _ in range(100):
        camera.frame()
    assert len(camera.parts) < parts + 60
    assert len(camera.looks) <= whole + 4


def test_only_causal_motion_needs_region():
    assert Motion("causal").traits.rungs == ("region",)
    assert Motion("lookahead").traits.rungs == ()


def test_looks_back_at_parts_and_with_a_cheaper_capacity_at_the_whole():
    policy = Motion("lookahead")
    alone = policy.traits.look_back
    assert alone > 0 and policy.traits.look_back_rung == "region" and policy.traits.looks_at_crops
    assert Motion("causal").traits.look_back == 0
    policy.offer([Rung("detect@small", 0.3)])
    assert is_whole_look(policy.traits.look_back_rung) and 0 < policy.traits.look_back < alone


def test_motion_that_a_track_explains_is_no_alarm():
    box = np.array([[72, 72, 120, 136]], np.float32)
    explained, stray = Camera(), Camera()
    for camera, boxes in ((explained, box), (stray, NO_BOXES)):
        for _ in range(300):
            camera.frame(boxes=boxes)
        camera.looks.clear()
        for _ in range(12):
            camera.frame(block=3, boxes=boxes)
    assert stray.looks and not explained.looks


def test_noise_that_was_always_there_is_no_alarm():
    camera = Camera()
    for _ in range(600):
        camera.frame(noise=0.3)
    assert len([look for look in camera.looks if look > 200]) < 12


def test_packets_are_skipped_only_once_their_sizes_have_announced_motion():
    telling, silent = Camera(), Camera()
    for camera, busy in ((telling, 3000), (silent, 300)):
        for _ in range(6):
            for _ in range(100):
                camera.frame()
            for _ in range(20):
                camera.frame(block=3, size=busy)
        for _ in range(100):
            camera.frame()
    assert len(telling.skipped) > 50
    assert not silent.skipped


def test_a_sleeping_camera_is_woken_by_its_packets():
    camera = Camera()
    for _ in range(6):
        for _ in range(100):
            camera.frame()
        for _ in range(20):
            camera.frame(block=3, size=3000)
    for _ in range(100 + DROWSY):
        camera.frame()
    assert camera.skipped[-1] == camera.index - 1
    start = camera.index
    for _ in range(20):
        camera.frame(block=3, size=3000)
    awake = [i for i in range(start, camera.index) if i not in camera.skipped]
    assert len(awake) >= 15


def test_normal_is_not_moved_by_busy_spells():
    normal = Normal()
    for i in range(256):
        normal.learn(1000 if i % 3 == 0 else 100 + i % 7)
    assert normal.unusual(1000) > 3 > normal.unusual(104)


def test_stray_motion_adds_up_what_moves_as_one_and_cancels_what_does_not():
    together, apart = np.zeros((2, ROWS, COLS, 2), np.float32)
    together[10:14, 10:14] = (4, 0)
    apart[10:14, 10:14] = (4, 0)
    apart[10:14:2, 10:14] = (-4, 0)
    known, restless = np.ones((ROWS, COLS), np.bool_), np.zeros((ROWS, COLS), np.float32)
    strong = stray_motion(together, known, NO_BOXES, CELL, restless.copy())
    assert 15 < strong <= REACH**2 and stray_motion(apart, known, NO_BOXES, CELL, restless.copy()) < 6
    box = np.array([[80, 80, 112, 112]], np.float32)
    assert stray_motion(together, known, box, CELL, restless.copy()) == 0
    assert stray_motion(together, known, NO_BOXES, CELL, np.ones_like(restless)) == 0
    camera_moves = together + np.float32(2)
    assert stray_motion(camera_moves, known, NO_BOXES, CELL, restless.copy()) == strong


def test_moving_tracks_are_counted():
    motion = np.zeros((ROWS, COLS, 2), np.float32)
    motion[10:14, 10:14] = (4, 0)
    boxes = np.array([[80, 80, 112, 112], [200, 20, 230, 60], [80, 80, 112, 112]], np.float32)
    assert moving_tracks(motion, boxes, np.array([0.9, 0.9, 0], np.float32), CELL) == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=600))
def test_normal_keeps_the_quantiles_of_its_window(values: list[int]) -> None:
    normal = Normal()
    for i, value in enumerate(values):
        normal.learn(value)
        if normal.count <= 16 or normal.count % 8 == 0:
            low, base = np.quantile(np.log1p(np.array(values[max(0, i + 1 - WINDOW) : i + 1], np.float64)), (0.1, 0.4))
            assert normal.unusual(0.0) == pytest.approx(-base / max(base - low, LEAST_SPREAD), abs=1e-9)
