"""What every engine promises, whatever runs the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from everyframe.pipeline.engines.base import Chunk, Engine, Event, Finished, Started
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.engines.ray import RayEngine
from everyframe.pipeline.errors import DetectorError, SourceError
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.settings import LabelSettings, ModelSettings

SHARD, LIMIT = 60, 150
MODEL = ModelSettings(imgsz=192, runtime="torch", precision="f32")
SETTINGS = LabelSettings(policy="stride:20", limit=LIMIT, model=MODEL)
ENGINES: dict[str, Callable[[], Engine]] = {
    "local": lambda: LocalEngine(frames_per_shard=SHARD),
    "ray, 3 workers": lambda: RayEngine(workers=3, frames_per_shard=SHARD),
}


@pytest.fixture(scope="module")
def paths(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A good file, one that is no video, one that is not there, another good one."""
    folder = tmp_path_factory.mktemp("sources")
    good = data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4"
    (folder / "text.mp4").write_text("not a video")
    return [
        str(good),
        str(folder / "text.mp4"),
        str(folder / "missing.mp4"),
        str(data_dir / "room" / "room.mp4"),
    ]


@pytest.fixture(scope="module", params=ENGINES)
def events(request: pytest.FixtureRequest, paths: list[str]) -> list[Event]:
    engine = ENGINES[request.param]()
    try:
        return list(engine.run(paths, SETTINGS))
    finally:
        engine.close()


def test_sources_come_in_order_each_with_one_end(events: list[Event], paths: list[str]) -> None:
    assert [number for number, _ in groupby(event.source for event in events)] == list(range(len(paths)))
    for number in range(len(paths)):
        own = [event for event in events if event.source == number]
        assert [isinstance(event, Finished) for event in own] == [False] * (len(own) - 1) + [True]
        assert sum(isinstance(event, Started) for event in own) == (number in (0, 3))
        assert len(own) == 1 or isinstance(own[0], Started)


def test_frames_are_numbered_through_up_to_the_limit(events: list[Event]) -> None:
    for source in (0, 3):
        chunks = [event.labels for event in events if isinstance(event, Chunk) and event.source == source]
        assert all(chunks)
        assert [record.frame_index for chunk in chunks for record in chunk] == list(range(LIMIT))


def test_statistics_are_of_the_records(events: list[Event]) -> None:
    for finished in finishes(events):
        if finished.error is None:
            assert finished.stats.frames == LIMIT
            assert LIMIT // 20 <= finished.stats.cnn_frames <= finished.stats.decoded
            assert finished.stats.total_cpu_ms > 0.5 * sum(finished.stats.cpu_ms.values()) > 0


def test_failures_are_of_their_source(events: list[Event]) -> None:
    errors = [finished.error for finished in finishes(events)]
    assert [type(error) for error in errors] == [type(None), SourceError, SourceError, type(None)]
    assert "text.mp4" in str(errors[1])
    assert "missing.mp4" in str(errors[2])


def test_labels_are_the_same_under_every_engine(events: list[Event], paths: list[str]) -> None:
    engine = LocalEngine(frames_per_shard=SHARD)
    assert digest(events) == digest(engine.run(paths, SETTINGS))


def test_weights_that_cannot_be_used_start_no_source(tmp_path: Path, paths: list[str]) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 64)
    settings = LabelSettings(
        model=ModelSettings(str(tmp_path / "bad.safetensors"), runtime="torch", precision="f32")
    )
    (finished,) = LocalEngine().run(paths[:1], settings)
    assert isinstance(finished, Finished)
    assert isinstance(finished.error, DetectorError)


def finishes(events: list[Event]) -> list[Finished]:
    return [event for event in events if isinstance(event, Finished)]


def digest(events: Iterator[Event] | list[Event]) -> str:
    found = LabelDigest()
    for event in events:
        if isinstance(event, Chunk):
            found.update(event.labels)
    return found.hexdigest()
