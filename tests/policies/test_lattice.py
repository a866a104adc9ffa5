"""`lattice:N`: key frames as `stride:N`; in lookahead mode looks at parts between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.types import Origin
from everyframe.pipeline import evaluation
from everyframe.pipeline.engines.base import Chunk, Finished
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.policies.registry import make_policy

MODEL = ModelSettings(runtime="torch", precision="f32")


def test_it_looks_back_at_parts():
    policy = make_policy("lattice:20")
    assert policy.name == "lattice:20"
    assert policy.traits.look_back > 0 and policy.traits.look_back_rung == "region"


def test_looks_between_buy_accuracy(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    clip = str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")
    settings = LabelSettings(mode="lookahead", classes=("person",), limit=81, model=MODEL)
    stride, lattice = evaluation.evaluate(clip, ["stride:20", "lattice:20"], settings, measure=False)
    assert lattice.f1_dense > stride.f1_dense + 0.01
    assert 0 < lattice.partial_fraction < 0.5 and lattice.cnn_fraction < 0.1


def labels_of(clip: Path, policy: str, mode: str, limit: int):
    settings = LabelSettings(policy=policy, mode=mode, limit=limit, model=ModelSettings(imgsz=320, runtime="torch", precision="f32"))  # type: ignore[arg-type]  # fmt: skip
    labels, stats = [], None
    for event in LocalEngine().run([str(clip)], settings):
        if isinstance(event, Chunk):
            labels += event.labels
        elif isinstance(event, Finished):
            assert event.error is None
            stats = event.stats
    return labels, stats


def test_causal_it_is_stride(data_dir: Path) -> None:
    clip = data_dir / "walkway" / "walkway.mp4"
    ours, _ = labels_of(clip, "lattice:8", "causal", 30)
    theirs, _ = labels_of(clip, "stride:8", "causal", 30)
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.objects.xyxy, b.objects.xyxy) and a.origin == b.origin


@pytest.mark.parametrize("clip", ["pets_s2l1/pets_s2l1_b3", "highway/highway_ip"])
def test_records_say_what_was_looked_at(data_dir: Path, clip: str) -> None:
    labels, stats = labels_of(data_dir / f"{clip}.mp4", "lattice:12", "lookahead", 61)
    assert [r.frame_index for r in labels] == list(range(61))
    assert stats.cnn_frames == sum(r.origin == Origin.DETECTED for r in labels)
    assert stats.partial_frames == sum(r.origin == Origin.REGION for r in labels)
    for r in labels:
        assert (r.key_age == 0) == (r.origin == Origin.DETECTED)
        assert len(set(r.objects.track_id.tolist())) == len(r.objects)


def test_the_same_twice(data_dir: Path) -> None:
    clip = data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4"
    first, second = (labels_of(clip, "lattice:15", "lookahead", 46)[0] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.objects.xyxy, b.objects.xyxy) and a.origin == b.origin
