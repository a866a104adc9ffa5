"""How many cameras, 640x360 at 25 fps, one core labels at an accuracy, against a loop that looks at every n-th frame and holds
its labels, at the longest stride that reaches the same accuracy.

python benchmarks/cameras_per_core.py --runtime auto --precision auto --write          about 25 minutes

Ours: `everyframe watch --engine local` held on one core, one camera more after the other as long as nothing is dropped and no camera
has been made cheaper for more than a tenth of the time. F1 at IoU 0.5 against the CNN on every frame, of what was published. Each
policy is tried; what carries most cameras counts. The loop: one process on the same core, a thread for each camera, which decodes
frames as they are due and publishes a record of each to Redis; how many it could carry is reckoned from the CPU that it uses, in its
favour. "By its CPU" is the same reckoning for ours.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import redis as redis_client
from common import CLIPS, add_clips, markdown, model_of, need_data, number, parser, publish, tell
from live_common import on_core, row_of, scaled, watched, work_folder
from redisserver import RedisServer

from everyframe.operators.detectors import coco
from everyframe.operators.types import Objects
from everyframe.pipeline.costs.measure import open_detector
from everyframe.pipeline.metrics import agree, group_table, select
from everyframe.pipeline.settings import ModelSettings
from everyframe.pipeline.sinks.entries import from_fields, stream_key

SIZE, RATE = (640, 360), 25
GROUPS = group_table(coco.SUPERCATEGORY)
CORE = 0
WARM_S = 15.0
STRIDES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)


class Dense:
    """The CNN on every frame of a clip."""

    def __init__(self, clip: Path, model: ModelSettings) -> None:
        detector = open_detector(model, *SIZE)
        detector.detect(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
        self.pts: list[int] = []
        self.labels: list[Objects] = []
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                self.labels.append(detector.detect(frame.to_ndarray(format="bgr24")))
                self.pts.append(frame.pts)

    def f1(self, found: list[Objects], frames: list[int], conf: float = 0.45) -> float:
        return agree(
            [select(o, score=conf) for o in found],
            [select(self.labels[n], score=conf) for n in frames],
            GROUPS,
        ).f1

    def stride(self, least: float) -> tuple[int, float]:
        """The longest stride that reaches an F1, with its labels held, and that F1. Every frame where none does."""
        best = (1, 1.0)
        for stride in STRIDES:
            frames = list(range(len(self.labels)))
            f1 = self.f1([self.labels[n - n % stride] for n in frames], frames)
            best = (stride, f1) if f1 >= least else best
        return best


class Loop:
    """The loop that a user would write, for `count` cameras; a thread of each. Its records are smaller than ours."""

    def __init__(self, clip: Path, stride: int, url: str, model: ModelSettings) -> None:
        self._clip, self._stride, self._url = clip, stride, url
        self._detector = open_detector(model, *SIZE)
        self._detector.detect(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
        self._looks = threading.Lock()
        self._stop = threading.Event()

    def cores(self, count: int, seconds: float) -> float:
        """CPU that it uses for so many cameras, by the wall clock."""
        threads = [threading.Thread(target=self._watch, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        time.sleep(3.0)
        spent, began = time.process_time(), time.monotonic()
        time.sleep(seconds)
        spent, wall = time.process_time() - spent, time.monotonic() - began
        self._stop.set()
        for thread in threads:
            thread.join()
        return spent / wall

    def _watch(self, camera: int) -> None:
        began, shown = time.monotonic() + 0.01 * camera, 0
        with redis_client.Redis.from_url(self._url) as client:
            while not self._stop.is_set():
                with av.open(str(self._clip)) as container:
                    stream = container.streams.video[0]
                    stream.codec_context.thread_count = 1
                    for frame in container.decode(stream):
                        if shown % self._stride == 0:
                            with self._looks:
                                labels = row_of(self._detector.detect(frame.to_ndarray(format="bgr24")))
                        client.xadd(f"loop-{camera}", {"pts": frame.pts or 0, "objects": labels}, maxlen=1000)
                        shown += 1
                        if self._stop.wait(max(began + shown / RATE - time.monotonic(), 0.0)):
                            return


def ours(clip: Path, count: int, policy: str, options: Any, folder: Path, dense: Dense) -> dict[str, float]:
    """One run with so many cameras."""
    model = model_of(options)
    config = folder / "cameras.yaml"
    folder.mkdir()
    rows = "".join(f"  - {{name: c{n}, url: {clip}, realtime: true, loop: true}}\n" for n in range(count))
    config.write_text(f"policy: '{policy}'\ncpus: 1\ncameras:\n{rows}")
    with RedisServer(folder / "redis") as server:
        arguments = (
            "--config",
            str(config),
            "--redis",
            server.url,
            "--runtime",
            model.runtime,
            "--precision",
            model.precision,
        )
        with watched(folder, *arguments, prefix=("taskset", "-c", str(CORE))) as running:
            running.published(20 * count, seconds=300)
            time.sleep(WARM_S)
            cheaper, cpu, lags = [], [], []
            until = time.monotonic() + options.seconds
            while time.monotonic() < until:
                status = running.status()
                if status is not None:
                    cheaper.append(any(c["level"] > 0 for c in status["cameras"]))
                    cpu.append(status["machine"]["cpu"])
                    lags.append(max(c["lag_s"] for c in status["cameras"]))
                time.sleep(1.0)
            ended = running.check(running.stop())
        f1 = published_f1(server, count, dense)
    lost = sum(n for c in ended.values() for key, n in c["counts"].items() if key.startswith("dropped."))
    return {
        "cheaper": float(np.mean(cheaper)),
        "cpu": float(np.mean(cpu)),
        "lag": max(lags),
        "lost": lost,
        "f1": f1,
    }


def published_f1(server: RedisServer, count: int, dense: Dense) -> float:
    """Of all records of all cameras that are in Redis, those of the first second left out."""
    number_of = {pts: n for n, pts in enumerate(dense.pts)}
    found, frames = [], []
    with redis_client.Redis.from_url(server.url) as client:
        for n in range(count):
            entries: Any = client.xrange(stream_key(f"c{n}"))
            for _, fields in entries[RATE:]:
                record = from_fields(fields)
                if record["pts"] in number_of:
                    rows = record["objects"]
                    boxes = np.array([o["xyxy"] for o in rows], np.float32).reshape(-1, 4)
                    found.append(Objects.of(boxes, [o["score"] for o in rows], [o["class_id"] for o in rows]))
                    frames.append(number_of[record["pts"]])
    return dense.f1(found, frames)


def most(clip: Path, options: Any, folder: Path, dense: Dense) -> tuple[int, str, dict[str, float]]:
    """The most cameras that a policy carries, which, and its figures."""
    best: tuple[int, str, dict[str, float]] = (0, "-", {"f1": options.least, "cpu": float("nan")})
    for policy in options.policy:
        for count in options.counts:
            name = f"{clip.stem}-{policy.replace(':', '-')}-{count}"
            found = ours(clip, count, policy, options, folder / name, dense)
            tell(f"{clip.stem}, {policy}, {count} cameras: {found}")
            if found["lost"] or found["cheaper"] > 0.1 or found["f1"] < options.least:
                break
            if count > best[0]:
                best = count, policy, found
    return best


def main() -> None:
    made = parser(__doc__ or "")
    add_clips(made, "street, office_ip and highway_ip")
    made.add_argument("--policy", nargs="+", default=["motion", "stride:12"])
    made.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    made.add_argument("--counts", type=int, nargs="+", default=[4, 8, 12, 16, 20, 24, 32])
    made.add_argument("--least", type=float, default=0.85, help="F1")
    options = made.parse_args()
    need_data()
    cv2.setNumThreads(1)
    rows = []
    with work_folder() as folder:
        for name in options.clip or ("street", "office_ip", "highway_ip"):
            clip = scaled(CLIPS[name].path, folder / f"{name}.mp4", SIZE, RATE, options.limit)
            dense = Dense(clip, model_of(options))
            count, policy, found = most(clip, options, folder, dense)
            stride, loop_f1 = dense.stride(found["f1"])
            with ExitStack() as stack:
                stack.enter_context(on_core(CORE))
                server = stack.enter_context(RedisServer(folder / f"redis-{name}"))
                cameras = min(options.counts)
                loop = Loop(clip, stride, server.url, model_of(options))
                by_loop = cameras / loop.cores(cameras, options.seconds)
            rows.append(
                [
                    name, str(count), policy, number(found["f1"]), number(count / found["cpu"], ".1f"), number(by_loop, ".1f"),
                    f"{stride} ({loop_f1:.3f})", number(count / by_loop, ".1f"),
                ]
            )  # fmt: skip
    heads = ("clip", "cameras, ours", "policy", "F1", "by its CPU", "cameras, loop", "its stride (F1)", "ratio")
    publish("cameras per core", markdown(heads, rows), options.write)


if __name__ == "__main__":
    main()
