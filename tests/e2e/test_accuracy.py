"""Accuracy on a short real clip, against the dense detector: floors a little below what was measured."""

from __future__ import annotations

import pytest

from everyframe.pipeline.evaluation import evaluate
from everyframe.pipeline.settings import LabelSettings, ModelSettings

FRAMES = 120
FLOORS = {
    ("stride:10", "causal"): 0.84,
    ("stride:10", "lookahead"): 0.90,
    ("motion", "lookahead"): 0.88,
    ("iframes", "lookahead"): 0.72,
}


@pytest.mark.parametrize("mode", ["causal", "lookahead"])
def test_labels_are_nearly_those_of_the_dense_detector(data_dir, tmp_path, monkeypatch, mode):
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    ours = [policy for policy, m in FLOORS if m == mode]
    settings = LabelSettings(
        mode=mode,
        classes=("person",),
        limit=FRAMES,
        model=ModelSettings(runtime="torch", precision="f32"),
    )
    peer = "peer:stride-hold:10" if mode == "causal" else "peer:iframes-linear"
    clip = str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")
    rows = {row.policy: row for row in evaluate(clip, [*ours, peer], settings, measure=False)}
    for policy in ours:
        assert rows[policy].f1_dense >= FLOORS[policy, mode], rows[policy]
        assert rows[policy].f1_dense > rows[peer].f1_dense + 0.1
