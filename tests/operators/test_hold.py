"""Holding: the last labels again."""

from __future__ import annotations

import numpy as np

from everyframe.operators.hold import Hold
from everyframe.operators.types import Objects, Origin, View

VIEW = View(96, 64)  # a frame that was not decoded: neither motion nor picture


def test_everything_but_the_origin_stays():
    objects = Objects.of([[8, 8, 40, 40], [90, 60, 140, 90]], [0.9, 0.1], [0, 2], [7, 3])
    held = Hold().apply(VIEW, objects)
    assert held.origin.tolist() == [Origin.HELD] * 2 and objects.origin.tolist() == [Origin.DETECTED] * 2
    for name in ("xyxy", "score", "class_id", "track_id"):
        assert np.array_equal(getattr(held, name), getattr(objects, name))


def test_it_needs_no_decoded_frame():
    needs = Hold().needs
    assert not needs.motion and not needs.pixels
