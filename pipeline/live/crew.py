"""What starts cameras and the CNN for the supervisor, and tells how they are: in this process, or in processes of Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from everyframe.pipeline.live.family import Rest
from everyframe.pipeline.live.types import Camera, CameraEvent, CameraReport, Histogram


@dataclass(frozen=True, slots=True)
class Setup:
    """What a camera's process needs to know. folder: of its counters and its spool. out: of label files, None for none.

    facts: of the CNN, None before the crew has filled them in. maxlen: records that Redis keeps, None for all; retain_s:
    in its place, how long.
    """

    camera: Camera
    folder: Path
    names: tuple[str, ...]
    facts: Any = None
    redis: str | None = field(default=None, repr=False)
    out: Path | None = None
    maxlen: int | None = None
    retain_s: float | None = None
    spool_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class News:
    """What a camera's process says of itself. events: since it was last asked. trouble: of Redis, empty without.
    fault: why it does not work any more and must be started anew, empty while it does. is_over: its file has been played
    to the end and everything of it is out."""

    report: CameraReport
    events: tuple[CameraEvent, ...] = ()
    trouble: str = ""
    fault: str = ""
    is_over: bool = False
    pid: int = 0


@dataclass(frozen=True, slots=True)
class CnnNews:
    """How the CNN is doing. cpu_s: CPU that it has used for looks since it was started. pid: of its process. fault: why it
    does not answer. queue, cnn: histograms by camera."""

    pid: int = 0
    is_ready: bool = False
    cpu_s: float = 0.0
    process_cpu_s: float = 0.0
    rss_bytes: int = 0
    waiting: int = 0
    looks: int = 0
    looks_dropped: int = 0
    fault: str = ""
    queue: Mapping[str, Histogram] = field(default_factory=dict)
    cnn: Mapping[str, Histogram] = field(default_factory=dict)


class Crew(Protocol):
    """Calls return soon, but for `open` and `stop`. is_apart: cameras are processes of their own."""

    is_apart: bool

    def open(self) -> None:
        """Starts the CNN, or begins to. Raises EveryframeError."""
        ...

    def start(self, setup: Setup) -> None:
        """Starts a camera, in place of one of that name that was lost."""
        ...

    def news(self) -> dict[str, News]:
        """Of every camera that was started and has said anything; of one that is dead, news with a fault."""
        ...

    def cnn(self) -> CnnNews: ...

    def rest(self, now: float) -> Rest:
        """Of processes that are neither a camera's nor the CNN's. now: by the monotonic clock."""
        ...

    def pace(self, cnn_cores: float, over: float) -> None:
        """cnn_cores: what the CNN may use. over: by how much cameras are over the budget, 1 for just at it."""
        ...

    def picture(self, camera: str) -> bytes | None:
        """The camera's latest picture with its boxes, JPEG."""
        ...

    def stop(self, cameras: Iterable[str], timeout_s: float) -> dict[str, News]:
        """Ends cameras, all at once: what arrived is labelled and published or spooled. Their last words; none of those
        that had to be killed."""
        ...

    def close(self) -> None:
        """Ends what is left, the CNN too."""
        ...
