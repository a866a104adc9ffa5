"""Letterbox, decoding and suppression: geometry without a net."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.detectors.decode import IOU, MOST, decode, suppress
from everyframe.operators.detectors.letterbox import MEAN, STD, fit, to_input
from everyframe.operators.types import F32, Objects

SIDES = st.integers(1, 8192)


@pytest.mark.parametrize(
    ("source", "imgsz", "inner", "outer"),
    [
        ((768, 576), 640, (640, 480), (640, 480)),  # fits as it is
        ((1280, 720), 640, (640, 360), (640, 384)),  # padded below
        ((720, 1280), 640, (360, 640), (384, 640)),  # upright
        ((320, 240), 640, (640, 480), (640, 480)),  # scaled up
        ((16, 16), 640, (640, 640), (640, 640)),
        ((7680, 4320), 640, (640, 360), (640, 384)),
        ((640, 352), 416, (416, 229), (416, 256)),
        ((1000, 1), 640, (640, 1), (640, 32)),  # a side never vanishes
        ((640, 480), 100, (100, 75), (128, 96)),  # a size off the grid is padded
    ],
)
def test_fit(source: tuple[int, int], imgsz: int, inner: tuple[int, int], outer: tuple[int, int]) -> None:
    box = fit(*source, imgsz)
    assert (box.inner, box.outer) == (inner, outer)


@given(SIDES, SIDES, st.sampled_from((320, 416, 640)), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_letterbox_maps_there_and_back(width: int, height: int, imgsz: int, seed: int) -> None:
    box = fit(width, height, imgsz)
    assert max(box.inner) == imgsz
    assert all(
        outer % 32 == 0 and 0 <= outer - inner < 32 for inner, outer in zip(box.inner, box.outer, strict=True)
    )
    points = np.sort(np.random.default_rng(seed).uniform(0, 1, (5, 2, 2)), axis=1) * (width, height)
    xyxy = points.reshape(5, 4).astype(np.float32)
    inside = box.to_input(xyxy)
    assert (inside <= np.array(box.inner * 2) + 1e-2).all()
    np.testing.assert_allclose(box.to_source(inside), xyxy, rtol=1e-5, atol=1e-3)


def test_boxes_are_clipped_to_the_source() -> None:
    outside = np.array([[-50, -1, 700, 500]], np.float32)
    assert fit(768, 576, 640).to_source(outside).tolist() == [[0, 0, 768, 576]]


@pytest.mark.parametrize("size", [(1280, 720), (2560, 1440), (1921, 1081), (319, 179), (640, 360)])
def test_input_is_normalised_and_padded_with_zero(size: tuple[int, int]) -> None:
    picture = np.full((size[1], size[0], 3), (10, 100, 200), np.uint8)
    box = fit(*size, 640)
    made = to_input(picture, box)
    assert made.shape == (1, box.outer[1], box.outer[0], 3) and made.dtype == np.float32
    want = (np.array((10, 100, 200)) - MEAN) / STD
    np.testing.assert_allclose(
        made[0, : box.inner[1], : box.inner[0]], np.broadcast_to(want, (*box.inner[::-1], 3)), atol=1e-5
    )
    assert not made[0, box.inner[1] :].any()


def test_large_pictures_do_not_alias() -> None:
    stripes = np.zeros((1440, 2560, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255  # two by two: bilinear alone would see one kind only
    small = to_input(stripes, fit(2560, 1440, 640))[0, :360] * STD + MEAN
    np.testing.assert_allclose(small, 127.5, atol=1)


def _maps(width: int, height: int) -> list[F32]:
    """Output maps of a net that sees nothing in an input of a size."""
    maps = [np.zeros((height // s, width // s, 124), np.float32) for s in (8, 16, 32)]
    for level in maps:
        level[..., :80] = -10
    return maps


def _put(
    level: F32, row: int, col: int, class_id: int, logit: float, steps: tuple[int, int, int, int]
) -> None:
    level[row, col, class_id] = logit
    for side, step in enumerate(steps):
        level[row, col, 80 + 11 * side + step] = 50


def test_decode_reads_boxes_off_the_bins() -> None:
    maps = _maps(640, 480)
    _put(maps[1], row=10, col=20, class_id=2, logit=2.0, steps=(1, 2, 3, 4))
    found = decode(maps, fit(1280, 960, 640), 0.2)
    x, y = 20 * 16 + 7.5, 10 * 16 + 7.5
    np.testing.assert_allclose(found.xyxy, [np.array((x - 16, y - 32, x + 48, y + 64)) * 2], rtol=1e-6)
    np.testing.assert_allclose(found.score, [1 / (1 + np.exp(-2.0))], rtol=1e-6)
    assert found.class_id.tolist() == [2]


def test_decode_sorts_by_score_and_keeps_classes_apart() -> None:
    maps = _maps(640, 480)
    for col, logit in ((20, 0.5), (21, 3.0)):  # nearly the same box
        _put(maps[1], 10, col, 0, logit, (5, 5, 5, 5))
    maps[1][10, 21, 7] = 1.0  # the same cell, another class
    found = decode(maps, fit(640, 480, 640), 0.2)
    assert found.class_id.tolist() == [0, 7]
    assert (np.diff(found.score) <= 0).all()


def test_decode_finds_nothing_in_nothing() -> None:
    found = decode(_maps(64, 64), fit(64, 64, 64), 0.2)
    assert isinstance(found, Objects) and len(found) == 0


def test_decode_drops_boxes_that_lie_outside_the_picture() -> None:
    maps = _maps(640, 384)
    _put(maps[0], row=47, col=10, class_id=0, logit=5, steps=(1, 1, 1, 0))  # in the padding of a 720p picture
    assert len(decode(maps, fit(1280, 720, 640), 0.2)) == 0


def test_decode_is_bounded_on_noise() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=m.shape).astype(np.float32) for m in _maps(640, 480)]
    assert 0 < len(decode(maps, fit(640, 480, 640), 0.2)) <= MOST


def _iou(a: F32, b: F32) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    common = max(wide, 0) * max(high, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(common / (area - common))


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_suppression_is_greedy_within_each_class(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (n, 2))
    xyxy = np.concatenate((corner, corner + rng.uniform(5, 30, (n, 2))), 1).astype(np.float32)
    score = np.sort(rng.uniform(0.1, 1, n).astype(np.float32))[::-1]
    class_id = rng.integers(0, 2, n).astype(np.int32)
    kept: list[int] = []
    for i in range(n):
        if all(class_id[i] != class_id[j] or _iou(xyxy[i], xyxy[j]) <= IOU for j in kept):
            kept.append(i)
    assert suppress(xyxy, score, class_id, IOU).tolist() == kept
    again = suppress(xyxy[kept], score[kept], class_id[kept], IOU)
    assert again.tolist() == list(range(len(kept)))


def test_opencv_is_only_given_plain_arrays() -> None:
    """A picture that is a view with strides (a crop, a rotated frame) gives what its copy gives."""
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    view = np.rot90(picture)[:, 10:250]
    box = fit(240, 400, 320)
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(to_input(view, box), to_input(np.ascontiguousarray(view), box))
    assert cv2.resize(view, (10, 10)).shape == (10, 10, 3)
