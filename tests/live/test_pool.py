"""The shared CNN: one request of each camera, every one answered once, under a budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.base import Detector
from everyframe.operators.detectors import load_detector
from everyframe.operators.region.crops import look_at
from everyframe.operators.types import U8, Objects, Origin
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.live.picture import shrunk
from everyframe.pipeline.live.pool import REPLACED, TOO_OLD, Bucket, DetectorPool, LocalLooker
from everyframe.pipeline.live.schedule import MOST_AGE_S
from everyframe.pipeline.live.types import LookAnswer, LookRequest
from everyframe.pipeline.sources.file import FileSource

GREY = np.full((192, 320, 3), 128, np.uint8)
LONG_S = 60.0


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(imgsz=320)


class Gated:
    """The real detector, behind a gate that the test opens."""

    runtime = precision = ""

    def __init__(self, detector: Detector) -> None:
        self.names, self.supercategory = detector.names, detector.supercategory
        self.gate = threading.Event()
        self.entered = threading.Event()
        self._detector = detector

    def detect(self, picture: U8) -> Objects:
        self.entered.set()
        assert self.gate.wait(LONG_S)
        return self._detector.detect(picture)

    prepare = infer = detect


class Broken(Gated):
    def detect(self, picture: U8) -> Objects:
        raise RuntimeError("no memory at rtsp://me:secret@camera")


def request(camera: str = "a", number: int = 0, value: float = 1.0, age: float = 0.0) -> LookRequest:
    return LookRequest(camera, number, GREY, (2.0, 3.0), value, 20.0, time.monotonic() - age)


@contextmanager
def pool_of(make: Callable[[], Detector], cores: float = 64.0) -> Iterator[DetectorPool]:
    pool = DetectorPool(make, cores)
    try:
        yield pool
    finally:
        pool.close(LONG_S)


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_answers_are_what_the_detector_finds_in_pixels_of_the_frame(data_dir: Path, detector: Detector) -> None:
    with FileSource(data_dir / "pets_s2l1/pets_s2l1_ip.mp4") as source:
        frame = next(field_slots(source)).slot.frame
        assert frame is not None
        picture = frame.picture()
    small, scale = shrunk(picture, 320)
    assert small.shape[1] == 320
    expected = detector.detect(picture)
    assert len(expected)
    with pool_of(lambda: detector) as pool:
        answer = pool.serve(LookRequest("a", 7, small, scale, 1.0, 20.0, time.monotonic()))
        assert answer.objects is not None
        np.testing.assert_allclose(answer.objects.xyxy, expected.xyxy, atol=0.05)
        np.testing.assert_allclose(answer.objects.score, expected.score, atol=1e-4)
        assert (answer.camera, answer.number, pool.looks, pool.dropped) == ("a", 7, 1, 0)
        assert answer.cnn_ms > 0 and answer.queue_ms >= 0
        assert sum(pool.cnn_times()["a"].counts) == sum(pool.queue_times()["a"].counts) == 1
        assert pool.cpu_s == pytest.approx(answer.cnn_ms / 1e3)


def test_parts_of_a_picture_are_what_region_finds_there(data_dir: Path, detector: Detector) -> None:
    with FileSource(data_dir / "pets_s2l1/pets_s2l1_ip.mp4") as source:
        frame = next(field_slots(source)).slot.frame
        assert frame is not None
        picture = frame.picture()
    small, scale = shrunk(picture, 320)
    crops = np.array([[32, 64, 224, 256]], np.int32)
    expected = look_at(detector, small, crops)
    assert len(expected)
    with pool_of(lambda: detector) as pool:
        answer = pool.serve(LookRequest("a", 7, small, scale, 1.0, 20.0, time.monotonic(), crops))
        assert answer.objects is not None
        np.testing.assert_allclose(answer.objects.xyxy, expected.xyxy * [*scale, *scale], atol=0.05)
        assert set(answer.objects.origin.tolist()) == {Origin.REGION} and pool.looks == 1


def test_a_newer_request_replaces_one_that_waits(detector: Detector) -> None:
    gated = Gated(detector)
    with pool_of(lambda: gated) as pool:
        looker = LocalLooker(pool)
        looker.ask(request("other"))
        assert gated.entered.wait(LONG_S)
        for number in range(3):
            looker.ask(request("a", number))
        assert pool.waiting == 1
        early = looker.answers("a")
        assert [(answer.number, answer.objects, answer.why) for answer in early] == [(0, None, REPLACED), (1, None, REPLACED)]
        gated.gate.set()
        late: list[LookAnswer] = []
        wait_for(lambda: bool(late.extend(looker.answers("a")) or late))
        assert [answer.number for answer in late] == [2] and late[0].objects is not None
        assert (pool.looks, pool.dropped) == (2, 2)


def test_the_most_valuable_request_goes_first(detector: Detector) -> None:
    gated, done = Gated(detector), []
    with pool_of(lambda: gated) as pool:
        pool.submit(request("first"), lambda answer: None)
        assert gated.entered.wait(LONG_S)
        for camera, value in (("low", 1.0), ("high", 9.0), ("middle", 5.0)):
            pool.submit(request(camera, value=value), lambda answer: done.append(answer.camera))
        gated.gate.set()
        wait_for(lambda: len(done) == 3)
    assert done == ["high", "middle", "low"]


def test_old_requests_are_dropped_before_they_are_run(detector: Detector) -> None:
    with pool_of(lambda: detector) as pool:
        answer = pool.serve(request(age=MOST_AGE_S + 1))
        assert answer.objects is None and answer.why == TOO_OLD
        assert (pool.looks, pool.dropped, pool.waiting) == (0, 1, 0)


def test_many_threads_each_get_their_own_answer(detector: Detector) -> None:
    with pool_of(lambda: detector) as pool, ThreadPoolExecutor(8) as threads:
        asked = [(f"camera{number}", number) for number in range(24)]
        found = list(threads.map(lambda one: pool.serve(request(*one)), asked))
    assert [(answer.camera, answer.number) for answer in found] == asked
    assert all(answer.objects is not None for answer in found)


def test_closing_answers_what_waits(detector: Detector) -> None:
    gated, done = Gated(detector), []
    pool = DetectorPool(lambda: gated, 64.0)
    pool.submit(request("first"), done.append)
    assert gated.entered.wait(LONG_S)
    pool.submit(request("second"), done.append)
    closing = threading.Thread(target=pool.close, args=(LONG_S,))
    closing.start()
    wait_for(lambda: len(done) == 1)
    assert (done[0].camera, done[0].objects) == ("second", None)
    gated.gate.set()
    closing.join(LONG_S)
    assert [answer.camera for answer in done] == ["second", "first"]
    assert pool.serve(request("late")).objects is None


def test_a_detector_that_fails_answers_and_hides_secrets(detector: Detector) -> None:
    with pool_of(lambda: Broken(detector)) as pool:
        whys = [pool.serve(request(number=number)).why for number in range(4)]
        assert all("no memory" in why and "secret" not in why for why in whys)
        wait_for(lambda: pool.fault != "")
        assert "secret" not in pool.fault


def test_a_detector_that_can_not_be_made_answers() -> None:
    def make() -> Detector:
        raise RuntimeError("no weights")

    with pool_of(make) as pool:
        assert "no weights" in pool.serve(request()).why


def test_a_budget_is_kept() -> None:
    bucket, now, spent = Bucket(0.5, 0.0), 0.0, 0.0
    for _ in range(1000):
        now += bucket.wait_s(now)
        assert bucket.wait_s(now) == pytest.approx(0.0, abs=1e-6)
        bucket.spend(0.08)
        spent += 0.08
        now += 0.08
    assert spent / now == pytest.approx(0.5, rel=0.01)


def test_without_a_budget_looks_wait_until_there_is_one(detector: Detector) -> None:
    with pool_of(lambda: detector) as pool:
        assert pool.serve(request()).objects is not None
        pool.budget = 0.0
        pool.serve(request())  # overdraws
        found: list[LookAnswer] = []
        pool.submit(request(), found.append)
        time.sleep(0.3)
        assert not found and pool.waiting == 1
        pool.budget = 64.0
        wait_for(lambda: bool(found))
        assert found[0].objects is not None


def test_a_camera_that_is_gone_is_forgotten(detector: Detector) -> None:
    with pool_of(lambda: detector) as pool:
        pool.serve(request("gone"))
        pool.forget("gone")
        assert "gone" not in pool.cnn_times()
