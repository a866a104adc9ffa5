"""everyframe from Python: one function."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings


def label(path: str | os.PathLike[str], policy: str = "motion", **settings: Any) -> Iterator[FrameLabels]:
    """Labels one video in this process: one `FrameLabels` for every frame, in display order, as they are ready.

    settings: as the options of `everyframe run` that labels depend on, with underscores: mode ("lookahead" or
    "causal"), classes (names), conf, limit, seed, model, imgsz, runtime, precision, device, threads.
    Stop early by leaving the loop. Raises SettingsError at once; SourceError, SourceBroken (after the last record
    before the break) and DetectorError while iterating.

    >>> for labelled in label("clip.mp4", policy="stride:10", classes=["person"]):  # doctest: +SKIP
    ...     print(labelled.frame_index, labelled.objects.xyxy)
    """
    from everyframe.pipeline.config import make_settings

    checked = make_settings({"policy": policy, **settings}, dashes=False).label_settings()
    return _events(os.fspath(path), checked)


def _events(path: str, settings: LabelSettings) -> Iterator[FrameLabels]:
    from everyframe.pipeline.engines.base import Chunk, Finished
    from everyframe.pipeline.engines.local import LocalEngine

    engine = LocalEngine()
    try:
        for event in engine.run([path], settings):
            if isinstance(event, Chunk):
                yield from event.labels
            elif isinstance(event, Finished) and event.error is not None:
                raise event.error
    finally:
        engine.close()
