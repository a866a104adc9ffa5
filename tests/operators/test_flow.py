"""The rung `flow`: motion since the key frame, what a look settles, and real video."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.operators.base import Keyed, Prices, Remembering
from everyframe.operators.detectors import load_detector
from everyframe.operators.detectors.letterbox import fit
from everyframe.operators.errors import OperatorError, WeightsError
from everyframe.operators.flow.displacement import Displacement
from everyframe.operators.flow.operator import MOST_SAVED, SHARE, Flow
from everyframe.operators.flow.settle import settle
from everyframe.operators.flow.weights import FIRST, load_weights, save_weights
from everyframe.operators.flow.windows import price
from everyframe.operators.types import NO_TRACK, MotionField, Objects, Origin, View
from everyframe.pipeline.labelling.scene import moving_scene

GROUPS = np.arange(80, dtype=np.int32)


@pytest.fixture(scope="module")
def detector():
    return load_detector(imgsz=320)


def field(shift: tuple[float, float], width: int = 320, height: int = 240) -> MotionField:
    still = MotionField.still(width, height)
    return MotionField(np.broadcast_to(np.float32(shift), still.motion.shape).copy(), still.known, 8, width, height)


def test_steps_add_up():
    where = Displacement.none(320, 240)
    for shift in ((3, 0), (0, 2), (-1.5, 4)):
        where = where.then(field(shift))
    assert where.age == 3
    assert np.allclose(where.shift[10:20, 10:20], (1.5, 6), atol=1e-5)


def test_a_thing_is_followed_over_still_ground():
    """One cell's content walks a cell a frame: where it is now its shift is the way, elsewhere nothing moved."""
    where = Displacement.none(320, 240)
    for step in range(1, 4):
        still = MotionField.still(320, 240)
        still.motion[5, 5 + step] = (8, 0)
        where = where.then(still)
    assert where.shift[5, 8, 0] == pytest.approx(24)
    assert np.abs(where.shift[10:]).max() == 0


def test_what_was_coded_anew_stays_unreliable_and_moves_with_its_content():
    still = MotionField.still(320, 240)
    known = still.known.copy()
    known[4, 4] = False
    where = Displacement.none(320, 240).then(MotionField(still.motion, known, 8, 320, 240)).then(field((8, 0)))
    assert not where.reliable[4, 5] and where.reliable[4, 4]


def test_fields_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="cannot follow"):
        Displacement.none(320, 240).then(MotionField.still(640, 480))


def objects(boxes, tracks=None, scores=None, classes=None) -> Objects:
    n = len(boxes)
    return Objects.of(boxes, np.ones(n) if scores is None else scores, np.zeros(n) if classes is None else classes, tracks)


class TestSettle:
    BOX = fit(640, 384, 640)
    RECT = (4, 2, 12, 8)  # pixels 128..384 x 64..256

    def settle(self, tracks, found):
        return settle(tracks, found, self.RECT, self.BOX, GROUPS)

    def test_tracks_inside_are_looked_at_and_those_outside_are_not(self):
        looked, taken = self.settle(objects([[200, 100, 260, 200], [500, 100, 560, 200]], [1, 2]), objects([]))
        assert looked.tolist() == [True, False] and len(taken) == 0

    def test_the_visible_part_of_a_track_beyond_the_border_is_no_object(self):
        looked, taken = self.settle(objects([[340, 100, 460, 200]], [1]), objects([[342, 102, 380, 198]]))
        assert looked.tolist() == [False] and len(taken) == 0

    def test_a_box_cut_by_the_border_is_taken_only_where_a_track_confirms_it(self):
        found = objects([[330, 100, 380, 200]])
        assert len(self.settle(objects([]), found)[1]) == 0
        looked, taken = self.settle(objects([[320, 100, 366, 200]], [1]), found)
        assert looked.tolist() == [True] and len(taken) == 1

    def test_a_track_that_the_border_cuts_is_carried_and_not_given_twice(self):
        looked, taken = self.settle(objects([[332, 100, 388, 200]], [1]), objects([[332, 100, 384, 200]]))
        assert looked.tolist() == [False] and len(taken) == 0

    def test_new_objects_inside_are_taken(self):
        assert len(self.settle(objects([]), objects([[200, 100, 260, 200]]))[1]) == 1

    def test_another_kind_of_object_does_not_explain_it(self):
        tracks, found = objects([[340, 100, 460, 200]], [1], classes=[2]), objects([[345, 102, 372, 198]])
        assert len(self.settle(tracks, found)[1]) == 1


