"""Audits: which frames are drawn, what they say of a run's F1, and that they change no label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.detectors import load_detector
from everyframe.operators.types import Objects
from everyframe.pipeline import evaluation
from everyframe.pipeline.engines.base import Chunk, Finished, RunStats
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.labelling.audits import Auditor, AuditSums, estimate
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings, ModelSettings

GROUPS = np.zeros(80, np.int32)
MODEL = ModelSettings(runtime="torch", precision="f32")
FRAMES = 40


@given(share=st.floats(0.005, 1), seed=st.integers(0, 1000), salt=st.integers(-(2**40), 2**40))
@settings(max_examples=30, deadline=None)
def test_one_frame_of_each_block_is_drawn(share: float, seed: int, salt: int) -> None:
    auditor = Auditor(share, seed, salt, GROUPS)
    block = round(1 / share)
    drawn = [index for index in range(10 * block) if auditor.draws(index)]
    assert [index // block for index in drawn] == list(range(10))
    assert drawn == [index for index in range(10 * block) if Auditor(share, seed, salt, GROUPS).draws(index)]


def test_without_a_share_nothing_is_drawn() -> None:
    auditor = Auditor(0, 0, 0, GROUPS)
    assert not any(auditor.draws(index) for index in range(1000))
    assert estimate(auditor.sums) is None


def test_every_frame_audited_leaves_no_doubt() -> None:
    rng = np.random.default_rng(0)
    auditor = Auditor(1.0, 0, 0, GROUPS)
    right = shown = truth = 0
    for index in range(300):
        boxes = np.array([[20 * k, 0, 20 * k + 10, 10] for k in range(5)], np.float32)
        ours, theirs = (
            Objects.of(boxes[rows], np.ones(len(rows)), np.zeros(len(rows)))
            for rows in (np.flatnonzero(rng.random(5) < 0.8), np.flatnonzero(rng.random(5) < 0.8))
        )
        auditor.expect(index, theirs, None)
        auditor.settle(index, ours, saw_cnn=False)
        right += len(np.intersect1d(ours.xyxy[:, 0], theirs.xyxy[:, 0]))
        shown, truth = shown + len(ours), truth + len(theirs)
    found = estimate(auditor.sums)
    assert found is not None
    assert found.f1 == pytest.approx(2 * right / (shown + truth))
    assert found.high - found.low < 0.03
    assert found.frames == 300


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_nineteen_intervals_of_twenty_hold_the_truth(seed: int) -> None:
    """Frames in spells of good and bad, as real ones are; looks at every tenth."""
    rng = np.random.default_rng(seed)
    n = 2000
    objects = np.maximum(np.cumsum(rng.integers(-1, 2, n)) % 9, 0)
    wrong = rng.random(n // 40).repeat(40) * 0.3
    right = rng.binomial(objects, 1 - wrong)
    looked = np.arange(n) % 10 == 0
    right[looked] = objects[looked]
    truth = 2 * right.sum() / (2 * objects.sum())
    held = 0
    for draw in range(200):
        sums = AuditSums(certain=float(objects[looked].sum()), open=int((~looked).sum()))
        auditor = Auditor(0.02, draw, seed, GROUPS)
        for t in np.flatnonzero([auditor.draws(t) for t in range(n)]):
            if not looked[t]:
                sums.take(int(right[t]), int(objects[t]), int(objects[t]))
        found = estimate(sums)
        assert found is not None and 0 <= found.low <= found.f1 <= found.high <= 1
        held += found.low <= truth <= found.high
    assert held >= 176


def test_what_a_frame_would_have_shown_is_compared_if_it_was_decoded_for_the_audit() -> None:
    auditor = Auditor(1.0, 0, 0, GROUPS)
    one = Objects.of([[0, 0, 10, 10]], [0.9], [0])
    auditor.expect(0, one, Objects.empty())
    auditor.settle(0, one, saw_cnn=False)
    found = estimate(auditor.sums)
    assert found is not None and found.f1 == 0


def _run(video: str, wanted: LabelSettings) -> tuple[list[FrameLabels], RunStats]:
    labels: list[FrameLabels] = []
    stats = RunStats()
    engine = LocalEngine(load_detector(), frames_per_shard=25)
    for event in engine.run([video], wanted):
        if isinstance(event, Chunk):
            labels += event.labels
        elif isinstance(event, Finished):
            assert event.error is None
            stats = event.stats
    return labels, stats


@pytest.mark.parametrize("mode", ["causal", "lookahead"])
def test_a_run_that_audits_all_knows_its_f1_and_labels_as_ever(mode: str, data_dir: Path) -> None:
    video = str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")
    wanted = LabelSettings(policy="stride:7", mode=mode, limit=FRAMES, model=MODEL)  # type: ignore[arg-type]
    plain, _ = _run(video, wanted)
    audited, stats = _run(video, replace(wanted, audit=1.0))
    assert [r.origin for r in plain] == [r.origin for r in audited]
    for ours, theirs in zip(plain, audited, strict=True):
        np.testing.assert_array_equal(ours.objects.xyxy, theirs.objects.xyxy)
        np.testing.assert_array_equal(ours.objects.track_id, theirs.objects.track_id)
    assert stats.audits.n == FRAMES - stats.cnn_frames
    assert stats.cpu_ms["audit"] > 0
    detector = load_detector()
    dense = evaluation.dense(video, detector, FRAMES, measure=False)
    right = sum(_matched(r.objects, d[d.score >= 0.45]) for r, d in zip(plain, dense.frames, strict=True))
    total = sum(len(r.objects) + int((d.score >= 0.45).sum()) for r, d in zip(plain, dense.frames, strict=True))
    found = estimate(stats.audits)
    assert found is not None
    assert found.f1 == pytest.approx(2 * right / total, abs=0.004)  # classes here, supercategories there


def _matched(ours: Objects, theirs: Objects) -> int:
    from everyframe.operators.boxes import iou, match

    rows, _ = match(iou(ours.xyxy, theirs.xyxy), 0.5)
    return len(rows)
