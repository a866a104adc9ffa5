"""Records on their way to a real Redis, for tests: `python publishing.py FOLDER URL RATE` publishes until it is killed or told to
end by SIGTERM, and counts as a camera's process does."""

from __future__ import annotations

import random
import signal
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.live.balance import RESTART, missing
from everyframe.pipeline.live.ledger import Ledger
from everyframe.pipeline.live.types import RECEIVED, CameraEvent, LiveLabels
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.sinks.live import LivePublisher


def record(index: int, life: int = 0, at: float | None = None, objects: int = 3) -> LiveLabels:
    """A record of the camera `cam`; its reason names the life of the process."""
    rng = np.random.default_rng(index)
    corner = rng.uniform(0, 100, (objects, 2))
    found = Objects.of(np.concatenate([corner, corner + 20], 1), rng.random(objects), np.zeros(objects), np.arange(objects))
    labels = FrameLabels(
        "cam", index, index * 3600, Fraction(1, 90000), time.time() if at is None else at, 320, 240, "P", Origin.PROPAGATED, 1,
        "stride:10", f"life {life}", found,
    )  # fmt: skip
    return LiveLabels(labels, time.monotonic())


def event(index: int, life: int = 0) -> CameraEvent:
    return CameraEvent("cam", "update", time.time(), index, life, "person")


def run(folder: Path, url: str, rate: float) -> None:
    ledger = Ledger(folder / "ledger")
    publisher = LivePublisher("cam", url, folder, ledger, out=folder / "out", wait_s=1.0)
    lost = missing(ledger.snapshot(), publisher.waiting)
    assert lost >= 0, f"{-lost} records are counted twice: {ledger.snapshot()}, {publisher.waiting} wait"
    if lost:
        ledger.add(RESTART, lost)
    life = int(time.time() * 1000)
    ends: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
    rng, index = random.Random(life), 0
    while not ends:
        ledger.add(RECEIVED)
        # A clock that jumps: ids must rise all the same.
        publisher.put(record(index, life, time.time() + rng.choice((0, 0, 0, -5, 3))))
        if index % 20 == 0:
            publisher.put_event(event(index, life))
        index += 1
        if rate:
            time.sleep(rng.expovariate(rate))
    publisher.close(20.0)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
