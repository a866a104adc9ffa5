"""The detect rung."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.operators.detect import Detect
from everyframe.operators.detectors import load_detector
from everyframe.operators.types import NO_TRACK, Objects, Origin, View

OLD = Objects.of([[1, 1, 5, 5]], [0.9], [0], [7])


def test_it_needs_pixels_and_says_so() -> None:
    rung = Detect(load_detector(imgsz=64))
    assert rung.name == "detect" and rung.needs.pixels and not rung.needs.motion
    with pytest.raises(ValueError, match="needs pixels"):
        rung.apply(View(64, 64), OLD)


def test_it_gives_the_detectors_objects_and_forgets_the_old() -> None:
    detector = load_detector(imgsz=128, min_score=0.01)
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    found = Detect(detector).apply(View(128, 96, picture=lambda: picture), OLD)
    want = detector.detect(picture)
    assert len(found) and (found.track_id == NO_TRACK).all() and (found.origin == Origin.DETECTED).all()
    np.testing.assert_array_equal(found.xyxy, want.xyxy)
    assert len(OLD) == 1 and OLD.track_id[0] == 7
