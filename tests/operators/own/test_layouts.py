"""Layouts are told apart by their shapes, and what none of them explains is refused with what was expected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.detectors.own.layouts import cells, recognise
from everyframe.operators.errors import OperatorError

SIZE = (320, 192)
THREE, FOUR = cells(SIZE, (8, 16, 32)), cells(SIZE, (8, 16, 32, 64))


@pytest.mark.parametrize(
    ("shapes", "name", "classes"),
    [
        ([(1, THREE, 85)], "yolox", 80),
        ([(1, THREE, 8)], "yolox", 3),
        ([(1, FOUR, 112)], "nanodet-plus", 80),
        ([(1, FOUR, 124)], "nanodet-plus", 80),
        ([(1, 84, THREE)], "yolov8", 80),
        ([(1, 7, THREE)], "yolov8", 3),
        ([(1, 300, 80), (1, 300, 4)], "detr", 80),
        ([(1, 300, 4), (1, 300, 7)], "detr", 7),
    ],
)
def test_shapes_tell(shapes: list[tuple[int, ...]], name: str, classes: int) -> None:
    found = recognise(shapes, SIZE)
    assert (found.name, found.classes) == (name, classes)


def test_what_may_be_two_things_is_asked_for() -> None:
    shapes = [(1, FOUR, 60)]
    with pytest.raises(OperatorError, match="28 classes or nanodet-plus with 16 classes: say which"):
        recognise(shapes, SIZE)
    assert recognise(shapes, SIZE, classes=28).classes == 28


@pytest.mark.parametrize("shapes", [[(1, 1000)], [(1, 77, 85)], [(1, 10, 80), (1, 11, 4)], [(1, 3), (1, 3, 4), (1, 3)]])
def test_unknown_shapes_are_refused_with_what_was_expected(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(OperatorError, match="expected YOLOX"):
        recognise(shapes, SIZE)


def test_a_declared_layout_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OperatorError, match="of layout yolov8"):
        recognise([(1, THREE, 85)], SIZE, "yolov8")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["yolox", "nanodet-plus", "yolov8", "detr"]))
@settings(deadline=None, max_examples=40)
def test_whatever_a_model_gives_scores_reach_the_least_and_shapes_agree(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    shapes = {"yolox": [(1, THREE, 85)], "nanodet-plus": [(1, FOUR, 112)], "yolov8": [(1, 84, THREE)],
              "detr": [(1, 50, 80), (1, 50, 4)]}[name]  # fmt: skip
    outputs = [rng.normal(0, 3, shape).astype(np.float32) for shape in shapes]
    score, class_id, xyxy = recognise(shapes, SIZE).decode(outputs, SIZE, 0.5)
    assert len(score) == len(class_id) == len(xyxy) > 0
    assert xyxy.shape[1] == 4 and score.min() >= 0.5 and class_id.min() >= 0 and class_id.max() < 80
