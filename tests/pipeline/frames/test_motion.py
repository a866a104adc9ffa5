"""From vectors to fields."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.types import MotionField
from everyframe.pipeline.frames.motion import OpticalFlow, add_spanning, field_from_vectors, rotate_field
from everyframe.pipeline.labelling.warm import _VECTOR

WIDTH, HEIGHT = 64, 48


def vectors(*rows: tuple[int, int, int, int, int, int]) -> np.ndarray:
    """Rows of list (-1, 1), centre x and y, side, motion x and y in quarter pixels."""
    out = np.zeros(len(rows), _VECTOR)
    for i, (side_of, x, y, size, mx, my) in enumerate(rows):
        out[i]["source"], out[i]["dst_x"], out[i]["dst_y"] = side_of, x, y
        out[i]["w"] = out[i]["h"] = size
        out[i]["motion_x"], out[i]["motion_y"], out[i]["motion_scale"] = mx, my, 4
    return out


def test_a_vector_to_the_past_is_turned_round_and_scaled_to_one_step():
    field = field_from_vectors(vectors((-1, 8, 8, 16, -16, 8)), 2.0, 0.0, WIDTH, HEIGHT)
    assert field.motion[:2, :2].reshape(-1, 2) == pytest.approx(np.tile([2.0, -1.0], (4, 1)))
    assert field.known[:2, :2].all() and field.known.sum() == 4
    assert (field.motion[2:] == 0).all()


def test_the_nearer_reference_wins_and_equal_ones_are_averaged():
    both = vectors((-1, 8, 8, 16, -16, 0), (1, 8, 8, 16, 4, 0))
    assert field_from_vectors(both, 2.0, 1.0, WIDTH, HEIGHT).motion[0, 0] == pytest.approx([1, 0])
    assert field_from_vectors(both, 1.0, 1.0, WIDTH, HEIGHT).motion[0, 0] == pytest.approx([2.5, 0])


def test_vectors_without_a_reference_are_left_out():
    assert not field_from_vectors(vectors((1, 8, 8, 16, 4, 0)), 1.0, 0.0, WIDTH, HEIGHT).known.any()


@pytest.mark.parametrize("centre", [(-4, 8), (8, -4), (WIDTH + 4, 8), (8, HEIGHT + 20)])
def test_blocks_over_the_border_are_cut(centre):
    field = field_from_vectors(vectors((-1, *centre, 16, 4, 4)), 1.0, 0.0, WIDTH, HEIGHT)
    assert field.motion.shape == (6, 8, 2)


def test_a_later_picture_that_spans_a_frame_fills_what_is_still_there():
    still = MotionField.still(WIDTH, HEIGHT)
    filled = add_spanning(still, vectors((-1, 40, 24, 16, -64, 0)), 4.0, 2.0)  # 16 px in 4 steps, half way back
    assert filled.motion[2, 3] == pytest.approx([4, 0])
    assert (still.motion == 0).all()


@given(turns=st.integers(0, 3), r=st.integers(0, 5), c=st.integers(0, 7), x=st.integers(-9, 9), y=st.integers(-9, 9))
@settings(deadline=None)
def test_a_turned_field_moves_what_a_turned_picture_shows(turns, r, c, x, y):
    motion = np.zeros((6, 8, 2), np.float32)
    motion[r, c] = (x, y)
    known = np.zeros((6, 8), np.bool_)
    known[r, c] = True
    turned = rotate_field(MotionField(motion, known, 8, WIDTH, HEIGHT), 90 * turns)
    assert (turned.width, turned.height) == ((HEIGHT, WIDTH) if turns % 2 else (WIDTH, HEIGHT))
    rows, columns = np.nonzero(np.rot90(known, turns))
    assert np.array_equal(turned.known, np.rot90(known, turns))
    expected = complex(x, -y) * (1j) ** turns  # y points down in pictures
    assert turned.motion[rows[0], columns[0]] == pytest.approx([expected.real, -expected.imag])


def test_optical_flow_finds_a_shift():
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (240, 320), np.uint8), (9, 9), 3)
    flow = OpticalFlow()
    assert not flow.field(texture).known.any()
    field = flow.field(np.roll(texture, (2, 5), (0, 1)))
    assert np.median(field.motion[4:-4, 4:-4].reshape(-1, 2), axis=0) == pytest.approx([5, 2], abs=0.5)
