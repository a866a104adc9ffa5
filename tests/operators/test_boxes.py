from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators import boxes

SIDE = st.floats(1, 50)
PLACE = st.floats(-20, 120)
BOX = st.tuples(PLACE, PLACE, SIDE, SIDE).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
BOXES = st.lists(BOX, min_size=1, max_size=6).map(lambda b: np.array(b, np.float32))


@given(a=BOXES, b=BOXES)
@settings(deadline=None)
def test_iou_is_symmetric_bounded_and_one_with_itself(a, b):
    overlap = boxes.iou(a, b)
    assert np.allclose(overlap, boxes.iou(b, a).T)
    assert (overlap >= 0).all() and (overlap <= 1 + 1e-5).all()
    assert np.allclose(np.diag(boxes.iou(a, a)), 1, atol=1e-4)


@given(a=BOXES)
@settings(deadline=None)
def test_clipped_boxes_lie_inside_and_their_share_says_how_much_is_left(a):
    inside = boxes.clip(a, 100, 80)
    assert (inside >= 0).all() and (inside[:, ::2] <= 100).all() and (inside[:, 1::2] <= 80).all()
    assert np.allclose(boxes.share_inside(a, 100, 80) * boxes.area(a), boxes.area(inside), rtol=1e-3, atol=1e-3)


def test_match_takes_the_best_total_and_no_pair_below_the_least():
    affinity = np.array([[0.9, 0.8], [0.85, 0.1]], np.float32)
    rows, columns = boxes.match(affinity, 0.2)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    rows, _ = boxes.match(np.array([[0.1]], np.float32), 0.2)
    assert len(rows) == 0
    assert len(boxes.match(np.zeros((0, 3), np.float32), 0.2)[0]) == 0


def test_of_two_boxes_of_one_kind_the_better_stays():
    a = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    kept = boxes.without_doubles(a, np.array([0.5, 0.9, 0.8, 0.7]), np.array([0, 0, 1, 0], np.int32), 0.6)
    assert kept.tolist() == [1, 2, 3]


def test_centre_and_size():
    centre, size = boxes.centre_size(np.array([[10, 20, 30, 60]], np.float32))
    assert centre[0].tolist() == pytest.approx([20, 40]) and size[0].tolist() == pytest.approx([20, 40])


def test_rest_is_what_is_not_taken():
    assert boxes.rest(5, np.array([3, 0])).tolist() == [1, 2, 4]
    assert boxes.rest(0, np.zeros(0, np.intp)).tolist() == []
    assert boxes.rest(2, np.zeros(0, np.intp)).tolist() == [0, 1]


def test_share_inside_is_the_clipped_area_s_share():
    given = np.array([[-10, 0, 10, 20], [0, 0, 4, 4], [5, 5, 5, 9], [90, 40, 130, 60], [200, 0, 220, 20]], np.float32)
    assert boxes.share_inside(given, 100, 50).tolist() == [0.5, 1.0, 0.0, 0.125, 0.0]
