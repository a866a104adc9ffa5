"""Looks, links, paths and curves between key frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators import appearance, link
from everyframe.operators.boxes import iou
from everyframe.operators.detectors import coco
from everyframe.operators.link import NONE, WEAK, Beliefs
from everyframe.operators.paths import LAG, PathLinker
from everyframe.operators.spans import Interval, curves_at, interpolate
from everyframe.operators.types import F32, NO_TRACK, Objects, Origin

GROUPS = np.array([coco.SUPERCATEGORY.index(name) for name in coco.SUPERCATEGORY], np.int32)
PERSON, CAR, TRUCK = 0, coco.NAMES.index("car"), coco.NAMES.index("truck")
WIDTH, HEIGHT, RATE = 640, 480, 10.0


def boxes(*centres: tuple[float, float], size: tuple[float, float] = (30, 80)) -> F32:
    at = np.array(centres, np.float32).reshape(-1, 2)
    half = np.array(size, np.float32) / 2
    return np.concatenate((at - half, at + half), 1)


def persons(*centres: tuple[float, float], score: float = 0.8) -> Objects:
    return Objects.of(boxes(*centres), [score] * len(centres), [PERSON] * len(centres))


def looks_of(*colours: int) -> F32:
    """Appearances that are equal where the numbers are, and far from each other else."""
    return np.eye(appearance.SIZE, dtype=np.float32)[list(colours)]


def linker(lag: int = LAG) -> PathLinker:
    return PathLinker(WIDTH, HEIGHT, RATE, GROUPS, lag=lag)


def run(frames: int, *keys: tuple[int, Objects] | tuple[int, Objects, F32]) -> list[Interval]:
    paths = linker()
    done = [interval for key in keys for interval in paths.push(*key)]
    return done + paths.finish(frames)


class TestLooks:
    picture = np.random.default_rng(3).integers(0, 256, (120, 160, 3), np.uint8)

    def test_rows_have_length_one_wherever_the_box_lies(self) -> None:
        rows = np.array(
            [[10, 10, 40, 90], [-20, -20, 30, 30], [150, 100, 200, 160], [5, 5, 6, 6]], np.float32
        )
        seen = appearance.look(self.picture, rows)
        assert seen.shape == (4, appearance.SIZE) and seen.dtype == np.float32
        np.testing.assert_allclose((seen * seen).sum(1), 1, atol=1e-5)

    def test_no_boxes(self) -> None:
        assert appearance.look(self.picture, np.zeros((0, 4), np.float32)).shape == (0, appearance.SIZE)

    def test_the_same_coat_is_nearer_than_another_one(self) -> None:
        picture = np.full((200, 300, 3), 120, np.uint8)
        picture[40:80, 20:50] = picture[60:100, 220:250] = (30, 30, 200)
        picture[40:80, 120:150] = (200, 60, 30)
        rows = np.array([[20, 20, 50, 100], [220, 40, 250, 120], [120, 20, 150, 100]], np.float32)
        seen = appearance.look(picture, rows)
        away = appearance.distance(seen, seen)
        assert away[0, 1] < 0.05 and away[0, 2] > 0.3
        np.testing.assert_allclose(np.diag(away), 0, atol=2e-3)

    def test_a_crop_tells_nothing_of_its_neighbours(self) -> None:
        box = np.array([[40, 20, 80, 100]], np.float32)
        other = self.picture.copy()
        other[:, 90:] = 0
        np.testing.assert_array_equal(appearance.look(self.picture, box), appearance.look(other, box))


def nodes(index: int, objects: Objects, looks: F32 | None = None) -> link.Nodes:
    return link.nodes(index, objects, GROUPS, looks)


class TestLink:
    area = float(WIDTH * HEIGHT)

    def test_who_walks_by_overlap_with_another_one_is_told_by_velocity(self) -> None:
        """A walks to where B was: overlap would take A for B."""
        a, b = nodes(0, persons((100, 200), (180, 200))), nodes(20, persons((180, 200), (260, 200)))
        velocity = np.array([[4.0, 0.0], [4.0, 0.0]])
        assert link.link(a, b, self.area, RATE, velocity).tolist() == [0, 1]

    def test_looks_outweigh_nearness(self) -> None:
        a = nodes(0, persons((100, 200), (180, 200)), looks_of(1, 2))
        b = nodes(20, persons((110, 200), (170, 200)), looks_of(2, 1))
        assert link.link(a, b, self.area, RATE).tolist() == [1, 0]

    def test_motion_vectors_take_precedence(self) -> None:
        a, b = nodes(0, persons((100, 200), (180, 200))), nodes(20, persons((100, 202), (180, 198)))
        carried = boxes((180, 198), (100, 202))
        assert link.link(a, b, self.area, RATE, np.zeros((2, 2)), carried).tolist() == [1, 0]

    def test_unknown_velocities_are_nan(self) -> None:
        a, b = nodes(0, persons((100, 200))), nodes(20, persons((104, 200)))
        assert link.link(a, b, self.area, RATE, np.full((1, 2), np.nan)).tolist() == [0]

    def test_supercategories_never_mix_and_classes_within_may(self) -> None:
        place = boxes((100, 200), size=(80, 60))
        of = {c: nodes(i, Objects.of(place, [0.9], [c])) for i, c in enumerate((CAR, TRUCK, PERSON))}
        assert link.link(of[CAR], of[TRUCK], self.area, RATE).tolist() == [0]
        assert link.link(of[TRUCK], of[PERSON], self.area, RATE).tolist() == [NONE]

    def test_far_away_is_somebody_else(self) -> None:
        a, b = nodes(0, persons((60, 100))), nodes(2, persons((600, 400)))
        assert link.link(a, b, self.area, RATE).tolist() == [NONE]

    @pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 2), (2, 0)])
    def test_empty_key_frames(self, n: int, m: int) -> None:
        spots = ((100.0, 100.0), (300.0, 100.0))
        a, b = nodes(0, persons(*spots[:n])), nodes(20, persons(*spots[:m]))
        assert link.link(a, b, self.area, RATE).tolist() == [NONE] * n

    @settings(deadline=None, max_examples=50)
    @given(st.integers(0, 10_000), st.permutations(range(6)))
    def test_the_order_of_objects_does_not_matter(self, seed: int, order: list[int]) -> None:
        rng = np.random.default_rng(seed)
        start = rng.uniform((60, 60), (580, 420), (6, 2))
        spots = [tuple(p) for p in start], [tuple(p) for p in start + rng.normal(0, 25, (6, 2))]
        score = np.linspace(0.9, 0.5, 6).astype(np.float32)
        first, last = (replace(persons(*s), score=score) for s in spots)
        shuffled = last[np.array(order)]
        one = nodes(20, last), nodes(20, shuffled)
        straight, crooked = (link.link(nodes(0, first), n, self.area, RATE) for n in one)
        named = [NONE if k == NONE else int(one[0].row[k]) for k in straight]
        renamed = [NONE if k == NONE else order[int(one[1].row[k])] for k in crooked]
        assert named == renamed

    def test_weak_doubles_and_noise_are_left_out(self) -> None:
        objects = Objects.of(
            boxes((100, 100), (103, 100), (300, 100), (400, 100), (100, 101)),
            [0.9, 0.3, 0.3, WEAK - 0.01, 0.5],
            [PERSON] * 5,
        )
        assert sorted(nodes(0, objects).row.tolist()) == [0, 2, 4]


class TestPaths:
    def test_crossing_walkers_keep_their_identity(self) -> None:
        """Where they meet, speed alone tells who is who: no looks are given."""
        spots = [((100 + 60 * k, 200), (340 - 60 * k, 205)) for k in range(5)]
        done = run(81, *((20 * k, persons(*s)) for k, s in enumerate(spots)))
        left, right = done[1].tracks
        for interval, (a, b) in zip(done[1:], spots, strict=True):
            assert interval.tracks.tolist() == [left, right], (a, b)

    def test_a_later_key_frame_mends_an_earlier_link(self) -> None:
        """Two equally good links at first; the third key frame shows which it was."""
        keys = [
            (0, persons((300, 200))),
            (20, persons((240, 200), (360, 200))),
            (40, persons((420, 200))),
        ]
        done = run(41, *keys)
        assert done[1].pairs.tolist() == [[0, 1]] and done[2].pairs.tolist() == [[1, 0]]

    def test_a_weak_detection_bridges_two_sure_ones(self) -> None:
        missed = persons((160, 200), score=0.25)
        done = run(41, (0, persons((100, 200))), (20, missed), (40, persons((220, 200))))
        assert done[1].tracks == done[2].tracks == done[3].tracks
        labels = interpolate(done[1], 0.45)
        assert len(labels[0]) == 1 and len(labels[-1]) == 0

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10_000), st.integers(0, 3), st.integers(1, 7))
    def test_every_frame_comes_once_in_order_within_the_lag(self, seed: int, lag: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        keys = np.cumsum(rng.integers(1, 12, count)) - 1
        frames = int(keys[-1] + 1 + rng.integers(0, 5))
        paths, done = linker(lag), []
        for seen, key in enumerate(keys):
            n = int(rng.integers(0, 6))
            spots = [tuple(p) for p in rng.uniform(0, (WIDTH, HEIGHT), (n, 2))]
            objects = replace(persons(*spots), score=rng.uniform(0.05, 1, n).astype(np.float32))
            done += paths.push(int(key), objects)
            assert len(done) == (max(seen - lag, 0) + 1 if seen > lag else 0)
            assert len(paths._nodes) <= lag + 2
        done += paths.finish(frames)
        got = [f for d in done for f in range(d.first + 1, d.last)]
        assert got == sorted(set(range(frames)) - set(keys.tolist()))
        for interval in done:
            labels = interpolate(interval)
            assert len(labels) == len(interval)
            for objects in labels:
                assert np.isin(objects.origin, (Origin.INTERPOLATED, Origin.HELD)).all() and (objects.track_id >= 0).all()
                assert len(set(objects.track_id.tolist())) == len(objects)
                assert (objects.xyxy[:, 2:] > objects.xyxy[:, :2]).all()
                assert (objects.xyxy >= 0).all() and (objects.xyxy[:, 2:] <= (WIDTH, HEIGHT)).all()

    def test_equal_key_frames_give_equal_intervals(self) -> None:
        rng = np.random.default_rng(5)
        spots = rng.uniform((60, 60), (580, 420), (5, 2))
        keys = []
        for k in range(6):
            spots = spots + rng.normal(0, 20, spots.shape)
            keys.append((10 * k, persons(*(tuple(p) for p in spots))))
        for one, two in zip(run(60, *keys), run(60, *keys), strict=True):
            np.testing.assert_array_equal(one.tracks, two.tracks)
            np.testing.assert_array_equal(one.curves.end, two.curves.end)

    def test_no_key_frames(self) -> None:
        assert linker().finish(10) == []

    def test_unlinkable_objects_have_no_track(self) -> None:
        objects = Objects.of(boxes((100, 100), (300, 100)), [0.9, 0.01], [PERSON, PERSON])
        assert run(1, (0, objects))[-1].tracks.tolist() == [0, NO_TRACK]

    def test_carried_boxes_link_what_moved_far(self) -> None:
        paths = linker()
        paths.push(0, persons((60, 100), (500, 400)))
        paths.push(2, persons((480, 120), (80, 390)), carried=boxes((480, 120), (80, 390)))
        assert paths.finish(3)[1].pairs.tolist() == [[0, 0], [1, 1]]

    def test_misuse_is_told(self) -> None:
        paths = linker()
        paths.push(5, persons((100, 100)))
        with pytest.raises(ValueError, match="does not come after"):
            paths.push(5, persons((100, 100)))
        with pytest.raises(ValueError, match="looks must have 1 rows"):
            paths.push(6, persons((100, 100)), looks_of(1, 2))
        with pytest.raises(ValueError, match="carried must have 1 rows"):
            paths.push(6, persons((100, 100)), carried=boxes())
        with pytest.raises(ValueError, match="rate > 0"):
            PathLinker(WIDTH, HEIGHT, 0.0, GROUPS)


class TestCurves:
    def test_a_steady_walker_moves_on_a_line_and_starts_and_ends_in_the_boxes_seen(self) -> None:
        done = run(41, *((20 * k, persons((100 + 60 * k, 200))) for k in range(3)))
        got, scores = curves_at(done[1], np.arange(0, 21))
        np.testing.assert_allclose(got[:, 0], boxes(*((100 + 3 * f, 200) for f in range(21))), atol=1e-3)
        np.testing.assert_allclose(scores, 0.8, atol=1e-6)

    def test_a_walker_who_turns_is_followed_round_the_bend(self) -> None:
        """On a circle the cubic stays within a tenth of what a chord misses."""

        def at(f: float) -> tuple[float, float]:
            return 320 + 150 * np.cos(f / 40), 240 + 150 * np.sin(f / 40)

        done = run(81, *((20 * k, persons(at(20 * k))) for k in range(5)))
        got, _ = curves_at(done[2], np.array([30]))
        middle = (got[0, 0, :2] + got[0, 0, 2:]) / 2
        chord = (np.array(at(20)) + np.array(at(40))) / 2
        assert np.hypot(*(middle - at(30))) < 0.1 * np.hypot(*(chord - at(30)))

    def test_scores_decide_what_is_reported(self) -> None:
        done = run(21, (0, persons((100, 200), score=0.9)), (20, persons((100, 200), score=0.3)))
        assert [len(o) for o in interpolate(done[1], 0.45)] == [1] * 15 + [0] * 4

    def test_who_leaves_goes_on_for_a_while_and_out_of_the_picture(self) -> None:
        keys = [(0, persons((500, 200))), (20, persons((560, 200))), (40, persons((620, 200)))]
        done = run(100, *keys, (60, Objects.empty()))
        gone = interpolate(done[3])
        assert len(gone[0]) == 1 and len(gone[-1]) == 0
        assert gone[0].xyxy[0, 2] == pytest.approx(638, abs=0.1)

    def test_before_the_first_and_after_the_last_key_frame_paths_go_on(self) -> None:
        done = run(20, (5, persons((100, 200))), (15, persons((120, 200))))
        assert interpolate(done[0])[0].xyxy[0].tolist() == pytest.approx([75, 160, 105, 240])
        assert interpolate(done[-1])[-1].xyxy[0].tolist() == pytest.approx([113, 160, 143, 240])

    def test_who_is_seen_once_is_held_briefly(self) -> None:
        done = run(201, (0, Objects.empty()), (100, persons((300, 200))), (200, Objects.empty()))
        assert sum(len(o) for o in interpolate(done[1])) == sum(len(o) for o in interpolate(done[2])) == 6


def test_key_frames_of_a_real_clip_label_the_rest(data_dir: Path) -> None:
    """795 frames, one in 20 looked at. Against ground truth the detector on every frame has .907, these
    labels .81, links by overlap and lines between them .37."""
    import av

    from everyframe.operators.detectors import load_detector
    from everyframe.pipeline.metrics import agree
    from everyframe.pipeline.truth import load_truth

    detector = load_detector(imgsz=640)
    labels: dict[int, Objects] = {}
    with av.open(str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")) as video:
        stream = video.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        paths = PathLinker(stream.width, stream.height, 10.0, GROUPS)
        done: list[Interval] = []
        for frame in video.decode(stream):
            index = round(float(frame.pts * frame.time_base) * 10)
            picture = frame.to_ndarray(format="bgr24")
            found = detector.detect(picture)
            found = found[found.class_id == PERSON]
            labels[index] = found[found.score >= 0.45]
            done += paths.push(index, found, appearance.look(picture, found.xyxy))
    for interval in done + paths.finish(795):
        for k, objects in enumerate(interpolate(interval, 0.45)):
            labels[interval.first + 1 + k] = objects
    assert sorted(labels) == list(range(795))
    truth = load_truth(str(data_dir / "pets_s2l1" / "gt.txt"))
    want = [truth.objects(i, PERSON) for i in range(795)]
    ignored = [truth.ignored_boxes(i) for i in range(795)]
    assert agree([labels[i] for i in range(795)], want, GROUPS, ignored).f1 > 0.79


def test_beliefs_are_finite_for_any_distance() -> None:
    far = np.array([[0.0, 0.0], [1e6, 0.0]])
    for density in (link.place_alone(far, 2.0, Beliefs()), link.place_after(far, far, 0.04, Beliefs())):
        assert np.isfinite(density).all()
    assert iou(boxes((0, 0)), boxes((0, 0)))[0, 0] == pytest.approx(1)
