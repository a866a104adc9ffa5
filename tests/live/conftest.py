"""Fixtures for tests of live cameras."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helper of these tests: rtsp

from rtsp import RtspServer, missing

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
