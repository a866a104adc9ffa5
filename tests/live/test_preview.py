"""The small picture of the live page."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from boards import dashcam

from everyframe.operators.detectors.coco import NAMES
from everyframe.operators.types import U8, Objects, Origin
from everyframe.pipeline.live.preview import draw_preview
from everyframe.pipeline.pictures.overlay import STYLES


def decoded(data: bytes) -> U8:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


@pytest.mark.parametrize("origin", list(Origin))
def test_a_box_has_the_colour_of_how_it_came_to_be(origin: Origin) -> None:
    ground = np.full((720, 1280, 3), 127, np.uint8)
    objects = Objects.of([[200, 200, 600, 600]], [0.9], [2], [7], origin)
    picture = decoded(draw_preview(ground, objects, NAMES, quality=95)).astype(int)
    assert picture.shape == (360, 640, 3)
    assert (ground == 127).all()  # the argument stays as it is
    away = np.abs(picture - np.array(STYLES[origin].colour)).sum(2)
    assert away[:, 98:103].min() < 120 and away[:, 298:303].min() < 120, "left and right side"  # JPEG blurs colour
    assert away[85:100, 100:140].min() < 40, "the tag above"
    assert np.abs(picture[200, 200] - 127).max() < 12, "inside the box the picture shows"
    assert np.abs(picture[50, 500] - 127).max() < 12


def test_dashes_tell_origins_apart() -> None:
    ground = np.full((360, 640, 3), 127, np.uint8)

    def drawn_share(origin: Origin) -> float:
        objects = Objects.of([[50, 100, 600, 330]], [0.9], [2], [7], origin)
        picture = decoded(draw_preview(ground, objects, NAMES, quality=95)).astype(int)
        return float((np.abs(picture[328:333] - 127).sum(2).max(0)[60:590] > 60).mean())

    assert drawn_share(Origin.DETECTED) > 0.98
    assert drawn_share(Origin.PROPAGATED) < 0.95


def test_small_pictures_are_not_blown_up_and_odd_boxes_do_no_harm() -> None:
    ground = np.zeros((48, 64, 3), np.uint8)
    objects = Objects.of([[-1e6, -5, 1e6, 5], [60, 40, 61, 41], [0, 0, 64, 48]], [0.1, 0.5, 1], [200, 0, 1])
    assert decoded(draw_preview(ground, objects, NAMES)).shape == (48, 64, 3)
    assert decoded(draw_preview(ground, Objects.empty(), NAMES, width=32)).shape == (24, 32, 3)
    for shape in ((0, 10, 3), (10, 10), (10, 10, 4)):
        with pytest.raises(ValueError, match="picture must be of shape"):
            draw_preview(np.zeros(shape, np.uint8), Objects.empty(), NAMES)


def test_a_real_frame_with_its_labels_stays_small() -> None:
    clip = dashcam()
    data = draw_preview(clip.pictures[0], clip.labels[0].objects, NAMES)
    assert len(clip.labels[0].objects) > 0
    assert data != draw_preview(clip.pictures[0], Objects.empty(), NAMES)
    assert 5_000 < len(data) < 80_000
