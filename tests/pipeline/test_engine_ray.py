"""The ray engine against the local one, on real video and a real cluster."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from everyframe.pipeline.engines.base import Chunk, Finished, Started
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.engines.ray import RayEngine
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.settings import LabelSettings, ModelSettings

SHARD = 60
SETTINGS = LabelSettings(policy="stride:20", limit=150, model=ModelSettings(imgsz=192, runtime="torch", precision="f32"))


def digest_of(events, engine):
    """Digest over all records, their number, and the errors by source."""
    digest, count, errors, started = LabelDigest(), 0, {}, set()
    try:
        for event in events:
            if isinstance(event, Started):
                started.add(event.source)
            elif isinstance(event, Chunk):
                digest.update(event.labels)
                count += len(event.labels)
            elif isinstance(event, Finished):
                errors[event.source] = event.error
    finally:
        engine.close()
    return digest.hexdigest(), count, errors, started


@pytest.fixture(scope="module")
def clip(data_dir: Path) -> str:
    return str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")


@pytest.fixture(scope="module")
def local(clip: str):
    engine = LocalEngine(frames_per_shard=SHARD)
    return digest_of(engine.run([clip], SETTINGS), engine)


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_equal_those_of_the_local_engine(clip, local, workers):
    engine = RayEngine(workers=workers, frames_per_shard=SHARD)
    assert digest_of(engine.run([clip], SETTINGS), engine) == local
    assert local[1] == SETTINGS.limit


def test_a_killed_actor_costs_no_record_and_doubles_none(clip, local):
    engine = RayEngine(workers=2, frames_per_shard=SHARD)
    events = engine.run([clip], SETTINGS)

    def with_a_kill():
        killed = False
        for event in events:
            if isinstance(event, Chunk) and not killed:
                killed = True
                for process in engine.process_ids():
                    os.kill(process, signal.SIGKILL)
            yield event
        assert killed

    assert digest_of(with_a_kill(), engine) == local


def test_a_source_that_fails_does_not_stop_the_others(clip, tmp_path):
    bad = tmp_path / "text.mp4"
    bad.write_text("not a video")
    engine = RayEngine(workers=1, frames_per_shard=SHARD)
    _, count, errors, started = digest_of(engine.run([str(bad), clip], SETTINGS), engine)
    assert count == SETTINGS.limit
    assert started == {1}
    assert "text.mp4" in str(errors[0]) and errors[1] is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
