"""Labels between two looks: both ways through an interval, and what is made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from everyframe.operators.types import MotionField, Objects, Origin
from everyframe.pipeline.labelling import lookahead
from everyframe.pipeline.labelling.lookahead import Strands, Turns
from everyframe.pipeline.labelling.tracks import TrackKeeper

WIDTH, HEIGHT, CONF = 320, 240, 0.45
STILL = MotionField.still(WIDTH, HEIGHT)
HERE, FAR = [40, 40, 80, 120], [200, 40, 240, 120]


def seen(*boxes: list[float], score: float = 0.9) -> Objects:
    return Objects.of(np.reshape(boxes, (-1, 4)), [score] * len(boxes), [0] * len(boxes))


def moving(x: float, y: float = 0) -> MotionField:
    return replace(STILL, motion=np.full_like(STILL.motion, (x, y)))


class Span:
    """Two looks with `fields` between them."""

    def __init__(self, first: Objects, last: Objects, fields) -> None:
        self.keeper = TrackKeeper(np.zeros(3, np.int32), CONF)
        self.keeper.look(first, 0)
        self.fields, self.last = fields, last
        self.paths = lookahead.both_ways(self.keeper, self.keeper.state, fields, last)
        self.strands = Strands.of(self.paths, last, CONF)

    def close(self, turns: Turns | None = None) -> tuple[Objects, list[Objects]]:
        found = lookahead.close(self.keeper, self.paths, self.last, len(self.fields))
        strands = None if turns is None else self.strands
        blend = lookahead.blend(self.paths, found, WIDTH, HEIGHT, strands, turns)
        return found, lookahead.labels_of(blend, self.fields)


def test_carrying_there_and_back_is_the_identity():
    fields = [moving(3, 1), None, moving(-2), STILL]
    boxes = np.array([HERE, FAR], np.float32)
    ahead = lookahead.carry(boxes, fields)
    assert ahead.shape == (5, 2, 4)
    assert ahead[:, 0, 0] == pytest.approx(np.array([40, 43, 43, 41, 41]))
    assert lookahead.carry_back(ahead[-1], fields) == pytest.approx(ahead)


def test_without_motion_the_labels_between_are_those_of_the_looks():
    found, between = Span(seen(HERE, FAR), seen(HERE, FAR), [STILL] * 6).close()
    assert len(between) == 5 and found.track_id.tolist() == [1, 2]
    for objects in between:
        assert objects.xyxy == pytest.approx(np.array([HERE, FAR], np.float32))
        assert objects.track_id.tolist() == [1, 2] and objects.score == pytest.approx(0.9)
        assert set(objects.origin.tolist()) == {Origin.PROPAGATED}


def test_the_nearer_look_weighs_more_and_the_middle_is_the_mean():
    there = [48, 40, 88, 120]
    _, on = Span(seen(HERE), seen(there, score=0.5), [STILL] * 4).close()
    _, back = Span(seen(there, score=0.5), seen(HERE), [STILL] * 4).close()
    assert [o.xyxy[0, 0] for o in on] == pytest.approx([42, 44, 46])
    assert [o.score[0] for o in on] == pytest.approx([0.8, 0.7, 0.6])
    for a, b in zip(on, back[::-1], strict=True):  # time turned round
        assert a.xyxy == pytest.approx(b.xyxy) and a.score == pytest.approx(b.score)


def test_motion_and_looks_that_agree_leave_no_jump():
    _, between = Span(seen(HERE), seen([60, 40, 100, 120]), [moving(5)] * 4).close()
    assert [o.xyxy[0, 0] for o in between] == pytest.approx([45, 50, 55])


def test_what_only_one_look_found_is_reported_on_its_half():
    def reported(between):
        return [bool((o.score >= CONF).any()) for o in between]

    _, came = Span(seen(), seen(HERE), [STILL] * 10).close()
    _, went = Span(seen(HERE), seen(), [STILL] * 10).close()
    assert reported(came) == reported(went)[::-1]
    assert reported(came)[0] is False and reported(came)[-1] is True
    assert 3 <= sum(reported(came)) <= 6
    assert sorted(reported(came)) == reported(came)


def test_objects_outside_the_picture_are_not_labelled():
    leaving = Span(seen([260, 40, 300, 120]), seen(), [moving(20)] * 6)
    _, between = leaving.close()
    assert [len(o) for o in between] == [1, 1, 0, 0, 0]
    entering = Span(seen(), seen([0, 40, 40, 120]), [moving(20)] * 4)
    assert [len(o) for o in entering.close()[1]] == [0, 0, 1]


def test_every_track_and_every_detection_is_in_one_strand():
    strands = Span(seen(HERE, FAR), seen(FAR, [120, 40, 160, 120]), [STILL] * 4).strands
    assert strands.first.tolist() == [1, 0, -1] and strands.last.tolist() == [0, -1, 1]
    assert strands.start == pytest.approx([0.9, 0.9, 0]) and strands.end == pytest.approx([0.9, 0, 0.9])
    assert np.array_equal(strands.on[:, 1:], strands.back[:, 1:])  # one way only
    assert [rows.tolist() for rows in strands.rows(np.array([True, False, True]))] == [[1], [0, 1]]


def test_labels_turn_where_they_are_told():
    span = Span(seen(HERE), seen(FAR), [STILL] * 10)
    assert [len(span.strands), *span.strands.first.tolist()] == [2, 0, -1]
    turns = replace(Turns.half_way(span.strands), until=np.float32([3, 7]), sharp=np.ones(2, np.bool_))
    _, between = span.close(turns)
    went = [bool((o.score[o.xyxy[:, 0] == 40] >= CONF).all()) for o in between]
    came = [bool((o.score[o.xyxy[:, 0] == 200] >= CONF).all()) for o in between]
    assert went == [step <= 3 for step in range(1, 10)] and came == [step > 7 for step in range(1, 10)]


def test_where_the_ways_do_not_meet_one_of_them_counts():
    span = Span(seen(HERE), seen([60, 40, 100, 120]), [STILL] * 6)  # moved by 20 pixels, and no vector says so
    half = Turns.half_way(span.strands)
    turns = replace(half, until=np.float32([2]), apart=np.ones_like(half.apart))
    assert [o.xyxy[0, 0] for o in span.close(turns)[1]] == pytest.approx([40, 40, 60, 60, 60])


def test_two_empty_looks_have_empty_frames_between():
    span = Span(seen(), seen(), [STILL] * 3)
    found, between = span.close()
    assert len(found) == 0 and [len(o) for o in between] == [0, 0]


def test_looks_at_neighbouring_frames_have_nothing_between():
    found, between = Span(seen(HERE), seen(HERE), [STILL]).close()
    assert between == [] and found.track_id.tolist() == [1]


def test_frames_that_were_not_decoded_say_so():
    _, between = Span(seen(HERE), seen(HERE, FAR), [STILL, None, STILL]).close()
    assert set(between[0].origin.tolist()) == {Origin.PROPAGATED}
    assert between[1].origin.tolist() == [Origin.INTERPOLATED, Origin.HELD]


def test_one_sided_labels_follow_the_motion_until_the_picture_ends():
    before = Span(seen(HERE, [270, 40, 310, 120]), seen(), []).keeper.state
    labels = lookahead.one_sided(before, [moving(15), None, moving(15), moving(15)], WIDTH, HEIGHT)
    assert [len(o) for o in labels] == [2, 2, 2, 1]
    assert [o.xyxy[0, 0] for o in labels] == pytest.approx([55, 55, 70, 85])
    assert [o.origin[0] for o in labels] == [Origin.PROPAGATED, Origin.HELD] + [Origin.PROPAGATED] * 2
    assert lookahead.one_sided(before, [], WIDTH, HEIGHT) == []


def test_inputs_are_left_unchanged():
    first, last, fields = seen(HERE), seen(FAR, HERE), [moving(2), None, moving(1)]
    watched = [first.xyxy, first.score, last.xyxy, last.score, last.track_id, fields[0].motion]
    before = [array.copy() for array in watched]
    Span(first, last, fields).close()
    assert all(np.array_equal(array, copy) for array, copy in zip(watched, before, strict=True))
