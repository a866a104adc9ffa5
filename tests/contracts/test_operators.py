"""What every registered operator keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.operators.base import Operator
from everyframe.operators.detectors import load_detector
from everyframe.operators.registry import OPERATORS, make_operator
from everyframe.operators.types import MotionField, Objects, View

WIDTH, HEIGHT = 96, 64


@pytest.fixture(scope="module")
def detector():
    return load_detector(imgsz=96)


@pytest.fixture(params=[*sorted(OPERATORS), "detect@fast"])
def operator(request, detector) -> Operator:
    return make_operator(request.param, detector)


def view(field: MotionField | None = None) -> View:
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    return View(WIDTH, HEIGHT, field or MotionField.still(WIDTH, HEIGHT), lambda: picture)


def some() -> Objects:
    boxes = [[8, 8, 40, 40], [0, 0, 16, 64], [60, 30, 96, 64], [30, 20, 34, 23]]
    return Objects.of(boxes, [0.9, 0.8, 0.7, 0.6], [0, 2, 0, 7], [1, 2, 3, 4])


def test_its_name_is_the_one_it_is_found_by(operator):
    assert OPERATORS[operator.name.partition("@")[0]]


def test_nothing_stays_nothing_unless_it_looks(operator):
    out = operator.apply(view(), Objects.empty())
    assert isinstance(out, Objects)
    if not operator.needs.pixels:
        assert len(out) == 0


def test_without_motion_objects_that_go_on_stay_where_they_are(operator):
    out = operator.apply(view(), some())
    if not operator.needs.pixels:
        assert np.array_equal(out.xyxy, some().xyxy)
        assert np.array_equal(out.track_id, some().track_id)


def test_a_field_that_knows_nothing_is_no_error(operator):
    still = MotionField.still(WIDTH, HEIGHT)
    unknown = MotionField(still.motion, np.zeros_like(still.known), 8, WIDTH, HEIGHT)
    out = operator.apply(view(unknown), some())
    assert np.isfinite(out.xyxy).all()


@pytest.mark.parametrize("box", [[-40, -40, -8, -8], [90, 60, 140, 90], [-20, 10, 200, 50], [0, 0, 0.5, 0.5]])
def test_boxes_at_and_beyond_the_border_are_no_error(operator, box):
    out = operator.apply(view(), Objects.of([box], [0.9], [0], [1]))
    assert np.isfinite(out.xyxy).all()
    assert len(out) <= 1 or operator.needs.pixels


def test_inputs_are_left_unchanged(operator):
    motion = np.full((8, 12, 2), 3, np.float32)
    field = MotionField(motion, np.ones((8, 12), np.bool_), 8, WIDTH, HEIGHT)
    objects = some()
    before = [array.copy() for array in (objects.xyxy, objects.score, objects.origin, motion)]
    operator.apply(view(field), objects)
    for array, copy in zip((objects.xyxy, objects.score, objects.origin, motion), before, strict=True):
        assert np.array_equal(array, copy)


def test_equal_inputs_give_equal_answers(operator):
    a, b = operator.apply(view(), some()), operator.apply(view(), some())
    assert np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.score, b.score)
