"""What crosses between the parts of `everyframe watch`: cameras, arrivals, looks, labels, events and reports.

Of every frame that arrived there is one record, or it is counted under a reason:

    received = published + spooled + dropped (by reason) + still on its way

Two clocks: `at` is the wall clock in unix seconds, for people and ids; `since` is `time.monotonic()`, for durations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from everyframe.operators.types import I32, U8, Objects
from everyframe.pipeline.labelling.audits import AuditSums
from everyframe.pipeline.records import FrameLabels, Packet, PacketSource
from everyframe.pipeline.settings import LabelSettings

State = Literal["connecting", "live", "waiting", "failed", "stopped"]
"""connecting: for the first time or again. waiting: for the next try. failed: will not be tried again by itself."""
Transport = Literal["tcp", "udp"]
EventKind = Literal["new", "update", "gone", "entered", "left", "in", "out"]
Point = tuple[float, float]

RECEIVED, DECODED, PUBLISHED, SPOOLED, RECONNECTS = "received", "decoded", "published", "spooled", "reconnects"
"""Names of counters. `spooled` counts what ever went to the spool; what lies there now is `CameraReport.waiting`."""
DROPPED = "dropped."
"""Before a reason, as in `dropped.overload`: the name of the counter of frames that got no record for it."""
RUNG = "rung."
"""Before a rung, as in `rung.propagate`: the name of the counter of records by how they came to be."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon (x, y) in shares of the picture's width and height. classes: names that count, empty for all."""

    name: str
    points: tuple[Point, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two points in shares of the picture. An object goes `in` when it crosses to the right-hand side of
    start -> end (y down), `out` when it comes back."""

    name: str
    start: Point
    end: Point
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera as the user named it.

    name: unique, of its streams and files. url: rtsp(s)://, http(s)://, /dev/video*, or a file. realtime: a file is played
    at its own pace. loop: and begins anew at its end. weight: how much an error of this camera matters beside the others.
    """

    name: str
    url: str = field(repr=False)
    labels: LabelSettings = field(default_factory=lambda: LabelSettings(mode="causal"))
    transport: Transport = "tcp"
    realtime: bool = False
    loop: bool = False
    open_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    weight: float = 1.0
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet of a camera as it came. session: the connection it came by, with a codec of its own: another object than before
    means that decoding starts anew. packet: None where the session is over. is_suspect: packets before it were lost, so
    its picture may show concealed errors until the next key frame. is_entry: decoding may begin here although this is no
    key packet (intra refresh)."""

    session: PacketSource
    packet: Packet | None
    at: float
    since: float
    is_suspect: bool = False
    is_entry: bool = False


class Counter(Protocol):
    """Counters that never go back, also not when the process that counts is killed."""

    def add(self, name: str, n: int = 1) -> None: ...

    def snapshot(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class LookRequest:
    """A picture that the CNN is asked to look at.

    number: of the frame, counted by its camera. picture (h, w, 3) uint8 BGR, already as small as the CNN will see it.
    scale: (x, y) by which boxes in the picture are multiplied to be boxes in the frame. value: what the look is expected to put
    right, in wrong labels, weighted by the camera's weight. cost: in CPU ms here. since: when the frame arrived. crops (k, 4) int32
    xyxy in pixels of the picture: looked at in place of the whole; None for the whole.
    """

    camera: str
    number: int
    picture: U8
    scale: Point
    value: float
    cost: float
    since: float
    crops: I32 | None = None


@dataclass(frozen=True, slots=True)
class LookAnswer:
    """objects: in pixels of the frame; None where the look was dropped before it was run. why: of that.
    queue_ms, cnn_ms: how long it waited, and the CNN's CPU time."""

    camera: str
    number: int
    objects: Objects | None
    why: str = ""
    queue_ms: float = 0.0
    cnn_ms: float = 0.0


class Looker(Protocol):
    """The way to the shared CNN. Neither call blocks. A newer request of a camera replaces one that has not begun; every
    request is answered once."""

    def ask(self, request: LookRequest) -> None: ...

    def answers(self, camera: str) -> list[LookAnswer]: ...


@dataclass(frozen=True, slots=True)
class LiveLabels:
    """A record on its way out. labels: `source` is the camera's name, `frame_index` counts from when its process began,
    `time_s` is the unix time at which the packet arrived. since: the same moment by the monotonic clock."""

    labels: FrameLabels
    since: float


@dataclass(frozen=True, slots=True)
class CameraEvent:
    """Something that happened to a track. place: name of the zone or line, empty for new, update and gone. dwell_s: how long
    the track has been in the zone, or has been there at all."""

    camera: str
    kind: EventKind
    at: float
    frame_index: int
    track_id: int
    label: str
    place: str = ""
    dwell_s: float = 0.0
    xyxy: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of durations. counts[i]: at most bounds_ms[i] and more than the bound before; the last one: above all bounds."""

    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]
    total_ms: float


@dataclass(frozen=True, slots=True)
class CameraReport:
    """How a camera is doing now; plain values, as they cross processes and go to Redis, /metrics and the page.

    epoch: unix ms at which its process began. message: one sentence on its state, secrets masked. counts: by the names above.
    waiting: records in the spool, spool_bytes their size. level: 0 for normal, more the cheaper it has been made, with what
    that means in level_name. lag_s: age of the oldest packet that waits. cpu_s: CPU that its process has used. price: of error, NaN
    for a policy without one. publish, queue, cnn: histograms. rungs: of the last frames, oldest first, numbers of `Origin`.
    """

    name: str
    epoch: int
    state: State
    message: str = ""
    since: float = 0.0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    spool_bytes: int = 0
    level: int = 0
    level_name: str = ""
    lag_s: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    price: float = float("nan")
    policy: str = ""
    audits: AuditSums = field(default_factory=AuditSums)
    publish: Histogram | None = None
    queue: Histogram | None = None
    cnn: Histogram | None = None
    rungs: bytes = b""
    tracks: int = 0


@dataclass(frozen=True, slots=True)
class MachineReport:
    """How the whole is doing. cpus: the budget. cpu: cores in use by all our processes; cnn: by the CNN alone. pool_waiting: requests
    that wait. redis: one sentence, empty while it answers. heard: `time.monotonic()` at which the supervisor last made its
    round, 0 where it does not say; /healthz fails when that is long ago."""

    epoch: int
    cpus: float
    cpu: float
    cnn: float
    rss_bytes: int
    pool_waiting: int = 0
    looks: int = 0
    looks_dropped: int = 0
    restarts: int = 0
    redis: str = ""
    is_ready: bool = False
    heard: float = 0.0


class Board(Protocol):
    """What /metrics, the page and `everyframe status` read. Calls return at once with what was last heard."""

    def machine(self) -> MachineReport: ...

    def cameras(self) -> Sequence[CameraReport]: ...

    def events(self, after: int) -> tuple[int, Sequence[CameraEvent]]:
        """Events numbered above `after`, and the number of the last: some hundred are kept."""
        ...

    def picture(self, camera: str) -> bytes | None:
        """The camera's latest picture with its boxes as JPEG, drawn because somebody looks; None where there is none."""
        ...
