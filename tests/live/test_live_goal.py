"""A goal in cost steers a live camera by what it costs here, which is known after its first frames."""

from __future__ import annotations

from pathlib import Path

from feeding import Fed, LateLooker, arrivals

from everyframe.operators.detectors import load_detector
from everyframe.pipeline.settings import Goal, LabelSettings, ModelSettings


def test_a_smaller_budget_gives_fewer_looks(data_dir: Path) -> None:
    detector = load_detector(imgsz=192)
    looks = {}
    for budget in (1.0, 1000.0):
        settings = LabelSettings("learned", "causal", goal=Goal(budget_ms=budget), model=ModelSettings(imgsz=192))
        live = Fed(settings, detector, LateLooker(detector, 1))
        live.feed(arrivals(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4", 300))
        live.close()
        assert len(live.out) == 300
        looks[budget] = len([request for request in live.looker.asked if request.number >= 100])
    assert 2 * looks[1.0] < looks[1000.0]
