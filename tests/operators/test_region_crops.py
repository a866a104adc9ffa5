"""Looks at rectangles of a picture: geometry, exactness where the context is whole, detectors of other kinds."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.base import Prices
from everyframe.operators.boxes import iou
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.detectors.letterbox import GRID, fit
from everyframe.operators.region.crops import CONTEXT, cover, look_at, net_size, uncut, well_inside
from everyframe.operators.region.sizes import CROPS, Bill, crop_sizes, fitted, merged, snap, to_source
from everyframe.operators.types import U8, Objects, Origin

PRICES = Prices({"detect": 41.0}, {(192, 192): 8.7, (256, 256): 12.4, (320, 320): 16.7})
sizes = st.tuples(st.integers(64, 1920), st.integers(64, 1080))


@pytest.fixture(scope="module")
def detector() -> NanoDetDetector:
    return load_detector()


@pytest.fixture(scope="module")
def picture(data_dir: Path) -> U8:
    """Frame 200 of a campus road, 768x576."""
    with av.open(str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")) as video:
        for number, frame in enumerate(video.decode(video=0)):
            if number == 200:
                return frame.to_ndarray(format="bgr24")
    raise AssertionError("the clip is shorter than it was")


class Plain:
    """A detector of which only `detect` is known."""

    runtime, precision = "torch", "f32"

    def __init__(self, detector: NanoDetDetector) -> None:
        self.names, self.supercategory = detector.names, detector.supercategory
        self._detect = detector.detect
        self.seen: list[tuple[int, ...]] = []

    def detect(self, picture: U8) -> Objects:
        self.seen.append(picture.shape)
        return self._detect(picture)


def boxes_in(width: int, height: int, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.random((count, 2)) * (width, height) * 0.9
    high = low + 1 + rng.random((count, 2)) * (width, height) * 0.3
    return np.concatenate((low, np.minimum(high, (width, height))), 1).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(1, 8), st.integers(0, 1000))
def test_a_cover_holds_every_box_with_its_context(size, count, seed):
    boxes = boxes_in(*size, count, seed)
    crops = cover(boxes, *size, 640, PRICES)
    assert well_inside(boxes, crops, *size).all() and uncut(boxes, crops, *size).all()
    assert (crops >= 0).all() and (crops <= np.array([*size, *size])).all()


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(1, 8), st.integers(0, 1000))
def test_sizes_come_from_the_list_and_lie_on_the_grid(size, count, seed):
    whole = fit(*size, 640)
    rects = merged(whole.to_input(boxes_in(*size, count, seed)), whole, Bill.of(PRICES, whole))
    sides = rects[:, 2:] - rects[:, :2]
    known = {tuple(s) for s in [*crop_sizes(whole).tolist(), list(whole.outer)]}
    assert {tuple(s) for s in sides.tolist()} <= known and (rects % GRID == 0).all()
    assert np.array_equal(snap(to_source(rects, whole), whole), rects)


def test_a_crop_is_cheaper_than_the_whole_and_merging_saves():
    whole = fit(768, 576, 640)
    bill = Bill.of(PRICES, whole)
    near = np.array([[100, 100, 130, 180], [120, 110, 160, 190]], np.float32)
    assert len(cover(near, 768, 576, 640, PRICES)) == 1
    apart = np.array([[10, 10, 40, 60], [700, 500, 740, 560]], np.float32)
    assert len(cover(apart, 768, 576, 640, PRICES)) == 2
    rects = fitted(whole.to_input(apart), whole)
    assert bill.crops(rects[:1]) < bill.crops(rects) < bill.whole
    everywhere = boxes_in(768, 576, 60, 0)
    assert cover(everywhere, 768, 576, 640, PRICES).tolist() == [[0, 0, 768, 576]]
    assert not len(cover(everywhere[:0], 768, 576, 640, PRICES))


def test_prices_by_area_where_none_were_measured():
    whole = fit(640, 480, 640)
    bill = Bill.of(Prices(), whole)
    assert bill.whole == 1 and bill.crops(np.array([[0, 0, 320, 240]], np.int32)) == pytest.approx(0.25)


def test_sizes_fit_the_grid():
    assert all(side % GRID == 0 for size in CROPS for side in size)
    assert (crop_sizes(fit(640, 160, 640)) <= (640, 160)).all()


def test_the_border_of_the_picture_needs_no_context():
    crops = np.array([[0, 0, 300, 300]], np.int32)
    boxes = np.array([[0, 0, 50, 50], [200, 10, 290, 60], [200, 10, 230, 60], [320, 10, 350, 60]], np.float32)
    assert well_inside(boxes, crops, 640, 480).tolist() == [True, False, True, False]
    assert uncut(boxes, crops, 640, 480).tolist() == [True, True, True, False]
    # At twice the scale the same context is twice as many pixels.
    assert not well_inside(np.array([[100, 0, 220, 50]], np.float32), crops, 1280, 960).any()
    assert not len(well_inside(boxes[:0], crops, 640, 480)) and not well_inside(boxes, crops[:0], 640, 480).any()


def test_the_whole_as_a_crop_is_the_whole(detector, picture):
    found = look_at(detector, picture, np.array([[0, 0, 768, 576]], np.int32))
    whole = detector.detect(picture)
    assert np.allclose(found.xyxy, whole.xyxy, atol=1e-3) and np.allclose(found.score, whole.score, atol=1e-5)
    assert (found.origin == Origin.REGION).all() and (found.track_id == -1).all()


def test_crops_find_what_the_whole_finds_there_and_nothing_else(detector, picture):
    whole = detector.detect(picture)
    good = whole[(whole.score >= 0.5)]
    crops = cover(good.xyxy[:4], 768, 576, 640, PRICES)
    found = look_at(detector, picture, crops)
    expected = good[well_inside(good.xyxy, crops, 768, 576)]
    assert len(expected) >= 4
    overlap = iou(expected.xyxy, found.xyxy[found.score >= 0.45])
    assert (overlap.max(1) > 0.7).all()
    sure = found[(found.score >= 0.5) & well_inside(found.xyxy, crops, 768, 576)]
    assert (iou(sure.xyxy, whole.xyxy).max(1) > 0.7).all()


def test_what_two_crops_show_is_reported_once_and_what_a_border_cuts_never(detector, picture):
    box = detector.detect(picture)[:1].xyxy[0]
    x1, y1, x2, y2 = box.astype(int).tolist()
    twice = np.array([[x1 - 90, y1 - 90, x2 + 90, y2 + 90], [x1 - 130, y1 - 100, x2 + 90, y2 + 90]], np.int32)
    found = look_at(detector, picture, twice)
    assert (iou(box[None], found.xyxy[found.score > 0.4]) > 0.5).sum() == 1
    middle = (y1 + y2) // 2
    cut = look_at(Plain(detector), picture, np.array([[x1 - 90, y1 - 150, x2 + 90, middle]], np.int32))
    assert not (iou(box[None], cut.xyxy) > 0.3).any()


def test_any_detector_serves(detector, picture):
    plain = Plain(detector)
    assert net_size(plain, 768, 576) == 768 and net_size(detector, 768, 576) == 640
    crops = np.array([[480, 120, 768, 400], [-5, 100, 300, 900], [700, 500, 700, 510]], np.int32)
    found = look_at(plain, picture, crops)
    assert plain.seen == [(280, 288, 3), (476, 300, 3)]
    assert len(found) and (found.xyxy <= np.array([768, 576, 768, 576])).all() and CONTEXT > 0


def test_nothing_to_look_at_is_no_error(detector, picture):
    assert len(look_at(detector, picture, np.zeros((0, 4), np.int32))) == 0
