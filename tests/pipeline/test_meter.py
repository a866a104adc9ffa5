from __future__ import annotations

import pytest

from everyframe.pipeline import meter as module
from everyframe.pipeline.meter import Meter


def test_a_step_inside_another_is_charged_once(monkeypatch):
    now = iter([0.0, 1.0, 2.0, 5.0, 9.0])  # made, outer in, inner in, inner out, outer out
    monkeypatch.setattr(module.time, "process_time", lambda: next(now))
    meter = Meter()
    with meter.step("track"), meter.step("cnn"):
        pass
    assert meter.take() == pytest.approx({"cnn": 3000, "track": 5000})
    assert meter.take() == {}
    assert meter.total == pytest.approx({"cnn": 3000, "track": 5000})
