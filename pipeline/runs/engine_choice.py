"""Which engine `--engine auto` means, and the engine itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from everyframe.pipeline.engines.base import Engine
from everyframe.pipeline.errors import EveryframeError
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.settings import RunSettings

RAY_PAYS_FRAMES = 3000
"""Starting Ray takes 4 to 10 s; below about this many frames one process is done sooner."""


@dataclass(frozen=True, slots=True)
class Choice:
    engine: Literal["local", "ray"]
    reason: str


def probe(paths: Sequence[str]) -> list[SourceInfo | None]:
    """What the containers say of each path; None where one cannot be opened, which the engine reports later."""
    from everyframe.pipeline.sources.file import FileSource

    found: list[SourceInfo | None] = []
    for path in paths:
        try:
            with FileSource(path) as source:
                found.append(source.info)
        except EveryframeError:
            found.append(None)
    return found


def expected_frames(infos: Sequence[SourceInfo | None], limit: int | None) -> int | None:
    """Frames in all sources together, None where one of them does not say."""
    total = 0
    for info in infos:
        if info is None:
            continue
        if info.frames is None:
            if limit is None:
                return None
            total += limit
        else:
            total += info.frames if limit is None else min(info.frames, limit)
    return total


def choose_engine(
    settings: RunSettings, infos: Sequence[SourceInfo | None], cpus: int | None = None
) -> Choice:
    """The engine for these sources: what was asked for, else Ray where more than one worker would be done sooner."""
    cpus = cpus or os.cpu_count() or 1
    if settings.engine != "auto":
        return Choice(settings.engine, "as asked")
    if settings.address is not None:
        return Choice("ray", "a cluster address was given")
    if settings.workers is not None and settings.workers > 1:
        return Choice("ray", f"{settings.workers} workers were asked for")
    if settings.workers == 1 or cpus < 2:
        return Choice("local", "one worker needs no cluster")
    frames = expected_frames(infos, settings.limit)
    if frames is not None and frames < RAY_PAYS_FRAMES:
        return Choice("local", f"{frames} frames are done before a cluster has started")
    if frames is None and len(infos) < 2:
        return Choice("local", "one source of unknown length")
    return Choice("ray", f"{cpus} CPUs share {'the' if frames is None else frames} frames")


def make_engine(choice: Choice, settings: RunSettings) -> Engine:
    """The engine, not yet started."""
    if choice.engine == "local":
        from everyframe.pipeline.engines.local import LocalEngine

        return LocalEngine()
    from everyframe.pipeline.engines.ray import RayEngine

    return RayEngine(workers=settings.workers, address=settings.address)
