"""What a look between two looks is planned as, and what it shows."""

from __future__ import annotations

import numpy as np

from everyframe.operators.types import Objects
from everyframe.pipeline.labelling.middle import Middle, hull, is_whole
from everyframe.pipeline.records import Frame

SIZE = WIDTH, HEIGHT = 1280, 720
NEAR = np.array([[40, 40, 80, 120], [60, 60, 100, 140]], np.float32)
SPREAD = np.array([[x, y, x + 40, y + 80] for x in range(20, 1240, 160) for y in (20, 300, 600)], np.float32)


def worth(boxes, each):
    return np.full(len(boxes), each, np.float32)


def frame() -> Frame:
    def none():
        raise AssertionError("no picture is needed here")

    return Frame(0, "P", False, None, none, none, WIDTH, HEIGHT)


def both(asked: list[str]) -> Middle:
    def whole(frame):
        asked.append("whole")
        return Objects.empty()

    def part(frame, crops):
        asked.append(f"{len(crops)} crops")
        return Objects.empty()

    return Middle(None, whole, part)


def test_nothing_is_looked_at_where_it_does_not_pay():
    middle = both([])
    assert 0 < middle.least(SIZE) < 0.2
    assert len(middle.plan(NEAR, worth(NEAR, middle.least(SIZE) / 4), SIZE)) == 0
    assert len(middle.plan(NEAR[:0], worth(NEAR[:0], 1), SIZE)) == 0


def test_a_crop_that_holds_all_where_they_are_near_and_the_whole_where_they_are_everywhere():
    asked: list[str] = []
    middle = both(asked)
    crops = middle.plan(NEAR, worth(NEAR, 0.5), SIZE)
    assert len(crops) == 1 and not is_whole(crops, SIZE)
    assert middle.shown(NEAR, crops, SIZE)[0].all()
    assert not middle.shown(SPREAD[-3:], crops, SIZE)[1].any()
    everything = middle.plan(SPREAD, worth(SPREAD, 0.5), SIZE)
    assert is_whole(everything, SIZE) and middle.shown(SPREAD, everything, SIZE)[0].all()
    middle.look(frame(), crops)
    middle.look(frame(), everything)
    assert asked == ["1 crops", "whole"]


def test_without_parts_it_is_the_whole_or_nothing():
    middle = Middle(None, lambda frame: Objects.empty())
    assert middle.least(SIZE) == 1
    assert len(middle.plan(NEAR, worth(NEAR, 0.4), SIZE)) == 0
    assert is_whole(middle.plan(NEAR, worth(NEAR, 0.6), SIZE), SIZE)


def test_the_hull_holds_both():
    assert hull(NEAR[:1], NEAR[1:]).tolist() == [[40, 40, 100, 140]]
