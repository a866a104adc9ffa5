"""How long after a packet's arrival its frame's labels are in Redis: 720p cameras at 25 fps, the CNN busy all the time, against
a loop that decodes a frame, runs the CNN on it, publishes it, and takes the next one.

python benchmarks/live_latency.py --write          about 6 minutes

Both sides take turns, with the same runtime and the same cameras. Both clocks start when a packet has come out of the socket: the
loop gets a thread that only reads packets and notes when they came, so it never lets the camera wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import redis as redis_client
from common import CLIPS, markdown, model_of, need_data, number, parser, publish, tell
from live_common import RtspServer, need_rtsp, on_core, row_of, scaled, wait_for, watched, work_folder
from redisserver import RedisServer

from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.settings import ModelSettings

SIZE, RATE = (1280, 720), 25
BEGIN_S = 5.0
"""Left out: connections, first looks."""
CASES: tuple[tuple[int, int | None], ...] = ((1, None), (2, 0))
"""Cameras, and the core that all of a side must share; None for the whole machine."""
Figures = dict[str, float]


def ours(
    urls: Sequence[str], core: int | None, server: RedisServer, folder: Path, model: ModelSettings, seconds: float
) -> Figures:
    """Quantiles of the publish latency of all cameras, and what the CNN did meanwhile."""
    options = (
        "--policy", "dense", "--runtime", model.runtime, "--precision", model.precision, "--redis", server.url,
    )  # fmt: skip
    prefix = () if core is None else ("taskset", "-c", str(core))
    engine = "ray" if core is None else "local"  # on one core, threads cost less than processes
    with watched(folder, *urls, *options, engine=engine, prefix=prefix) as running:
        running.published(1, seconds=300)
        wait_for(lambda: all(c["counts"].get("published") for c in running.cameras().values()), 300, "all cameras")
        time.sleep(BEGIN_S)
        before, began = running.status(), time.monotonic()
        time.sleep(seconds)
        after, wall = running.status(), time.monotonic() - began
        running.check(running.stop())
    assert before is not None and after is not None
    counts: Any = np.zeros(1, np.int64)
    for old, new in zip(before["cameras"], after["cameras"], strict=True):
        counts = counts + np.subtract(new["publish"]["counts"], old["publish"]["counts"])
    bounds = after["cameras"][0]["publish"]["bounds_ms"]
    return {
        "p50": quantile(counts, bounds, 0.5),
        "p99": quantile(counts, bounds, 0.99),
        "fps": float(counts.sum()) / wall,
        "looks": (after["machine"]["looks"] - before["machine"]["looks"]) / wall,
        "behind": max(camera["lag_s"] for camera in after["cameras"]),
    }


def quantile(counts: Any, bounds: list[float], share: float) -> float:
    """The upper bound of the bucket in which it lies: no better than it is."""
    reached = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return bounds[reached] if reached < len(bounds) else float("inf")


class Reader:
    """Packets of a camera with when they came, read on a thread of their own; unbounded, as a run is short."""

    def __init__(self, url: str) -> None:
        self.came: deque[tuple[float, av.Packet]] = deque()
        self._stop = threading.Event()
        self._container = av.open(url, options={"rtsp_transport": "tcp"}, timeout=(10, 10))
        self.stream = self._container.streams.video[0]
        self.stream.thread_type, self.stream.codec_context.thread_count = "SLICE", 1
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for packet in self._container.demux(self.stream):
            self.came.append((time.monotonic(), packet))
            if self._stop.is_set():
                return

    def close(self) -> None:
        self._stop.set()
        self._thread.join(15)
        self._container.close()


def dense(urls: Sequence[str], core: int | None, server: RedisServer, model: ModelSettings, seconds: float) -> Figures:
    """The loop that a user would write, over all cameras in turn. Its records are smaller than ours, which is in its favour."""
    with on_core(core), ExitStack() as stack:
        detector = open_detector(model, *SIZE)
        detector.detect(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
        client = stack.enter_context(redis_client.Redis.from_url(server.url))
        readers = [Reader(url) for url in urls]
        for reader in readers:
            stack.callback(reader.close)
        done: list[tuple[float, float]] = []
        began = time.monotonic()
        while time.monotonic() < began + BEGIN_S + seconds:
            waiting = [reader for reader in readers if reader.came]
            if not waiting:
                time.sleep(0.001)
                continue
            reader = min(waiting, key=lambda one: one.came[0][0])
            came, packet = reader.came.popleft()
            for frame in reader.stream.codec_context.decode(packet):
                objects = detector.detect(frame.to_ndarray(format="bgr24"))
                client.xadd("dense", {"pts": frame.pts or 0, "objects": row_of(objects)})
                done.append((time.monotonic(), came))
        behind = max((time.monotonic() - reader.came[0][0] for reader in readers if reader.came), default=0.0)
    steady = np.array([(now - came) * 1e3 for now, came in done if now >= began + BEGIN_S])
    p50, p99 = np.percentile(steady, (50, 99)) if len(steady) else (np.inf, np.inf)
    rate = len(steady) / seconds
    return {"p50": float(p50), "p99": float(p99), "fps": rate, "looks": rate, "behind": behind}


def measured(clip: Path, server: RedisServer, folder: Path, options: Any) -> list[list[str]]:
    """A row for each side of each case."""
    model, rows = model_of(options), []
    for count, core in CASES:
        found: dict[str, list[Figures]] = {"everyframe watch": [], "a dense loop": []}
        with ExitStack() as stack:
            urls = [stack.enter_context(RtspServer(clip, RATE)).url for _ in range(count)]
            for turn in range(options.turns):
                tell(f"{count} cameras, turn {turn + 1}: watch")
                here = folder / f"{count}-{turn}"
                found["everyframe watch"].append(ours(urls, core, server, here, model, options.seconds))
                tell(f"{count} cameras, turn {turn + 1}: dense loop")
                found["a dense loop"].append(dense(urls, core, server, model, options.seconds))
        where = f"{count}, {'the machine' if core is None else 'one core'}"
        rows += [row_for(where, name, turns) for name, turns in found.items()]
    return rows


def row_for(where: str, name: str, turns: list[Figures]) -> list[str]:
    mean = {key: float(np.mean([turn[key] for turn in turns])) for key in turns[0]}
    worst = max(turn["p99"] for turn in turns)
    return [
        where, name, number(mean["p50"], ".0f"), number(worst, ".0f"), number(mean["fps"], ".1f"),
        number(mean["looks"], ".1f"), number(mean["behind"], ".1f"),
    ]  # fmt: skip


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--seconds", type=float, default=30.0, help="of each turn")
    made.add_argument("--turns", type=int, default=2)
    options = made.parse_args()
    need_data()
    need_rtsp()
    cv2.setNumThreads(1)
    with work_folder() as folder, RedisServer(folder / "redis") as server:
        clip = scaled(CLIPS["freeway720"].path, folder / "clip.264", SIZE, RATE, options.limit)
        rows = measured(clip, server, folder, options)
    heads = ("cameras", "", "p50 ms", "p99 ms", "frames/s labelled", "looks/s", "s behind at the end")
    publish("live latency", markdown(heads, rows), options.write)


if __name__ == "__main__":
    main()
