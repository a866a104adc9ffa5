"""Which rectangle is renewed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.flow.windows import GRID, Need, choose, inner, inside, price

GRIDS = st.tuples(st.integers(1, 14), st.integers(1, 22))


def nothing(rows: int, cols: int) -> Need:
    return Need(np.zeros((rows, cols), np.float32), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))


def test_nothing_to_mend_is_no_rectangle():
    assert choose(nothing(12, 20), 0.1, 1.0) is None


def test_what_is_not_worth_its_price_is_left():
    need = Need(np.zeros((12, 20), np.float32), np.ones(1, np.float32), np.array([[300, 150, 340, 200]], np.float32))
    assert choose(need, 20.0, 1.0) is None
    assert choose(need, 1.0, 0.01) is None
    assert choose(need, 1.0, 1.0) is not None


def test_a_box_is_shown_whole_by_the_smallest_rectangle_that_does():
    box = np.array([[300, 150, 340, 200]], np.float32)
    chosen = choose(Need(np.zeros((12, 20), np.float32), np.ones(1, np.float32), box), 1.0, 1.0)
    assert chosen is not None
    rect, cost = chosen
    assert inside(box, rect, (12, 20))[0]
    assert cost == price(4, 4, (12, 20))


@settings(deadline=None, max_examples=60)
@given(grid=GRIDS, seed=st.integers(0, 1000), most=st.floats(0.05, 1), worth=st.floats(0.01, 3))
def test_a_rectangle_lies_in_the_grid_costs_what_it_may_and_gains_more(grid, seed, most, worth):
    rng = np.random.default_rng(seed)
    rows, cols = grid
    corner = rng.uniform(0, [cols * GRID, rows * GRID], (5, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(4, 200, (5, 2))), 1).astype(np.float32)
    need = Need(rng.random(grid).astype(np.float32) * 0.1, rng.random(5).astype(np.float32), boxes)
    chosen = choose(need, worth, most)
    if chosen is None:
        return
    (left, top, right, bottom), cost = chosen
    assert 0 <= left < right <= cols and 0 <= top < bottom <= rows
    assert cost <= most
    x0, y0, x1, y1 = inner((left, top, right, bottom), grid)
    gain = need.cells[y0:y1, x0:x1].sum() + need.values[inside(boxes, (left, top, right, bottom), grid)].sum()
    assert gain > worth * cost - 1e-5


def test_the_whole_picture_has_no_rim():
    assert inner((0, 0, 20, 12), (12, 20)) == (0, 0, 20, 12)
    assert inside(np.array([[-5, -5, 700, 400]], np.float32), (0, 0, 20, 12), (12, 20))[0]
