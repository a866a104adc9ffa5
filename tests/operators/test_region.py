"""`region` on real video: what it is worth beside the whole look at intervals, and that it says what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.base import Prices
from everyframe.operators.detectors import load_detector
from everyframe.operators.region.operator import Region
from everyframe.operators.types import MotionField, Objects, Origin, View
from everyframe.pipeline import evaluation
from everyframe.pipeline.engines.base import Chunk
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.settings import LabelSettings, ModelSettings

MODEL = ModelSettings(runtime="torch", precision="f32")


def test_looks_at_parts_buy_accuracy(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    clip = str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")
    settings = LabelSettings(mode="causal", classes=("person",), limit=80, model=MODEL)
    stride, region = evaluation.evaluate(clip, ["stride:20", "region:20"], settings, measure=False)
    assert region.f1_dense > stride.f1_dense + 0.01
    assert 0 < region.partial_fraction < 1 and region.cnn_fraction < 0.3


@pytest.mark.parametrize("mode", ["causal", "lookahead"])
def test_records_say_which_frames_were_looked_at_in_part(data_dir: Path, mode: str) -> None:
    clip = str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")
    settings = LabelSettings(policy="region", mode=mode, limit=40, model=MODEL)  # type: ignore[arg-type]
    labels = [r for e in LocalEngine().run([clip], settings) if isinstance(e, Chunk) for r in e.labels]
    assert [r.frame_index for r in labels] == list(range(40))
    assert labels[0].origin == Origin.DETECTED
    parts = [r for r in labels if r.origin == Origin.REGION]
    assert parts and all("region" in r.cost_ms for r in parts)
    assert any((r.objects.origin == Origin.REGION).any() for r in parts)


def test_a_still_empty_picture_is_not_looked_at_again() -> None:
    rung = Region(load_detector(imgsz=320), Prices())
    grey = np.full((240, 320, 3), 128, np.uint8)
    view = View(320, 240, MotionField.still(320, 240), lambda: grey, lambda: grey[:, :, 0])
    rung.follow(view)
    rung.looked(view)
    outcomes = []
    for _ in range(5):
        rung.follow(view)
        assert len(rung.apply(view, Objects.empty())) == 0
        outcomes.append(rung.outcome)
    assert set(outcomes) == {Origin.PROPAGATED}
