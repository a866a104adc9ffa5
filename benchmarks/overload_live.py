"""Two minutes in which there is half the CPU that the cameras need: does anything grow, is a connection lost, how soon is it over?

python benchmarks/overload_live.py --write          about 5 minutes

All of it is held on one core, at about 70 % of it. Then other programs take two thirds of that core away, and stop.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common import CLIPS, markdown, model_of, need_data, number, parser, publish, tell
from live_common import RtspServer, Watched, need_rtsp, raw, resources, watched, work_folder
from processes import below
from redisserver import RedisServer
from watching import check_stream, entries

CORE = "0"
BURNERS = 2
AIM = 0.7
CALIBRATE_S, CALM_S, AFTER_S = 20.0, 20.0, 60.0


@contextmanager
def burning() -> Iterator[None]:
    """Programs that take a share of the core each."""
    command = ["taskset", "-c", CORE, sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(command) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def sample(running: Watched, began: float) -> dict[str, Any]:
    status = running.status() or {"cameras": [], "machine": {"cpu": 0.0}}
    cameras = status["cameras"]
    return {
        "at": time.monotonic() - began,
        "level": max((c["level"] for c in cameras), default=0),
        "lag": max((c["lag_s"] for c in cameras), default=0.0),
        "rss": resources(below(running.process.pid))["rss"],
        "reconnects": sum(c["counts"].get("reconnects", 0) for c in cameras),
        "cpu": status["machine"]["cpu"],
    }


def sampled(running: Watched, began: float, seconds: float) -> list[dict[str, Any]]:
    found = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found.append(sample(running, began))
        time.sleep(1.0)
    return found


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--seconds", type=float, default=120.0, help="of overload")
    made.add_argument("--cameras", type=int, default=2)
    options = made.parse_args()
    need_data()
    need_rtsp()
    model = model_of(options)
    extra = (
        "--runtime",
        model.runtime,
        "--precision",
        model.precision,
        "--policy",
        "stride:50",
        "--cpus",
        "1",
    )
    with work_folder() as folder, RedisServer(folder / "redis") as server:
        clip = raw(CLIPS["street"].path, folder / "clip.264", options.limit)
        prefix = ("taskset", "-c", CORE)
        rate = calibrated(clip, folder, server, extra, options.cameras, prefix)
        tell(f"{options.cameras} cameras at {rate} frames/s")
        servers = [RtspServer(clip, rate) for _ in range(options.cameras)]
        try:
            with watched(
                folder / "run", *(s.url for s in servers), *extra, "--redis", server.url, prefix=prefix
            ) as running:
                running.published(20, seconds=300)
                began = time.monotonic()
                before = sampled(running, began, CALM_S)
                with burning():
                    during = sampled(running, began, options.seconds)
                after = sampled(running, began, AFTER_S)
                cameras = running.check(running.stop())
        finally:
            for camera in servers:
                camera.close()
        for name, camera in cameras.items():
            holes = sum(n for key, n in camera["counts"].items() if key.startswith("dropped."))
            check_stream(entries(server.url, name), lives=2, holes=holes)  # one of them was measured by
    publish("live overload", told(before, during, after, cameras), options.write)


def calibrated(
    clip: Any, folder: Any, server: RedisServer, extra: tuple[str, ...], count: int, prefix: tuple[str, ...]
) -> int:
    """Frames a second at which the cameras take about the wanted share of the core."""
    rate = 25
    cameras = [RtspServer(clip, rate) for _ in range(count)]
    try:
        with watched(
            folder / "calibrate", *(c.url for c in cameras), *extra, "--redis", server.url, prefix=prefix
        ) as running:
            running.published(20, seconds=300)
            used = [s["cpu"] for s in sampled(running, time.monotonic(), CALIBRATE_S)][-5:]
            running.check(running.stop())
    finally:
        for camera in cameras:
            camera.close()
    return max(round(rate * AIM / (sum(used) / len(used))), rate)


def told(
    before: list[dict[str, Any]],
    during: list[dict[str, Any]],
    after: list[dict[str, Any]],
    cameras: dict[str, Any],
) -> str:
    end = during[-1]["at"]
    over = [s["at"] for s in after if s["level"] == 0 and s["lag"] < 0.5]
    back = "not within a minute" if not over else f"{over[0] - end:.0f} s"
    rows = [
        [name, number(max(s["level"] for s in part), ".0f"), number(max(s["lag"] for s in part), ".1f"),
         number(part[0]["rss"] / 1e6, ".0f"), number(part[-1]["rss"] / 1e6, ".0f"), str(part[-1]["reconnects"])]
        for name, part in (("before", before), ("overload", during), ("after", after))
    ]  # fmt: skip
    table = markdown(
        ("", "highest level", "oldest packet, s", "RSS MB at its start", "at its end", "reconnects"), rows
    )
    received = sum(c["counts"].get("received", 0) for c in cameras.values())
    lost = sum(n for c in cameras.values() for key, n in c["counts"].items() if key.startswith("dropped."))
    return f"{table}\n\nBack to normal after {back}. Of {received} frames, {lost} were dropped, all counted."


if __name__ == "__main__":
    main()
