"""Ctrl-C and SIGTERM that never cut a record in half: they break in only where the caller allows it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """While open, SIGINT and SIGTERM raise KeyboardInterrupt inside `allowed` only, or at the next `allowed`.

    A second signal raises at once, wherever the program is. Outside the main thread signals stay as they are.
    """

    def __init__(self) -> None:
        self._is_allowed = False
        self._came = False
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def allowed(self) -> Iterator[None]:
        self._is_allowed = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_allowed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._came = self._came, True
        if self._is_allowed or again:
            self._is_allowed = False
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for which in (signal.SIGINT, signal.SIGTERM):
                self._before[which] = signal.signal(which, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)
