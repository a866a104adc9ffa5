"""Warming up leaves no kernel to be compiled while frames are charged for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from everyframe import label
from everyframe.operators import propagate
from everyframe.pipeline import motion
from everyframe.pipeline.warm import warm_up


def kernels() -> dict[str, Any]:
    return {
        f"{module.__name__}.{name}": value
        for module in (motion, propagate)
        for name, value in vars(module).items()
        if hasattr(value, "signatures")
    }


def test_real_video_needs_no_further_kernel(data_dir: Path) -> None:
    warm_up()
    before = {name: list(kernel.signatures) for name, kernel in kernels().items()}
    assert any(before.values())
    list(label(data_dir / "walkway" / "walkway.mp4", policy="stride:10", limit=30, imgsz=320, runtime="torch"))
    assert {name: list(kernel.signatures) for name, kernel in kernels().items()} == before
