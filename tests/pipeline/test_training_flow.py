"""Learning what `flow` takes for worth a look."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from everyframe.operators.detectors import load_detector
from everyframe.operators.flow.weights import load_weights
from everyframe.operators.types import MotionField, Objects
from everyframe.pipeline import cli
from everyframe.pipeline.training.flow import Clip, Sums, errors, read, train

GROUPS = np.array([0, 0, 1], np.int32)


def boxes(*xs: float, score: float = 0.9, class_id: int = 0) -> Objects:
    return Objects.of([[x, 0, x + 40, 80] for x in xs], np.full(len(xs), score), np.full(len(xs), class_id))


class TestErrors:
    def test_what_agrees_is_no_error(self):
        wrong, missed = errors(boxes(0, 100), boxes(2, 101), GROUPS)
        assert wrong.tolist() == [0, 0] and len(missed) == 0

    def test_a_box_in_the_wrong_place_is_wrong_and_misses(self):
        wrong, missed = errors(boxes(0), boxes(22), GROUPS)
        assert wrong.tolist() == [2] and len(missed) == 0

    def test_a_weak_track_accounts_for_what_it_should_report(self):
        wrong, missed = errors(boxes(0, score=0.3), boxes(0), GROUPS)
        assert wrong.tolist() == [1] and len(missed) == 0

    def test_what_no_track_is_near_is_missed(self):
        wrong, missed = errors(boxes(0), boxes(0, 200), GROUPS)
        assert wrong.tolist() == [0] and missed[:, 0].tolist() == [200]

    def test_another_kind_does_not_count(self):
        wrong, missed = errors(boxes(0), boxes(0, class_id=2), GROUPS)
        assert wrong.tolist() == [1] and len(missed) == 1


def test_the_weights_of_a_linear_world_are_found():
    rng = np.random.default_rng(0)
    x = rng.random((5000, 3)).astype(np.float32)
    sums = Sums.of(("a", "b", "c"))
    sums.add(x, (x @ np.array([0.5, 0, 2], np.float32)), 1.0)
    assert np.allclose(sums.solve(), (0.5, 0, 2), atol=0.02)


def test_measures_that_were_never_there_weigh_nothing():
    sums = Sums.of(("a", "b"))
    sums.add(np.array([[1, 0], [2, 0]], np.float32), np.array([1, 2], np.float32), 1.0)
    assert sums.solve()[1] == 0 and sums.solve()[0] == pytest.approx(1, abs=0.01)


def flickering(frames: int = 60) -> Clip:
    """Two standing objects; the teacher loses the weak one on every other frame."""
    strong, weak = boxes(20, score=0.9), boxes(200, score=0.46)
    teacher = [Objects.concat([strong, weak]) if i % 2 == 0 else strong for i in range(frames)]
    return Clip(320, 192, 320, [MotionField.still(320, 192) for _ in range(frames)], teacher)


def test_doubt_is_what_flicker_teaches_and_equal_seeds_teach_the_same():
    supercategory = ("person",) * 80
    first, again = (train([flickering()], supercategory, epochs=2, seed=3) for _ in range(2))
    assert np.array_equal(first.tracks, again.tracks)
    assert first.tracks[1] > first.tracks[0]  # doubt says more than age
    assert (first.tracks >= 0).all() and np.isfinite(first.cells).all()


def test_a_clip_is_read_with_its_fields_and_the_teachers_objects(data_dir):
    detector = load_detector(imgsz=320)
    clip = read(str(data_dir / "highway" / "highway_ip.mp4"), detector, 12)
    assert len(clip.fields) == len(clip.teacher) == 12
    assert (clip.width, clip.height) == (320, 240)


def test_the_command_writes_weights_that_load(data_dir, tmp_path, capsys):
    out = tmp_path / "w.safetensors"
    video = str(data_dir / "highway" / "highway_ip.mp4")
    line = ["train-flow", video, "--limit", "24", "--imgsz", "320", "--epochs", "1", "--out", str(out), "--json", "--quiet"]
    assert cli.call(line) == 0
    result = orjson.loads(capsys.readouterr().out)
    assert result["frames"] == 24
    assert load_weights(str(out)).tracks.shape == (5,)


@pytest.mark.parametrize(
    "line", [["train-flow"], ["train-flow", "x.mp4", "--epochs", "0"], ["train-flow", "x.mp4", "--out", "no/such/w"]]
)
def test_misuse_is_one_line(line, capsys):
    assert cli.call(line) == 2
    err = capsys.readouterr().err
    assert err.startswith("everyframe: ") and err.count("\n") == 1
