"""The life of a track, look by look."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.operators.types import NO_TRACK, Objects
from everyframe.pipeline.labelling.tracks import TrackKeeper

GROUPS = np.array([0, 1, 1], np.int32)  # a person; a car and a truck, both vehicles
HERE, NEAR, FAR = [10, 10, 50, 90], [14, 10, 54, 90], [200, 10, 240, 90]


def seen(*rows: tuple[list[float], float, int]) -> Objects:
    return Objects.of([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


@pytest.fixture
def keeper() -> TrackKeeper:
    return TrackKeeper(GROUPS, 0.45)


def test_a_good_detection_begins_a_track_and_a_weak_one_does_not(keeper):
    found = keeper.look(seen((HERE, 0.9, 0), (FAR, 0.3, 0)), 0)
    assert found.track_id.tolist() == [1, NO_TRACK]
    assert keeper.state.objects.track_id.tolist() == [1]


def test_a_weak_detection_continues_a_track(keeper):
    keeper.look(seen((HERE, 0.9, 0)), 0)
    found = keeper.look(seen((NEAR, 0.3, 0)), 10)
    assert found.track_id.tolist() == [1]
    assert keeper.state.detected_at.tolist() == [10]
    assert keeper.state.objects.score.tolist() == pytest.approx([0.3])


def test_a_missed_track_is_not_reported_but_comes_back_as_itself(keeper):
    keeper.look(seen((HERE, 0.9, 0)), 0)
    keeper.look(Objects.empty(), 10)
    assert keeper.state.objects.score.tolist() == [0] and keeper.state.misses.tolist() == [1]
    assert keeper.look(seen((NEAR, 0.9, 0)), 20).track_id.tolist() == [1]
    assert keeper.state.misses.tolist() == [0]


def test_three_misses_end_a_track_for_good(keeper):
    keeper.look(seen((HERE, 0.9, 0)), 0)
    for frame in (10, 20, 30):
        keeper.look(Objects.empty(), frame)
    assert len(keeper.state.objects) == 0
    assert keeper.look(seen((HERE, 0.9, 0)), 40).track_id.tolist() == [2]


def test_a_car_may_become_a_truck_but_never_a_person(keeper):
    keeper.look(seen((HERE, 0.9, 1)), 0)
    assert keeper.look(seen((HERE, 0.9, 2)), 1).track_id.tolist() == [1]
    assert keeper.look(seen((HERE, 0.9, 0)), 2).track_id.tolist() == [2]


def test_good_detections_choose_before_weak_ones(keeper):
    keeper.look(seen((HERE, 0.9, 0)), 0)
    found = keeper.look(seen((HERE, 0.2, 0), (NEAR, 0.8, 0)), 1)
    assert found.track_id.tolist() == [NO_TRACK, 1]


def test_two_that_cross_keep_their_names(keeper):
    keeper.look(seen((HERE, 0.9, 0), (FAR, 0.9, 0)), 0)
    assert keeper.look(seen((FAR, 0.9, 0), (NEAR, 0.9, 0)), 1).track_id.tolist() == [2, 1]


def test_agreement_is_f1_with_what_is_reported(keeper):
    assert keeper.agreement(Objects.empty()) == 1
    keeper.look(seen((HERE, 0.9, 0)), 0)
    assert keeper.agreement(seen((NEAR, 0.9, 0))) == 1
    assert keeper.agreement(seen((NEAR, 0.9, 0), (FAR, 0.9, 0))) == pytest.approx(2 / 3)
    assert keeper.agreement(seen((NEAR, 0.3, 0))) == 0


def test_tracks_that_left_the_picture_leave_the_state(keeper):
    keeper.look(seen((HERE, 0.9, 0), (FAR, 0.8, 1)), 0)
    state = keeper.state.moved(keeper.state.objects[np.array([1])])
    assert state.objects.track_id.tolist() == [2] and state.looked.tolist() == pytest.approx([0.8])


def test_a_partial_look_concerns_the_tracks_that_it_does_not_carry(keeper):
    keeper.look(seen((HERE, 0.9, 0), (FAR, 0.8, 1)), 0)
    here, far = keeper.state.objects[:1], keeper.state.objects[1:]
    given = Objects.concat([far, seen((NEAR, 0.7, 0), ([300, 10, 340, 90], 0.6, 0))])
    found = keeper.take(given, 5)
    assert found.track_id.tolist() == [2, 1, 3]
    assert dict(zip(keeper.state.objects.track_id.tolist(), keeper.state.detected_at.tolist(), strict=True)) == {
        2: 0, 1: 5, 3: 5
    }  # fmt: skip
    assert here.xyxy.tolist() != found.xyxy[1].tolist()


def test_a_track_that_a_partial_look_does_not_find_is_missed_and_a_carried_one_is_not(keeper):
    keeper.look(seen((HERE, 0.9, 0), (FAR, 0.8, 1)), 0)
    found = keeper.take(keeper.state.objects[1:], 5)
    assert found.track_id.tolist() == [2]
    score = dict(zip(keeper.state.objects.track_id.tolist(), keeper.state.objects.score.tolist(), strict=True))
    assert score == {2: pytest.approx(0.8), 1: 0.0}


def test_objects_that_are_all_new_are_a_whole_look(keeper):
    other = TrackKeeper(GROUPS, 0.45)
    for given in (seen((HERE, 0.9, 0)), seen((NEAR, 0.8, 0), (FAR, 0.7, 1)), Objects.empty()):
        a, b = keeper.take(given, 3), other.look(given, 3)
        assert a.track_id.tolist() == b.track_id.tolist()
        assert keeper.state.objects.xyxy.tolist() == other.state.objects.xyxy.tolist()