class TestRung:
    def test_it_remembers_and_has_a_key(self, detector):
        flow = Flow(detector, Prices())
        assert isinstance(flow, Remembering) and isinstance(flow, Keyed)

    def test_the_key_sees_what_the_detector_sees(self, detector):
        view, _ = moving_scene(320, 240, 0)
        assert view.picture is not None
        ours, theirs = Flow(detector, Prices()).key.apply(view, Objects.empty()), detector.detect(view.picture())
        assert np.allclose(ours.xyxy, theirs.xyxy, atol=0.05) and np.allclose(ours.score, theirs.score, atol=1e-4)
        assert np.array_equal(ours.class_id, theirs.class_id)

    def test_before_a_key_and_after_a_gap_tracks_are_carried(self, detector):
        flow = Flow(detector, Prices())
        view, tracks = moving_scene(320, 240, 0)
        for _ in range(2):
            out = flow.apply(view, tracks)
            assert flow.outcome == Origin.PROPAGATED and np.array_equal(out.track_id, tracks.track_id)
            flow.key.apply(view, tracks)
            flow.forget()

    def test_rectangles_cost_no_more_than_their_share(self, detector):
        flow = Flow(detector, Prices())
        spent = 0.0
        for index in range(20):
            view, tracks = moving_scene(320, 240, index)
            flow.follow(view)
            if index == 0:
                flow.key.apply(view, tracks)
                continue
            flow.apply(view, tracks[:3])
            if flow.rect is not None:
                left, top, right, bottom = flow.rect
                cost = price(right - left, bottom - top, (8, 10))
                assert cost <= MOST_SAVED * SHARE + 1e-9
                spent += cost
        assert 0 < spent <= 19 * SHARE + 1e-9

    def test_streams_share_no_state(self, detector):
        alone, together, other = (Flow(detector, Prices()) for _ in range(3))
        for index in range(6):
            view, tracks = moving_scene(320, 240, index)
            strange, none = moving_scene(320, 240, 50 - index)
            results = []
            for flow in (alone, together):
                flow.follow(view)
                results.append(flow.key.apply(view, tracks) if index == 0 else flow.apply(view, tracks))
                other.follow(strange)
                (other.apply if index else other.key.apply)(strange, none)
            assert np.array_equal(results[0].xyxy, results[1].xyxy)

    def test_a_detector_without_layers_is_refused(self):
        class Foreign:
            names, supercategory, runtime, precision = ("thing",), ("thing",), "x", "f32"

            def detect(self, picture):
                return Objects.empty()

        with pytest.raises(OperatorError, match="NanoDet"):
            Flow(Foreign(), Prices())


class TestWeights:
    def test_what_is_saved_is_loaded(self, tmp_path):
        path = str(tmp_path / "w.safetensors")
        save_weights(FIRST, path)
        loaded = load_weights(path)
        assert all(np.array_equal(getattr(loaded, k), getattr(FIRST, k)) for k in ("cells", "blobs", "tracks"))

    def test_the_shipped_ones_are_sound(self):
        assert load_weights().tracks.sum() > 0

    @pytest.mark.parametrize("damage", ["gone", "noise", "negative", "short"])
    def test_damaged_files_are_one_sentence(self, tmp_path, damage):
        from safetensors.numpy import save

        path = tmp_path / "w.safetensors"
        state = {"cells": FIRST.cells, "blobs": FIRST.blobs, "tracks": FIRST.tracks}
        if damage == "noise":
            path.write_bytes(b"not weights")
        elif damage == "negative":
            path.write_bytes(save({**state, "cells": -FIRST.cells}))
        elif damage == "short":
            path.write_bytes(save({**state, "tracks": FIRST.tracks[:2]}))
        with pytest.raises(WeightsError, match=r"w\.safetensors"):
            load_weights(str(path))


def test_on_real_video_it_beats_moving_boxes_and_numbers_every_object(data_dir):
    """Walkers on a campus: 60 frames, a key frame in ten, against the dense detector."""
    from everyframe.pipeline.evaluation import evaluate
    from everyframe.pipeline.settings import LabelSettings, ModelSettings

    model = ModelSettings(runtime="torch", precision="f32")
    settings = LabelSettings(mode="causal", classes=("person",), limit=60, model=model)
    video = str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")
    moved, flow = evaluate(video, ["stride:10", "flow:10"], settings, measure=False)
    assert flow.f1_dense > moved.f1_dense + 0.02
    assert flow.f1_dense > 0.9
    assert flow.cnn_fraction == pytest.approx(0.1) and flow.partial_fraction > 0.5


def test_its_labels_have_tracks_and_tell_their_origin(data_dir):
    from everyframe.pipeline.engines.base import Chunk
    from everyframe.pipeline.engines.local import LocalEngine
    from everyframe.pipeline.settings import LabelSettings

    settings = LabelSettings(policy="flow:10", mode="causal", limit=15)
    labels = []
    for event in LocalEngine(load_detector()).run([str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")], settings):
        labels += event.labels if isinstance(event, Chunk) else []
    origins = {record.origin for record in labels}
    assert Origin.FLOW in origins and Origin.DETECTED in origins
    assert all((record.objects.track_id != NO_TRACK).all() for record in labels)


def test_a_view_without_pixels_is_refused(detector):
    with pytest.raises(ValueError, match="pixels"):
        Flow(detector, Prices()).apply(View(320, 240, MotionField.still(320, 240)), Objects.empty())
