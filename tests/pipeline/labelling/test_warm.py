"""Warming up leaves no kernel to be compiled while frames are charged for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from everyframe import label
from everyframe.operators import propagate
from everyframe.operators.region import evidence, likeness
from everyframe.pipeline.frames import motion
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.policies import stray


def kernels() -> dict[str, Any]:
    return {
        f"{module.__name__}.{name}": value
        for module in (motion, propagate, stray, evidence, likeness)
        for name, value in vars(module).items()
        if hasattr(value, "signatures")
    }


@pytest.mark.parametrize("policy", ["stride:10", "motion", "region:10", "lattice:10"])
def test_real_video_needs_no_further_kernel(data_dir: Path, policy: str) -> None:
    clip = data_dir / "walkway" / "walkway.mp4"
    warm_up(policy, "lookahead")
    with FileSource(str(clip)) as source:
        Detectors().get(LabelSettings(policy=policy, model=ModelSettings(imgsz=320, runtime="torch")), source.info)
    before = {name: list(kernel.signatures) for name, kernel in kernels().items()}
    assert any(before.values())
    list(label(clip, policy=policy, limit=60, imgsz=320, runtime="torch"))
    assert {name: list(kernel.signatures) for name, kernel in kernels().items()} == before
