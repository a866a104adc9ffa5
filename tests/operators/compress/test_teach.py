"""A net learns a teacher's objects: cells that answer for them, pictures that change at random, a course that goes on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.compress.alignment import assign, grid, loss_of
from everyframe.operators.compress.lessons import Lesson, often, sample
from everyframe.operators.compress.teach import Course, Plan, shifted, silenced, teach
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.decode import decode
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.detectors.nanodet import BINS, OUTPUTS, STRIDES, NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import Objects

IDS = (0, 2)
SHAPES = [(128 // s, 160 // s) for s in STRIDES]


@pytest.fixture(scope="module")
def full() -> NanoDet:
    return weights.load_nanodet(weights.read("full"), "full")


def blank() -> torch.Tensor:
    """Outputs of a net that sees nothing and takes every side to be three strides away."""
    cells = sum(rows * cols for rows, cols in SHAPES)
    out = torch.full((1, cells, OUTPUTS), -6.0)
    out[..., -4 * BINS :].view(1, cells, 4, BINS)[..., 3] = 6.0
    return out


sides = st.integers(6, 70)
scores = st.floats(0.1, 1.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 110), sides, sides, scores, st.sampled_from(IDS)), min_size=1, max_size=6))
def test_every_object_has_a_cell_and_the_best_wants_its_score(rows: list[tuple[int, int, int, int, float, int]]) -> None:
    boxes = np.array([[x, y, min(x + w, 160), min(y + h, 128)] for x, y, w, h, _, _ in rows], np.float32)
    objects = Objects.of(boxes, np.array([r[4] for r in rows], np.float32), np.array([r[5] for r in rows]))
    centres, strides = grid(SHAPES)
    out = blank()[0]
    wanted, target = assign(out[:, list(IDS)].sigmoid(), torch.cat((centres - 24, centres + 24), 1), centres, strides, objects, IDS)
    assert wanted.max() == pytest.approx(float(objects.score.max()), abs=1e-6)
    cells = torch.nonzero(wanted.amax(1)).flatten()
    assert len(cells) >= 1 and bool((wanted <= 1).all())
    for cell in cells.tolist():
        assert any(np.array_equal(target[cell].numpy(), box) for box in objects.xyxy)
    if len(rows) == 1:
        assert 1 <= len(cells) <= 9
        column = IDS.index(rows[0][5])
        assert bool((wanted[:, 1 - column] == 0).all())


def test_the_loss_teaches_boxes_that_decode_to_the_teacher_s() -> None:
    """Outputs that follow the loss alone become what was taught, scores too."""
    taught = Objects.of([[20, 30, 60, 110], [90, 10, 150, 50]], [0.8, 0.6], [0, 2])
    out = blank().requires_grad_(True)
    optimizer = torch.optim.Adam([out], lr=0.1)
    first = math.nan
    for _ in range(250):
        loss = loss_of(out, [taught], SHAPES, IDS)
        first = float(loss.detach()) if math.isnan(first) else first
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first
    parts = out.detach().split([rows * cols for rows, cols in SHAPES], 1)
    maps = [part[0].reshape(*shape, OUTPUTS).numpy() for part, shape in zip(parts, SHAPES, strict=True)]
    found = decode(maps, fit(160, 128, 160), 0.3)
    assert found.class_id.tolist() == [0, 2]
    assert np.abs(found.xyxy - taught.xyxy).max() < 3
    assert np.abs(found.score - taught.score).max() < 0.15  # the last bit is slow: the loss is flat there


def test_without_objects_the_loss_still_teaches_silence() -> None:
    loud = blank()
    loud[..., 0] = 3.0
    assert float(loss_of(loud, [Objects.empty()], SHAPES, IDS)) > 10 * float(loss_of(blank(), [Objects.empty()], SHAPES, IDS))


def test_objects_move_with_the_picture() -> None:
    """A white square is where its box says, however the picture was zoomed, shifted and mirrored."""
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[40:80, 60:100] = 255
    lesson = Lesson(picture, Objects.of([[60, 40, 100, 80]], [0.9], [0]))
    rng = np.random.default_rng(3)
    dark = (0 - np.array([103.53, 116.28, 123.675])) / np.array([57.375, 57.12, 58.395])
    seen = 0
    for _ in range(30):
        out, objects = sample(lesson, rng, 160)
        assert out.shape == (128, 160, 3) and out.dtype == np.float32
        (box,) = objects.xyxy
        x, y = (box[:2] + box[2:]) / 2
        around = out[max(0, int(box[1]) - 8), int(x), 1], out[int(y), max(0, int(box[0]) - 8), 1]
        if out[:120].std() > 0.5 and min(box[:2]) > 10:
            assert out[int(y), int(x), 1] > max(around) + 0.5, (box, dark)
            seen += 1
    assert seen >= 15


def test_pictures_that_show_something_are_drawn_for_half_of_the_time() -> None:
    empty = Lesson(np.zeros((8, 8, 3), np.uint8), Objects.empty())
    busy = replace(empty, objects=Objects.of([[0, 0, 4, 4]], [0.9], [0]))
    chance = often([busy, *[empty] * 19])
    assert chance.sum() == pytest.approx(1) and chance[0] > 0.5
    assert often([empty] * 4) == pytest.approx(0.25)


def test_a_course_goes_on_where_it_was_left(full: NanoDet, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    lessons = [Lesson(picture, Objects.of([[10, 10, 40, 60]], [0.8], [0]))]
    plan = Plan(4, 96, (0,), until=2, checkpoint=tmp_path / "camera.ckpt")
    course = Course.start(full, plan)
    teach(course, lessons, plan)
    again = Course.start(full, plan)
    assert (course.step, again.step) == (2, 2)
    for mine, saved in zip(course.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(mine, saved)
    teach(again, lessons, replace(plan, until=None))
    assert again.step == 4
    (tmp_path / "camera.ckpt").write_bytes(b"half a file")
    assert Course.start(full, plan).step == 0
    with pytest.raises(OperatorError, match="no picture"):
        teach(again, [], plan)


def test_a_silenced_net_reports_the_asked_classes_only(full: NanoDet) -> None:
    x = torch.randn(1, 3, 96, 96)
    before, after = full(x), silenced(shifted(full, (0,), 0.5), (0,))(x)
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(b[..., 0], a[..., 0] + 0.5, atol=1e-4)
        assert float(b[..., 1:80].max()) < -4
        assert torch.allclose(b[..., 80:], a[..., 80:], atol=1e-4)
