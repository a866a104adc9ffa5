"""Frames between two looks: blending, looking back, memory."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everyframe.operators.region.crops import uncut
from everyframe.operators.types import NO_TRACK, MotionField, Objects, Origin
from everyframe.pipeline.labelling import interval as module
from everyframe.pipeline.labelling.interval import Interval
from everyframe.pipeline.labelling.middle import Middle
from everyframe.pipeline.labelling.tracks import TrackKeeper
from everyframe.pipeline.records import Frame, FrameLabels

WIDTH, HEIGHT = 1280, 720
GREY = np.full((HEIGHT, WIDTH), 128, np.uint8)
STILL = MotionField.still(WIDTH, HEIGHT)
HERE, THERE, FAR = [40, 40, 80, 120], [60, 40, 100, 120], [1000, 500, 1040, 580]


def seen(*boxes: list[float], score: float = 0.9) -> Objects:
    return Objects.of(np.reshape(boxes, (-1, 4)), [score] * len(boxes), [0] * len(boxes))


def record(index: int, origin: Origin = Origin.PROPAGATED) -> FrameLabels:
    return FrameLabels(
        "clip", index, index * 10, Fraction(1, 100), index / 10, WIDTH, HEIGHT, "P", origin, index, "p", "r", Objects.empty()
    )  # fmt: skip


def frame(index: int) -> Frame:
    def none():
        raise AssertionError("nobody may convert a picture here")

    return Frame(index * 10, "P", False, None, none, lambda: GREY, WIDTH, HEIGHT)


class Scene:
    """A detector that finds what `truth` says of the frame, or of parts of it, and remembers where it was asked."""

    def __init__(self, truth, price=0.0, conf=0.45, parts=False):
        self.truth = truth
        self.asked: list[int] = []
        self.keeper = TrackKeeper(np.zeros(3, np.int32), conf)
        self.crops: dict[int, np.ndarray] = {}
        middle = Middle(None, self._detect, self._detect_part if parts else None)
        self.interval = Interval(self.keeper, middle, price, conf)
        self.first = self.keeper.look(truth(0), 0)
        self.interval.begin(0, frame(0))

    def _detect(self, picture: Frame) -> Objects:
        self.asked.append(picture.pts // 10)
        return self.truth(self.asked[-1])

    def _detect_part(self, picture: Frame, crops: np.ndarray) -> Objects:
        found = self._detect(picture)
        self.crops[self.asked[-1]] = crops
        return found[uncut(found.xyxy, crops, WIDTH, HEIGHT)].with_origin(Origin.REGION)

    def run(self, last: int, fields=None):
        fields = fields or [STILL] * last
        for index in range(1, last):
            origin = Origin.PROPAGATED if fields[index - 1] is not None else Origin.INTERPOLATED
            self.interval.add(record(index, origin), fields[index - 1], frame(index) if fields[index - 1] else None)
        return self.interval.close(self.truth(last), fields[last - 1], last, frame(last))


def reported(labelled):
    return [int((objects.score >= 0.45).sum()) for _, objects in labelled]


def test_what_stands_still_stays_as_it_was():
    labelled, found = Scene(lambda i: seen(HERE)).run(5)
    assert len(labelled) == 4
    for _, objects in labelled:
        assert objects.xyxy == pytest.approx(np.array([HERE])) and objects.track_id.tolist() == [1]
        assert objects.origin.tolist() == [Origin.PROPAGATED]
    assert found.track_id.tolist() == [1]


def test_without_decoded_frames_boxes_are_interpolated():
    labelled, _ = Scene(lambda i: seen(HERE if i < 4 else THERE)).run(4, [None] * 4)
    assert [objects.xyxy[0, 0] for _, objects in labelled] == pytest.approx([45, 50, 55])
    assert all(objects.origin.tolist() == [Origin.INTERPOLATED] for _, objects in labelled)


def test_an_object_only_one_look_found_is_there_for_about_half_of_the_way():
    came, _ = Scene(lambda i: seen(HERE) if i == 10 else seen()).run(10)
    went, _ = Scene(lambda i: seen(HERE) if i == 0 else seen()).run(10)
    assert reported(came) == reported(went)[::-1]
    assert 3 <= sum(reported(came)) <= 6 and reported(came)[-1] == 1 and reported(came)[0] == 0


def test_looking_back_finds_when_an_object_came():
    scene = Scene(lambda i: seen(HERE) if i >= 23 else seen(), price=1)
    labelled, _ = scene.run(32)
    assert 10 < scene.asked[0] < 22 and 1 < len(scene.asked) < 8
    there = [r.frame_index for r, objects in labelled if (objects.score >= 0.45).any()]
    assert abs(there[0] - 23) <= 2 and there == list(range(there[0], 32))
    looked = {r.frame_index: r for r, _ in labelled if r.reason == "looked back"}
    assert sorted(looked) == sorted(scene.asked)
    assert all(r.origin == Origin.DETECTED and r.key_age == 0 for r in looked.values())
    after = next(r for r, _ in labelled if r.frame_index == max(scene.asked) + 1)
    assert after.key_age == 1


def test_looks_that_agree_are_not_looked_into():
    scene = Scene(lambda i: seen(HERE), price=1)
    scene.run(64)
    assert scene.asked == []


def test_a_look_at_parts_leaves_the_other_objects_alone():
    scene = Scene(lambda i: seen(FAR, HERE) if i >= 23 else seen(FAR), price=0.3, parts=True)
    labelled, _ = scene.run(32)
    assert scene.asked and sorted(scene.crops) == sorted(scene.asked)
    assert not any(uncut(np.float32([FAR]), crops, WIDTH, HEIGHT)[0] for crops in scene.crops.values())
    there = []
    for r, objects in labelled:
        far = objects[objects.xyxy[:, 0] == 1000]
        assert far.track_id.tolist() == [1] and far.score[0] == pytest.approx(0.9)
        assert far.origin.tolist() == [Origin.PROPAGATED]
        assert r.origin == (Origin.REGION if r.frame_index in scene.crops else Origin.PROPAGATED)
        assert r.key_age == r.frame_index  # a look at parts makes no key frame
        there += [r.frame_index] if (objects[objects.xyxy[:, 0] == 40].score >= 0.45).any() else []
    assert abs(there[0] - 23) <= 2 and there == list(range(there[0], 32))


def test_a_policy_that_never_looks_back_holds_no_picture():
    scene = Scene(lambda i: seen(HERE))
    scene.interval.add(record(1), STILL, frame(1))
    assert scene.interval.waiting[0].frame is None


def test_pictures_are_thinned_out_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr(module, "MOST_PICTURE_BYTES", 10 * WIDTH * HEIGHT * 3 // 2)
    scene = Scene(lambda i: seen(HERE) if i >= 50 else seen(), price=1)
    for index in range(1, 60):
        scene.interval.add(record(index), STILL, frame(index))
        assert sum(w.frame is not None for w in scene.interval.waiting) <= 10
        assert scene.interval.waiting[-1].frame is not None
    labelled, _ = scene.interval.close(seen(HERE), STILL, 60, frame(60))
    assert [r.frame_index for r, _ in labelled] == list(range(1, 60))


def test_a_late_field_moves_the_labels_of_frames_that_wait():
    scene = Scene(lambda i: seen(HERE) if i == 0 else seen([48, 40, 88, 120]))
    for index in (1, 2):
        scene.interval.add(record(index, Origin.INTERPOLATED), None, None)
    moved = MotionField(np.full_like(STILL.motion, (8, 0)), STILL.known, 8, WIDTH, HEIGHT)
    scene.interval.catch_up(10, moved)
    labelled, _ = scene.interval.close(scene.truth(3), STILL, 3, frame(3))
    (first, at_first), (second, at_second) = labelled
    assert first.origin == Origin.PROPAGATED and second.origin == Origin.INTERPOLATED
    assert at_first.xyxy[0, 0] == pytest.approx(48) and at_second.xyxy[0, 0] == pytest.approx(48)


def test_the_end_of_the_stream_is_labelled_from_the_last_look_alone():
    scene = Scene(lambda i: seen(HERE))
    for index in (1, 2):
        scene.interval.add(record(index, Origin.INTERPOLATED), None, None)
    labelled = scene.interval.release(WIDTH, HEIGHT)
    assert [r.origin for r, _ in labelled] == [Origin.HELD, Origin.HELD]
    assert all(len(objects) == 1 for _, objects in labelled) and scene.interval.waiting == []


def test_a_policy_that_looks_back_looks_at_the_last_frame():
    scene = Scene(lambda i: seen(HERE) if i >= 5 else seen(), price=1)
    for index in range(1, 9):
        scene.interval.add(record(index), STILL, frame(index))
    labelled = scene.interval.release(WIDTH, HEIGHT)
    assert scene.asked[0] == 8 and [r.frame_index for r, _ in labelled] == list(range(1, 9))
    last = labelled[-1][0]
    assert last.origin == Origin.DETECTED and last.key_age == 0 and last.reason == "last frame"
    assert reported(labelled)[-1] == 1 and reported(labelled)[0] == 0


def test_a_picture_is_looked_at_once():
    boxes = [[100 * i, 40, 100 * i + 40, 120] for i in range(12)]
    scene = Scene(lambda i: seen(*(box for k, box in enumerate(boxes) if i >= 3 * k + 3)), price=0.05, parts=True)
    scene.run(40)
    assert len(scene.asked) > 3 and len(set(scene.asked)) == len(scene.asked)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whatever_comes_and_goes_each_frame_is_labelled_once(data):
    last = data.draw(st.integers(1, 24))
    places = data.draw(st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 620)), max_size=5, unique=True))
    scores = data.draw(hnp.arrays(np.float32, (last + 1, len(places)), elements=st.sampled_from([0, 0.3, 0.5, 0.9])))
    decoded = data.draw(hnp.arrays(np.bool_, last))

    def truth(i):
        there = np.flatnonzero(scores[i])
        boxes = np.reshape([[x, y, x + 60, y + 90] for x, y in places], (-1, 4))
        return Objects.of(boxes[there], scores[i][there], np.zeros(len(there)))

    scene = Scene(truth, price=data.draw(st.sampled_from([0.0, 0.1, 1.0])), parts=data.draw(st.booleans()))
    labelled, found = scene.run(last, [STILL if d else None for d in decoded])
    assert [r.frame_index for r, _ in labelled] == list(range(1, last))
    assert np.array_equal(found.xyxy, truth(last).xyxy) and np.array_equal(found.score, truth(last).score)
    for r, objects in labelled:
        ids = objects.track_id[objects.track_id != NO_TRACK]
        assert len(set(ids.tolist())) == len(ids) and np.isfinite(objects.xyxy).all()
        assert (r.reason == "looked back") == (r.frame_index in scene.asked)
    state = scene.keeper.state.objects.track_id.tolist()
    assert len(set(state)) == len(state)
