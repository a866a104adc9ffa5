"""Prices are looked up or measured once, and only for policies that choose by price."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from everyframe.operators.base import Prices
from everyframe.operators.detectors import Prepared, load_detector
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.costs import prices
from everyframe.pipeline.costs.rungs import measure_rungs
from everyframe.pipeline.errors import DetectorError
from everyframe.pipeline.settings import LabelSettings, ModelSettings
from everyframe.policies import registry
from everyframe.policies.base import Traits
from everyframe.policies.fixed import Stride

MODEL = ModelSettings(imgsz=256, runtime="torch", precision="f32")


class Counting:
    """A detector that counts its looks."""

    def __init__(self) -> None:
        self.looks = 0
        self._detector = load_detector(imgsz=256)

    def prepare(self, picture: U8) -> Prepared:
        return self._detector.prepare(picture)

    def infer(self, prepared: Prepared) -> Objects:
        self.looks += 1
        return self._detector.infer(prepared)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def thrifty(monkeypatch: pytest.MonkeyPatch) -> str:
    class Thrifty(Stride):
        traits = Traits(rungs=("region",))

    monkeypatch.setitem(registry.POLICIES, "thrifty", registry.Entry("thrifty", "", lambda text, mode: Thrifty(5)))
    return "thrifty"


def test_a_second_run_measures_nothing() -> None:
    detector = Counting()
    first = prices.prices_for(MODEL, 640, 480, detector)
    looks = detector.looks
    assert looks > 0 and first.rungs["detect"] > 0
    assert first.crops and all(w <= 256 and h <= 192 and (w, h) != (256, 192) for w, h in first.crops)
    assert prices.prices_for(MODEL, 640, 480, detector) == first and detector.looks == looks
    prices.prices_for(replace(MODEL, threads=2), 640, 480, detector)
    assert detector.looks > looks, "another number of threads is another price"


def test_only_policies_that_choose_by_price_get_prices(thrifty: str) -> None:
    detector = Counting()
    plain = LabelSettings(policy="stride:5", model=MODEL)
    assert prices.priced(plain, 640, 480, detector) is plain and detector.looks == 0
    settled = prices.priced(replace(plain, policy=thrifty), 640, 480, detector)
    assert settled.prices.crops and replace(settled, prices=Prices()) == replace(plain, policy=thrifty)
    assert prices.priced(settled, 640, 480, detector) is settled, "given prices are left alone"


def test_weights_that_cannot_be_read_are_the_users_error(tmp_path: Path, thrifty: str) -> None:
    settings = LabelSettings(policy=thrifty, model=replace(MODEL, model=str(tmp_path / "none.safetensors")))
    with pytest.raises(DetectorError, match=r"none\.safetensors"):
        prices.priced(settings, 640, 480)


def test_rungs_that_run_a_part_of_the_net_are_priced_on_a_scene() -> None:
    [row] = [r for r in measure_rungs(MODEL, 322, 242) if r.rung == "region"]
    assert row.ms > 0 and (row.size, row.runtime) == ("322x242", "torch")


def test_costs_beside_the_cnn_are_measured_where_a_policy_can_be_steered(data_dir):
    video = str(data_dir / "parking" / "parking.mp4")
    settings = LabelSettings(policy="learned", mode="lookahead", model=ModelSettings(runtime="torch", precision="f32"))
    found = prices.stream_ms(video, settings, 24)
    assert set(found) == {"plain", "decode", "frame"}
    assert 0 < found["plain"] < found["decode"]
    assert found["frame"] >= 0
