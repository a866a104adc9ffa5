"""Two short real clips, recorded once: a busy one with a key frame every 20, and one with B frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tracing import Recorded, recorded

from everyframe.pipeline.traces.tables import build
from everyframe.policies.simulation.table import ClipTable


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERYFRAME_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def busy(data_dir: Path, cache: Path) -> Recorded:
    return recorded(data_dir / "pets_s2l1/pets_s2l1_ip.mp4", 52)


@pytest.fixture(scope="session")
def with_b(data_dir: Path, cache: Path) -> Recorded:
    return recorded(data_dir / "idle/one_by_one_person.mp4", 40)


@pytest.fixture(scope="session")
def table(busy: Recorded) -> ClipTable:
    return build(busy.trace, ("person",), horizon=40)
