from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.propagate import Propagate, box_motion, move
from everyframe.operators.types import MotionField, Objects, Origin, View

WIDTH, HEIGHT, CELL = 320, 240, 8
STEP = st.floats(-12, 12).filter(lambda v: v == 0 or abs(v) > 0.5)


def field(x: float, y: float, where: slice | tuple = np.s_[:, :]) -> MotionField:
    """Motion (x, y) in the cells picked, none elsewhere."""
    motion = np.zeros((HEIGHT // CELL, WIDTH // CELL, 2), np.float32)
    motion[where] = (x, y)
    return MotionField(motion, np.ones(motion.shape[:2], np.bool_), CELL, WIDTH, HEIGHT)


@given(x=STEP, y=STEP)
@settings(deadline=None, max_examples=50)
def test_a_field_that_moves_as_one_moves_the_box_as_much(x, y):
    box = np.array([[100, 80, 150, 170]], np.float32)
    assert move(field(x, y), box) == pytest.approx(box + np.array([x, y, x, y]), abs=1e-4)
    assert move(field(x, y), box, backwards=True) == pytest.approx(box - np.array([x, y, x, y]), abs=1e-4)


def test_still_background_in_the_box_does_not_hold_the_object_back():
    inside = field(5, 0, np.s_[12:18, 14:17])  # a third of the box's cells
    shift, support = box_motion(inside, np.array([[96, 80, 160, 160]], np.float32))
    assert shift[0] == pytest.approx([5, 0]) and support[0] == 1


def test_cells_that_move_every_way_are_noise():
    motion = np.zeros((HEIGHT // CELL, WIDTH // CELL, 2), np.float32)
    motion[::2, ::2], motion[1::2, 1::2] = (4, 0), (-4, 0)
    noisy = MotionField(motion, np.ones(motion.shape[:2], np.bool_), CELL, WIDTH, HEIGHT)
    shift, _ = box_motion(noisy, np.array([[64, 64, 192, 192]], np.float32))
    assert np.abs(shift).max() < 0.5


def test_what_a_nearer_object_hides_does_not_move_the_farther_one():
    boxes = np.array([[80, 60, 160, 140], [120, 60, 200, 200]], np.float32)  # the second stands nearer
    motion = field(-6, 0, np.s_[:, 15:25])
    shift, _ = box_motion(motion, boxes)
    assert shift[0] == pytest.approx([0, 0]) and shift[1] == pytest.approx([-6, 0])


def test_a_box_without_any_vector_stays():
    nothing = MotionField(field(5, 5).motion, np.zeros((HEIGHT // CELL, WIDTH // CELL), np.bool_), CELL, WIDTH, HEIGHT)
    shift, support = box_motion(nothing, np.array([[80, 60, 160, 140]], np.float32))
    assert shift[0] == pytest.approx([0, 0]) and support[0] == 0


def test_what_leaves_the_picture_ends():
    objects = Objects.of([[290, 50, 318, 90], [100, 50, 150, 90]], [0.9, 0.9], [0, 0], [1, 2])
    out = Propagate().apply(View(WIDTH, HEIGHT, field(25, 0)), objects)
    assert out.track_id.tolist() == [2]
    assert (out.origin == Origin.PROPAGATED).all()


def test_it_says_what_it_lacks():
    with pytest.raises(ValueError, match="motion field"):
        Propagate().apply(View(WIDTH, HEIGHT), Objects.empty())
