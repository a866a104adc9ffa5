"""The rungs of one stream: kept up to date, told of looks, and charged to their own steps."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.operators.base import Needs, Prices
from everyframe.operators.detectors import load_detector
from everyframe.operators.registry import OPERATORS
from everyframe.operators.types import MotionField, Objects, Origin, View
from everyframe.pipeline.labelling.ladder import Ladder
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.records import Frame

WIDTH, HEIGHT = 96, 64


class Diary:
    """Writes down what it is told."""

    name = "diary"
    needs = Needs(pixels=True)
    outcome = Origin.REGION

    def __init__(self) -> None:
        self.told: list[str] = []

    def follow(self, view: View) -> None:
        self.told.append("follow")

    def looked(self, view: View) -> None:
        self.told.append("looked")

    def forget(self) -> None:
        self.told.append("forget")

    def apply(self, view: View, objects: Objects) -> Objects:
        assert view.picture is not None and view.luma is not None
        self.told.append(f"apply {view.picture().shape} {view.luma().shape}")
        return objects


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    made = Diary()
    monkeypatch.setitem(OPERATORS, "diary", lambda detector, prices: made)
    return made


@pytest.fixture(scope="module")
def detector():
    return load_detector(imgsz=96)


def frame() -> Frame:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Frame(0, "P", False, None, lambda: picture, lambda: picture[:, :, 0], WIDTH, HEIGHT)


def test_rungs_that_remember_are_told_of_frames_and_of_the_whole_looks_of_others(diary, detector):
    ladder = Ladder(detector, ("diary",), Prices(), Meter())
    view = ladder.view(frame(), MotionField.still(WIDTH, HEIGHT))
    ladder.follow(view)
    found, outcome = ladder.look("detect", view, Objects.empty())
    assert outcome == Origin.DETECTED and (found.origin == Origin.DETECTED).all()
    _, outcome = ladder.look("diary", view, Objects.empty())
    assert outcome == Origin.REGION
    ladder.forget()
    assert diary.told == ["follow", "looked", "apply (64, 96, 3) (64, 96)", "forget"]


def test_time_is_charged_to_the_rung_and_to_the_net_where_it_saw_the_whole(diary, detector):
    meter = Meter()
    ladder = Ladder(detector, ("diary",), Prices(), meter)
    view = ladder.view(frame(), MotionField.still(WIDTH, HEIGHT))
    ladder.look("diary", view, Objects.empty())
    assert meter.take().keys() == {"diary", "convert"}
    diary.outcome = Origin.DETECTED
    ladder.look("diary", view, Objects.empty())
    assert meter.take().keys() == {"cnn", "convert"}


def test_only_the_rungs_asked_for_are_made(diary, detector):
    ladder = Ladder(detector, (), Prices(), Meter())
    ladder.follow(ladder.view(frame(), MotionField.still(WIDTH, HEIGHT)))
    with pytest.raises(KeyError):
        ladder.look("diary", ladder.view(frame(), None), Objects.empty())
    assert diary.told == []
