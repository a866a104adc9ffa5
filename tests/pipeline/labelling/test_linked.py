"""Frames between key frames, labelled along linked paths."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.labelling.linked import LinkedFrames
from everyframe.pipeline.records import FrameLabels, SourceInfo

WIDTH, HEIGHT, GAP = 320, 240, 10
EVERY = np.zeros(0, np.int32)
GROUPS = np.array([0, 1, 1], np.int32)
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def info() -> SourceInfo:
    rate, base = Fraction(25), Fraction(1, 100)
    return SourceInfo("clip", "clip.mp4", "h264", WIDTH, HEIGHT, 0, base, rate, None, None)


def record(index: int, origin: Origin) -> FrameLabels:
    return FrameLabels(
        "clip", index, index * 4, Fraction(1, 100), index / 25, WIDTH, HEIGHT, "P", origin, 0, "iframes", "r", Objects.empty()
    )  # fmt: skip


def run(looks: list[Objects], start: int = 0, tail: int = 0, class_ids=EVERY):
    """Frames with a key frame every GAP, the first at `start`; returns what is settled, and how much at each look."""
    frames = LinkedFrames(info(), GROUPS, class_ids, 0.45)
    out, settled = [], []
    for index in range(start + (len(looks) - 1) * GAP + 1 + tail):
        number, rest = divmod(index - start, GAP)
        if rest == 0 and 0 <= number < len(looks):
            done = frames.look(record(index, Origin.DETECTED), looks[number], PICTURE)
            settled.append(len(done))
            out += done
        else:
            frames.add(record(index, Origin.PROPAGATED))
    return out + frames.finish(), settled


def walker(step: int, score: float = 0.9, kind: int = 0) -> Objects:
    x = 40 + 10 * step
    return Objects.of([[x, 60, x + 30, 140]], [score], [kind])


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("tail", [0, 6])
@pytest.mark.parametrize("looks", [1, 2, 5])
def test_every_frame_is_settled_once_and_in_order(start, tail, looks):
    out, _ = run([walker(i) for i in range(looks)], start, tail)
    assert [r.frame_index for r, _ in out] == list(range(start + (looks - 1) * GAP + 1 + tail))
    for r, objects in out:
        is_key = (
            r.frame_index >= start
            and (r.frame_index - start) % GAP == 0
            and r.frame_index <= start + (looks - 1) * GAP
        )
        lies_between = start < r.frame_index < start + (looks - 1) * GAP
        between = Origin.INTERPOLATED if lies_between else Origin.HELD
        assert r.origin == (Origin.DETECTED if is_key else between)
        if not is_key:
            assert (objects.origin == between).all()
        assert np.isfinite(objects.xyxy).all()


def test_one_who_walks_keeps_the_name_and_the_pace():
    out, _ = run([walker(i) for i in range(5)])
    assert {tuple(o.track_id.tolist()) for _, o in out} == {(out[0][1].track_id[0],)}
    lefts = np.array([o.xyxy[0, 0] for _, o in out])
    assert lefts == pytest.approx(40 + np.arange(41), abs=1)


def test_frames_wait_for_two_looks_more():
    _, settled = run([walker(i) for i in range(5)])
    assert settled[:2] == [0, 0] and all(n >= GAP for n in settled[3:])


def test_key_frames_show_what_was_found_there():
    looks = [walker(i) for i in range(4)]
    out, _ = run(looks)
    for i, look in enumerate(looks):
        assert np.array_equal(out[i * GAP][1].xyxy, look.xyxy)


def test_only_the_wanted_classes_are_labelled():
    both = [Objects.concat([walker(i), Objects.of([[200, 60, 280, 140]], [0.9], [1])]) for i in range(4)]
    out, _ = run(both, class_ids=np.array([0], np.int32))
    assert {c for _, o in out for c in o.class_id.tolist()} == {0}


def test_each_object_of_a_frame_has_a_name_of_its_own():
    pair = [Objects.concat([walker(i), walker(12 - i), walker(5, 0.06)]) for i in range(5)]
    out, _ = run(pair)
    for _, objects in out:
        assert len(set(objects.track_id.tolist())) == len(objects) and (objects.track_id >= 0).all()


def test_looks_that_find_nothing_label_nothing():
    out, _ = run([Objects.empty()] * 4, start=2, tail=3)
    assert len(out) == 36 and all(len(o) == 0 for _, o in out)


def test_a_stream_without_a_look_has_records_without_objects():
    frames = LinkedFrames(info(), GROUPS, EVERY, 0.45)
    frames.add(record(0, Origin.PROPAGATED))
    ((held, objects),) = frames.finish()
    assert held.frame_index == 0 and held.origin == Origin.HELD and len(objects) == 0


def test_frames_that_waited_too_long_leave_early_and_the_tracks_go_on():
    frames = LinkedFrames(info(), GROUPS, EVERY, 0.45)
    out = []
    for index in range(5 * GAP + 4):
        if index % GAP == 3:
            out += frames.look(record(index, Origin.DETECTED), walker(index // GAP), PICTURE)
        else:
            frames.add(record(index, Origin.PROPAGATED))
        if index in (1, 26, 27):
            out += frames.finish()
            assert frames.waiting == 0 and frames.finish() == []
    out += frames.finish()
    assert [r.frame_index for r, _ in out] == list(range(5 * GAP + 4))
    assert {t for _, o in out for t in o.track_id.tolist()} == {0}
    origins = {r.frame_index: r.origin for r, _ in out}
    assert origins[26] == origins[27] == Origin.HELD and origins[28] == Origin.INTERPOLATED


def test_equal_streams_give_equal_labels():
    a, _ = run([walker(i) for i in range(5)], 2, 2)
    b, _ = run([walker(i) for i in range(5)], 2, 2)
    for (_, x), (_, y) in zip(a, b, strict=True):
        assert np.array_equal(x.xyxy, y.xyxy) and np.array_equal(x.track_id, y.track_id)
