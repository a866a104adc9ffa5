"""Stray motion, cell by cell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from everyframe.policies.stray import FASTEST_PX, FORGET, moving_tracks, stray_motion

ROWS, COLS, CELL = 20, 30, 8
KNOWN = np.ones((ROWS, COLS), np.bool_)
NO_BOXES = np.zeros((0, 4), np.float32)


def block(speed: float, row: int = 5, col: int = 5, side: int = 3) -> np.ndarray:
    motion = np.zeros((ROWS, COLS, 2), np.float32)
    motion[row : row + side, col : col + side] = (speed, 0)
    return motion


def stray(motion, known=KNOWN, boxes=NO_BOXES, restless=None) -> float:
    restless = np.zeros((ROWS, COLS), np.float32) if restless is None else restless
    return stray_motion(motion, known, boxes, CELL, restless)


def test_nothing_moves_nothing_strays():
    assert stray(block(0)) == 0


@pytest.mark.parametrize("corner", [(0, 0), (0, COLS - 3), (ROWS - 3, 0), (ROWS - 3, COLS - 3), (8, 8)])
def test_a_fast_block_counts_its_cells_wherever_it_is(corner):
    # a corner cell of the block has three moving neighbours, which is just enough
    assert stray(block(FASTEST_PX, *corner)) == pytest.approx(9)


def test_no_cell_counts_as_faster_than_the_fastest_and_slow_ones_count_less():
    assert stray(block(100)) == stray(block(FASTEST_PX))
    assert stray(block(FASTEST_PX / 2)) == pytest.approx(stray(block(FASTEST_PX)) / 2)


def test_a_lonely_cell_and_unknown_cells_are_noise():
    assert stray(block(4, side=1)) == 0
    assert stray(block(4), known=np.zeros((ROWS, COLS), np.bool_)) == 0


def test_the_motion_of_the_picture_itself_is_taken_off():
    assert stray(np.full((ROWS, COLS, 2), 3, np.float32)) == 0


def test_cells_that_move_grow_restless_and_calm_down_again():
    restless = np.zeros((ROWS, COLS), np.float32)
    strengths = [stray(block(4), restless=restless) for _ in range(100)]
    assert strengths[0] == pytest.approx(9) and strengths[-1] == 0
    assert all(a >= b for a, b in pairwise(strengths))
    worn = restless[6, 6]
    stray(block(0), restless=restless)
    assert restless[6, 6] == pytest.approx(worn * (1 - FORGET))
    assert restless[15, 15] == 0


def test_covered_cells_grow_restless_too_but_nothing_else_is_written():
    motion, known, restless = block(4), KNOWN.copy(), np.zeros((ROWS, COLS), np.float32)
    boxes = np.array([[40, 40, 64, 64]], np.float32)
    before = motion.copy(), boxes.copy()
    assert stray(motion, known, boxes, restless) == 0
    assert restless[6, 6] == pytest.approx(FORGET)
    assert np.array_equal(motion, before[0]) and np.array_equal(boxes, before[1]) and known.all()


def test_boxes_over_or_beyond_the_border_are_no_error():
    boxes = np.array([[-50, -50, 10, 10], [500, 500, 600, 600], [-90, -90, -40, -40]], np.float32)
    assert stray(block(4), boxes=boxes) == pytest.approx(9)
    assert moving_tracks(block(4), boxes, np.ones(3, np.float32), CELL) == 0


def test_a_track_moves_once_enough_of_its_cells_do():
    one = np.ones(1, np.float32)
    inside, beside = np.array([[40, 40, 63, 63]], np.float32), np.array([[100, 100, 130, 130]], np.float32)
    assert moving_tracks(block(4), inside, one, CELL) == 1
    assert moving_tracks(block(4), beside, one, CELL) == 0
    assert moving_tracks(block(4), inside, np.zeros(1, np.float32), CELL) == 0
    mostly_still = np.array([[0, 0, 159, 159]], np.float32)
    assert moving_tracks(block(4), mostly_still, one, CELL) == 0
