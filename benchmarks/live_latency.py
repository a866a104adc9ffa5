"""How long after a packet's arrival its frame's labels are in Redis: one 720p camera at 25 fps, the CNN busy all the time,
against a loop that decodes a frame, runs the CNN on it, publishes it, and takes the next one.

python benchmarks/live_latency.py --write          about 4 minutes

Both sides take turns, with the same runtime. The loop's latency is reckoned from when a frame is due by its own time: what it
has not read waits in the socket.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import redis as redis_client
from common import CLIPS, markdown, model_of, need_data, number, parser, publish, tell
from live_common import RtspServer, need_rtsp, scaled, watched, work_folder
from redisserver import RedisServer

from everyframe.operators.detectors.coco import NAMES
from everyframe.operators.types import Objects
from everyframe.pipeline.costs import open_detector
from everyframe.pipeline.settings import ModelSettings

SIZE, RATE = (1280, 720), 25
BEGIN_S = 5.0
"""Left out: connections, first looks."""


def ours(
    url: str, server: RedisServer, folder: Path, model: ModelSettings, seconds: float
) -> dict[str, float]:
    """Quantiles of the publish latency, and what the CNN did meanwhile."""
    options = (
        "--policy",
        "dense",
        "--runtime",
        model.runtime,
        "--precision",
        model.precision,
        "--redis",
        server.url,
    )
    with watched(folder, url, *options, engine="ray") as running:
        running.published(1)
        time.sleep(BEGIN_S)
        before, began = next(iter(running.cameras().values())), time.monotonic()
        looks = running.status()["machine"]["looks"]  # type: ignore[index]
        time.sleep(seconds)
        after, wall = next(iter(running.cameras().values())), time.monotonic() - began
        done = running.status()["machine"]["looks"] - looks  # type: ignore[index]
        running.check(running.stop())
    counts = np.subtract(after["publish"]["counts"], before["publish"]["counts"])
    cnn_ms = after["cnn"]["total_ms"] - before["cnn"]["total_ms"]
    return {
        "p50": quantile(counts, after["publish"]["bounds_ms"], 0.5),
        "p99": quantile(counts, after["publish"]["bounds_ms"], 0.99),
        "fps": float(counts.sum()) / wall,
        "looks": done / wall,
        "busy": cnn_ms / 1e3 / wall,
        "behind": after["lag_s"],
    }


def quantile(counts: Any, bounds: list[float], share: float) -> float:
    """The upper bound of the bucket in which it lies: no better than it is."""
    reached = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return bounds[reached] if reached < len(bounds) else float("inf")


def dense(url: str, server: RedisServer, model: ModelSettings, seconds: float) -> dict[str, float]:
    """The loop that a user would write. Its records are smaller than ours, which is in its favour."""
    detector = open_detector(model, *SIZE)
    detector.detect(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    client = redis_client.Redis.from_url(server.url)
    late: list[float] = []
    first: tuple[float, float] | None = None
    looks = 0
    with av.open(url, options={"rtsp_transport": "tcp"}, timeout=(10, 10)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
        for frame in container.decode(stream):
            came = time.monotonic()
            objects = detector.detect(frame.to_ndarray(format="bgr24"))
            client.xadd("dense", {"pts": frame.pts or 0, "objects": row_of(objects)})
            looks += 1
            now, due = time.monotonic(), float((frame.pts or 0) * stream.time_base)
            if first is None:
                first = came, due
            late.append(now - first[0] - (due - first[1]))
            if now - first[0] > seconds + BEGIN_S:
                break
    steady = np.array(late[len(late) // 6 :]) * 1e3
    wall = seconds + BEGIN_S
    p50, p99 = np.percentile(steady, (50, 99))
    return {
        "p50": p50,
        "p99": p99,
        "fps": looks / wall,
        "looks": looks / wall,
        "busy": float("nan"),
        "behind": late[-1],
    }


def row_of(objects: Objects) -> bytes:
    return str(
        [[NAMES[c], *box] for c, box in zip(objects.class_id, objects.xyxy.tolist(), strict=True)]
    ).encode()


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--seconds", type=float, default=30.0, help="of each turn")
    made.add_argument("--turns", type=int, default=2)
    options = made.parse_args()
    need_data()
    need_rtsp()
    cv2.setNumThreads(1)
    model = model_of(options)
    found: dict[str, list[dict[str, float]]] = {"everyframe watch": [], "a dense loop": []}
    with work_folder() as folder, RedisServer(folder / "redis") as server:
        clip = scaled(CLIPS["freeway720"].path, folder / "clip.264", SIZE, RATE, options.limit)
        with RtspServer(clip, RATE) as camera:
            for turn in range(options.turns):
                tell(f"turn {turn + 1}: watch")
                found["everyframe watch"].append(
                    ours(camera.url, server, folder / f"w{turn}", model, options.seconds)
                )
                tell(f"turn {turn + 1}: dense loop")
                found["a dense loop"].append(dense(camera.url, server, model, options.seconds))
    rows = []
    for name, turns in found.items():
        mean = {key: float(np.mean([turn[key] for turn in turns])) for key in turns[0]}
        worst = max(turn["p99"] for turn in turns)
        rows.append([
            name, number(mean["p50"], ".0f"), number(worst, ".0f"), number(mean["fps"], ".1f"),
            number(mean["looks"], ".1f"), number(mean["behind"], ".1f"),
        ])  # fmt: skip
    heads = ("", "p50 ms", "p99 ms", "frames/s labelled", "looks/s", "s behind at the end")
    publish("live latency", markdown(heads, rows), options.write)


if __name__ == "__main__":
    main()
