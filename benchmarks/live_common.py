"""What the benchmarks of live cameras share: clips as raw streams, an RTSP server, a running `everyframe watch`, its figures."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "live")]

from processes import stat
from rtsp import RtspServer, missing
from watching import Watched, wait_for, watched

from everyframe.operators.detectors.coco import NAMES
from everyframe.operators.types import Objects

__all__ = ["RtspServer", "Watched", "need_rtsp", "on_core", "raw", "row_of", "scaled", "wait_for", "watched", "work_folder"]


def need_rtsp() -> None:
    """Ends the script where there can be no RTSP server."""
    if why := missing():
        sys.exit(why)


@contextmanager
def work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as folder:
        yield Path(folder)


def raw(clip: Path, target: Path, frames: int | None = None) -> Path:
    """The clip as a raw H.264 stream, not coded anew: what the RTSP server plays for ever."""
    with av.open(str(clip)) as source, av.open(str(target), "w", format="h264") as output:
        video = source.streams.video[0]
        stream = output.add_stream_from_template(video)
        for number, packet in enumerate(source.demux(video)):
            if packet.dts is None or number == frames:
                break
            packet.stream = stream
            output.mux(packet)
    return target


def scaled(
    clip: Path, target: Path, size: tuple[int, int], rate: int = 25, frames: int | None = None
) -> Path:
    """The clip coded anew as a camera would: this size and rate, a key frame every two seconds, no B frames. target: .mp4, or .264 for the RTSP server."""
    options = {"preset": "veryfast", "threads": "1", "g": str(2 * rate), "bf": "0", "refs": "1", "crf": "24"}
    with av.open(str(clip)) as source, av.open(str(target), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            picture = cv2.resize(frame.to_ndarray(format="bgr24"), size, interpolation=cv2.INTER_AREA)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return target


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """This process, and threads and processes that begin meanwhile, on one core; None for no change."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def row_of(objects: Objects) -> bytes:
    """Objects as a field of a record that a user would write."""
    return str(
        [[NAMES[c], *box] for c, box in zip(objects.class_id, objects.xyxy.tolist(), strict=True)]
    ).encode()


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds that these processes have used, those of children that ended left out."""
    ticks = 0
    for pid in pids:
        if fields := stat(pid):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resources(pids: Sequence[int]) -> dict[str, int]:
    """rss (bytes), fds and threads of these processes together."""
    found = {"rss": 0, "fds": 0, "threads": 0}
    for pid in pids:
        try:
            found["rss"] += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
                "SC_PAGE_SIZE"
            )
            found["fds"] += len(os.listdir(f"/proc/{pid}/fd"))
            found["threads"] += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue
    return found


def machine(running: Watched) -> dict[str, Any]:
    status = running.status()
    return {} if status is None else status["machine"]
