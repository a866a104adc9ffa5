"""The stand-in for the CNN: its form is the detector's, its errors are the model's, equal seeds give equal detections."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.operators.boxes import centre_size, iou
from everyframe.operators.detectors.coco import NAMES
from everyframe.operators.types import Objects
from everyframe.pipeline import metrics
from everyframe.pipeline.synthetic import model as m
from everyframe.pipeline.synthetic.stand_in import spells, stand_in
from everyframe.pipeline.synthetic.truth import CAR, PERSON, TRUCK, SceneTruth


def walkers(
    frames: int = 200, count: int = 6, tall: float = 120, visibility: float = 1.0, class_id: int = PERSON
) -> SceneTruth:
    """People in a row who walk to the right, apart from each other."""
    rows = [
        (
            f,
            i + 1,
            20 + 100 * i + f * 0.3,
            100,
            20 + 100 * i + f * 0.3 + tall * 0.4,
            100 + tall,
            visibility,
            class_id,
        )
        for f in range(frames)
        for i in range(count)
    ]
    return SceneTruth.of(rows, frames, 640, 360, 25.0)


def confident(found: list[Objects]) -> list[Objects]:
    return [metrics.select(objects) for objects in found]


def recall(truth: SceneTruth, found: list[Objects]) -> float:
    hits = 0
    for i, objects in enumerate(confident(found)):
        overlap = iou(truth.xyxy[truth.rows_of(i)], objects.xyxy)
        hits += int((overlap.max(1) >= 0.5).sum()) if len(objects) else 0
    return hits / len(truth.frame)


def test_form_is_the_detectors() -> None:
    truth = walkers(frames=60)
    found = stand_in(truth, 3)
    assert len(found) == truth.frames
    for objects in found:
        assert objects.score.dtype == np.float32
        assert (np.diff(objects.score) <= 0).all()
        assert ((objects.score >= 0.2 - 1e-6) & (objects.score <= m.TOP)).all()
        assert ((objects.xyxy >= 0) & (objects.xyxy <= [640, 360, 640, 360])).all()
        assert ((objects.class_id >= 0) & (objects.class_id < len(NAMES))).all()


def test_equal_seeds_give_equal_detections() -> None:
    truth = walkers(frames=40)
    first, again, other = stand_in(truth, 3), stand_in(truth, 3), stand_in(truth, 4)
    assert all(
        np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.score, b.score)
        for a, b in zip(first, again, strict=True)
    )
    assert any(not np.array_equal(a.score, b.score) for a, b in zip(first, other, strict=True))


def test_small_and_hidden_objects_are_missed_more() -> None:
    def mean_recall(**scene: float) -> float:
        truth = walkers(**scene)  # type: ignore[arg-type]
        return float(np.mean([recall(truth, stand_in(truth, seed)) for seed in range(12)]))

    plain = mean_recall()
    assert plain > 0.75
    assert mean_recall(tall=30) < plain - 0.15
    assert mean_recall(visibility=0.3) < plain - 0.15


def test_flicker_lasts_as_the_model_says() -> None:
    """A miss is much likelier after a miss than in general, and there are misses that are over after a frame."""
    truth = walkers(frames=300)
    after, in_all, runs = [], [], []
    for seed in range(8):
        found = confident(stand_in(truth, seed))
        hit = np.array([
            [bool(len(o)) and bool((iou(box[None], o.xyxy) >= 0.4).any()) for box in truth.xyxy[truth.rows_of(i)]]
            for i, o in enumerate(found)
        ])  # fmt: skip
        after.append((~hit[1:] & ~hit[:-1]).sum() / max(1, (~hit[:-1]).sum()))
        in_all.append((~hit).mean())
        runs.append(abs(np.diff(hit.astype(int), axis=0)).sum())
    assert np.mean(after) > 2 * np.mean(in_all)
    assert np.sum(runs) > 20


def test_box_errors_have_the_models_spread() -> None:
    kind = m.shipped().person
    truth = walkers(frames=200, count=5, tall=140)
    errors = []
    for seed in range(12):
        for i, objects in enumerate(stand_in(truth, seed)):
            true = truth.xyxy[truth.rows_of(i)]
            overlap = iou(true, objects.xyxy)
            best = overlap.argmax(1)
            good = overlap.max(1) > 0.5
            (centre, side), (other, _) = centre_size(true[good]), centre_size(objects.xyxy[best[good]])
            errors += ((other[:, 0] - centre[:, 0]) / side[:, 0]).tolist()
    size = np.sqrt(140 * 56.0)
    expected = np.hypot(kind.jitter[0], kind.jitter_px[0] / size)
    assert np.std(errors) == pytest.approx(expected, rel=0.35)


def test_spells_are_a_markov_chain_in_its_steady_state() -> None:
    starts = np.zeros(40_000, np.bool_)
    starts[::100] = True
    on = spells(np.random.default_rng(1), starts, 0.05, 0.8)
    assert on.mean() == pytest.approx(0.05 / 0.25, abs=0.02)
    assert on[starts].mean() == pytest.approx(0.2, abs=0.07)
    assert on[1:][on[:-1] & ~starts[1:]].mean() == pytest.approx(0.8, abs=0.03)


def test_classes_of_vehicles_switch_now_and_then() -> None:
    truth = walkers(frames=200, class_id=CAR)
    share = [
        (objects.class_id[objects.score >= 0.45] != CAR).mean()
        for seed in range(6)
        for objects in stand_in(truth, seed)
        if (objects.score >= 0.45).any()
    ]
    assert 0.02 < np.mean(share) < 0.6
    classes = np.concatenate([o.class_id for o in stand_in(walkers(frames=60, class_id=TRUCK), 1)])
    assert {TRUCK, CAR} <= set(classes.tolist())


def test_an_empty_scene_has_ghosts_only() -> None:
    truth = SceneTruth.of([], 400, 640, 360, 25.0)
    ghosts = [sum(map(len, stand_in(truth, seed))) for seed in range(10)]
    assert 0 < np.mean(ghosts) < 400 * 30
    rows = [len(o) for seed in range(10) for o in confident(stand_in(truth, seed))]
    assert np.mean(rows) < 1.5


def test_short_clips() -> None:
    assert stand_in(SceneTruth.of([], 0, 64, 48, 10.0), 1) == []
    assert len(stand_in(walkers(frames=1, count=1), 1)) == 1
    truth = SceneTruth.of(
        [(0, 1, 5, 5, 9, 15, 1.0, PERSON), (40, 1, 5, 5, 9, 15, 1.0, PERSON)], 41, 64, 48, 10.0
    )
    assert len(stand_in(truth, 1)) == 41


def test_wander_has_unit_variance_and_the_memory_asked_for() -> None:
    count, long = 2000, 30
    starts = np.zeros(count * long, np.bool_)
    starts[::long] = True
    pace = m.Pace(np.full(count * long, 0.8), np.ones(count * long), starts)
    made = m.wander(np.random.default_rng(2), m.Wander(0.3, 0.5, 0.2), pace, 1)[:, 0].reshape(count, long)
    assert made.var() == pytest.approx(1.0, abs=0.05)
    for lag in (1, 5):
        assert (made[:, lag:] * made[:, :-lag]).mean() == pytest.approx(0.3 + 0.5 * 0.8**lag, abs=0.05)
    assert m.level_of((1.0, -0.5, -2.0), np.array([m.ENOUGH / 2]), np.array([0.5]))[0] == pytest.approx(-0.5)
    assert np.allclose(m.score_of(m.logit(np.array([0.3, 0.8]))), [0.3, 0.8])
