"""The state as a file that `everyframe status --state DIR` reads: written once a second, whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.live.status import status_json
from everyframe.pipeline.live.types import CameraReport, MachineReport

NAME = "status.json"
STALE_S = 15.0


def write(
    folder: str | Path, machine: MachineReport, cameras: Sequence[CameraReport], is_over: bool = False
) -> None:
    """A disk that is full costs this file alone."""
    path = Path(folder) / NAME
    found = {"at": time.time(), "pid": os.getpid(), "is_over": is_over, **status_json(machine, cameras)}
    part = path.with_suffix(".part")
    with suppress(OSError):
        part.write_bytes(orjson.dumps(found))
        part.replace(path)


def read(folder: str | Path) -> tuple[dict[str, Any], str]:
    """What was last written, and a remark where it is not of now. Raises UsageError."""
    path = Path(folder) / NAME
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError as e:
        raise UsageError(
            f"{folder} holds no state of everyframe watch: name its folder with --state, or --http"
        ) from e
    except (OSError, ValueError) as e:
        raise UsageError(f"cannot read {path}: {e}; name the folder that everyframe watch was given") from e
    age = time.time() - found["at"]
    if found["is_over"]:
        return found, f"everyframe watch was stopped {_span(age)} ago"
    if age > STALE_S:
        return found, f"everyframe watch has not been heard for {_span(age)}: it was killed, or hangs"
    return found, ""


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
