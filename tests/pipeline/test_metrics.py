from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.detectors import coco
from everyframe.operators.types import Objects
from everyframe.pipeline import metrics

GROUPS = metrics.group_table(coco.SUPERCATEGORY)
PERSON, CAR, TRUCK = (coco.NAMES.index(name) for name in ("person", "car", "truck"))
EMPTY = Objects.empty()

numbers = st.floats(0, 200, width=32)
sides = st.floats(1, 100, width=32)


@st.composite
def objects(draw: st.DrawFn) -> Objects:
    n = draw(st.integers(0, 6))
    rows = draw(st.lists(st.tuples(numbers, numbers, sides, sides), min_size=n, max_size=n))
    corner = np.array(rows, np.float32).reshape(n, 4)
    classes = draw(st.lists(st.sampled_from([PERSON, CAR, TRUCK]), min_size=n, max_size=n))
    return Objects.of(
        np.concatenate([corner[:, :2], corner[:, :2] + corner[:, 2:]], 1), np.full(n, 0.9), classes
    )


clips = st.lists(objects(), max_size=5)
pairs_of_clips = st.integers(0, 5).flatmap(
    lambda n: st.tuples(*[st.lists(objects(), min_size=n, max_size=n)] * 2)
)


def one(x: float, class_id: int = PERSON, score: float = 0.9, size: float = 10) -> Objects:
    return Objects.of([[x, 0, x + size, size]], [score], [class_id])


@given(clips)
@settings(deadline=None)
def test_identity_is_perfect(clip: list[Objects]) -> None:
    agreement = metrics.agree(clip, clip, GROUPS)
    assert agreement.f1 == agreement.f1_frames == 1
    assert agreement.class_accuracy in (None, 1.0) or len(set(np.concatenate([o.class_id for o in clip]))) > 1
    assert agreement.tp.sum() == sum(len(o) for o in clip)
    assert metrics.count_error(clip, clip) == 0
    assert metrics.delay(clip, clip, GROUPS).mean in (None, 0.0)


@given(pairs_of_clips)
@settings(deadline=None)
def test_f1_is_symmetric(clips: tuple[list[Objects], list[Objects]]) -> None:
    forth, back = metrics.agree(*clips, GROUPS), metrics.agree(*reversed(clips), GROUPS)
    assert forth.f1 == back.f1 and forth.f1_frames == back.f1_frames
    assert (forth.fp == back.fn).all() and (forth.fn == back.fp).all()
    assert 0 <= forth.f1 <= 1
    assert metrics.count_error(*clips) == metrics.count_error(*reversed(clips))


@given(pairs_of_clips, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_objects_does_not_matter(clips: tuple[list[Objects], list[Objects]], random: object) -> None:
    shuffled = [o[np.array(random.sample(range(len(o)), len(o)), np.intp)] for o in clips[0]]  # type: ignore[attr-defined]
    plain, other = metrics.agree(*clips, GROUPS), metrics.agree(shuffled, clips[1], GROUPS)
    assert (plain.tp == other.tp).all() and plain.f1 == other.f1


def test_pooled_and_mean_differ_on_quiet_clips() -> None:
    clip = [EMPTY] * 9 + [one(0)]
    blind = metrics.agree([EMPTY] * 10, clip, GROUPS)
    assert blind.f1 == 0
    assert blind.f1_frames == pytest.approx(0.9)
    assert blind.class_accuracy is None


def test_nothing_on_either_side_agrees() -> None:
    assert metrics.agree([EMPTY], [EMPTY], GROUPS).f1 == 1
    assert metrics.agree([], [], GROUPS).f1 == metrics.agree([], [], GROUPS).f1_frames == 1
    assert metrics.count_error([], []) == 0
    assert metrics.delay([], [], GROUPS) == metrics.Delay(None, 0, 0)


def test_classes_match_by_supercategory() -> None:
    agreement = metrics.agree([one(0, CAR), one(0, CAR)], [one(0, TRUCK), one(0, PERSON)], GROUPS)
    assert agreement.tp.tolist() == [1, 0]
    assert agreement.class_accuracy == 0


def test_overlap_of_half_is_a_match() -> None:
    half = Objects.of([[0, 0, 10, 5]], [0.9], [PERSON])
    assert metrics.agree([half], [one(0)], GROUPS).f1 == 1
    less = Objects.of([[0, 0, 10, 4.9]], [0.9], [PERSON])
    assert metrics.agree([less], [one(0)], GROUPS).f1 == 0


def test_most_pairs_before_best_pairs() -> None:
    # B fits a perfectly, but then A has no partner: both can be matched.
    reference = Objects.of([[0, 0, 10, 10], [0, 0, 10, 19]], [0.9] * 2, [PERSON] * 2)
    found = Objects.of([[0, 0, 10, 10], [0, 0, 10, 6]], [0.9] * 2, [PERSON] * 2)
    assert metrics.agree([found], [reference], GROUPS).tp.tolist() == [2]


def test_ignored_boxes_are_neither_right_nor_wrong() -> None:
    found, reference = [Objects.concat([one(0), one(50), one(100)])], [one(0)]
    ignored = [np.array([[50, 0, 60, 10], [0, 0, 10, 10]], np.float32)]
    agreement = metrics.agree(found, reference, GROUPS, ignored)
    assert (agreement.tp[0], agreement.fp[0], agreement.fn[0]) == (1, 1, 0)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 frames found"):
        metrics.agree([EMPTY] * 2, [EMPTY], GROUPS)
    with pytest.raises(ValueError, match="2 frames found"):
        metrics.count_error([EMPTY] * 2, [EMPTY])


def test_select_keeps_score_and_classes() -> None:
    mixed = Objects.concat([one(0, CAR, 0.45), one(0, CAR, 0.44), one(0, PERSON)])
    assert len(metrics.select(mixed)) == 2
    assert len(metrics.select(mixed, np.array([PERSON], np.int32))) == 1


def test_count_error_is_the_mean_difference() -> None:
    assert metrics.count_error([one(0), EMPTY], [EMPTY, Objects.concat([one(0)] * 3)]) == 2


def test_link_follows_over_gaps_and_groups() -> None:
    frames = [one(0), one(3), *[EMPTY] * metrics.LINK_GAP, one(6), one(6, CAR), *[EMPTY] * 9, one(6)]
    ids = metrics.link(frames, GROUPS)
    assert [i.tolist() for i in ids if len(i)] == [[0], [0], [0], [1], [2]]


def test_delay_counts_from_first_sight() -> None:
    reference = [EMPTY, *[one(0)] * 4, *[one(100)] * 4, *[one(200)] * 2]
    found = [EMPTY, EMPTY, EMPTY, *[one(0)] * 2, *[EMPTY] * 6]
    # one object waits 2 frames, one is never reported, the last is flicker
    assert metrics.delay(found, reference, GROUPS) == metrics.Delay(2.0, 2, 1)


def test_delay_takes_given_identities() -> None:
    reference = [one(0)] * 6
    ids = [np.array([i // 3]) for i in range(6)]
    found = [one(0)] * 3 + [EMPTY] + [one(0)] * 2
    assert metrics.delay(found, reference, GROUPS, ids) == metrics.Delay(0.5, 2, 0)
