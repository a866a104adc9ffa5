"""Why a policy did what it did with one frame: the run is repeated up to it, and the policy asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from everyframe.pipeline.costs.prices import priced_for
from everyframe.pipeline.errors import SourceError, UsageError
from everyframe.pipeline.labelling.warm import warm_up
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.settings import LabelSettings
from everyframe.pipeline.sources.file import FileSource


@runtime_checkable
class Explains(Protocol):
    """A policy that can say what its newest decision was made of."""

    def explain(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """record: the frame's labels. why: what the policy tells of its decision, empty for one that only has a reason."""

    record: FrameLabels
    why: dict[str, Any]


def explain(video: str, frame: int, settings: LabelSettings) -> Explanation:
    """Labels a video up to a frame (from 0), with the settings of the run that is to be explained.

    Raises UsageError for a frame that cannot be, SourceError where the video ends before it.
    """
    if frame < 0:
        raise UsageError(f"--frame: write a number of at least 0, not {frame}")
    warm_up(settings.policy, settings.mode)
    with FileSource(video) as source:
        detectors = Detectors()
        detector = detectors.get(settings, source.info)
        ready = priced_for(settings, detector, source.info, video)
        others = detectors.capacities(ready, source.info, detector)
        worker = StreamWorker(source, detector, replace(ready, limit=frame + 1), others)
        record = None
        for chunk in worker.chunks():
            record = chunk[-1]
    if record is None or record.frame_index != frame:
        count = 0 if record is None else record.frame_index + 1
        raise SourceError(f"{video} has {count} frames: name one from 0 to {max(count - 1, 0)}.")
    policy = worker.policy
    return Explanation(record, policy.explain() if isinstance(policy, Explains) else {})
