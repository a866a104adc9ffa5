"""Half an hour of four cameras with a fault a minute: do the books balance, does anything grow?

python benchmarks/soak.py --minutes 30 --write          31 minutes

Faults take turns: a camera killed, a camera silent, Redis killed, Redis frozen, a camera's process killed, the CNN's process killed,
the YAML changed. RSS, file descriptors and threads are those of all processes of everyframe, from the sixth minute on
against the last one, each a median over a minute.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import CLIPS, markdown, model_of, need_data, number, parser, publish, tell
from live_common import RtspServer, Watched, need_rtsp, raw, resources, watched, work_folder
from processes import below
from redisserver import RedisServer
from watching import check_stream, entries

FOUR = ("highway_ip", "street", "office_ip", "freeway_ip")
SILENT_S = 15.0
BEGIN_SHARE = 1 / 6
"""Of the time, before growth is measured: caches fill."""


class Soak:
    """The cameras, Redis, and a running watch; `faults` in the order of their turns."""

    def __init__(
        self, running: Watched, cameras: dict[str, RtspServer], server: RedisServer, config: Path
    ) -> None:
        self._running, self._server, self._config = running, server, config
        self._cameras = cameras
        self._turn = 0
        self.killed = 0
        self.faults: list[Callable[[RtspServer], None]] = [
            self.camera_killed, self.camera_silent, self.redis_killed, self.redis_frozen, self.process_killed,
            self.cnn_killed, self.config_changed,
        ]  # fmt: skip

    def next(self) -> str:
        fault = self.faults[self._turn % len(self.faults)]
        fault(list(self._cameras.values())[self._turn % len(self._cameras)])
        self._turn += 1
        return fault.__name__.replace("_", " ")

    def camera_killed(self, camera: RtspServer) -> None:
        camera.kill()
        time.sleep(5)
        camera.start()

    def camera_silent(self, camera: RtspServer) -> None:
        camera.pause()
        time.sleep(SILENT_S)
        camera.resume()

    def redis_killed(self, _: RtspServer) -> None:
        self._server.kill()
        time.sleep(10)
        self._server.start()

    def redis_frozen(self, _: RtspServer) -> None:
        self._server.signal(signal.SIGSTOP)
        time.sleep(SILENT_S)
        self._server.signal(signal.SIGCONT)

    def process_killed(self, _: RtspServer) -> None:
        self._kill("ray::CameraActor")
        self.killed += 1

    def cnn_killed(self, _: RtspServer) -> None:
        self._kill("ray::DetectorActor")

    def config_changed(self, _: RtspServer) -> None:
        text = self._config.read_text()
        self._config.write_text(
            text.replace("weight: 1}", "weight: 2}")
            if "weight: 1}" in text
            else text.replace("weight: 2}", "weight: 1}")
        )
        self.killed += len(self._cameras)  # started anew, though not killed: frame numbers begin again

    def _kill(self, name: str) -> None:
        for pid in below(self._running.process.pid):
            is_it = name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
            if is_it and (
                b"/ledger" in Path(f"/proc/{pid}/maps").read_bytes() or "Detector" in name
            ):  # no spare one
                os.kill(pid, signal.SIGKILL)
                return


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--minutes", type=float, default=30.0)
    made.add_argument("--every", type=float, default=60.0, help="seconds from one fault to the next")
    options = made.parse_args()
    need_data()
    need_rtsp()
    model = model_of(options)
    with work_folder() as folder, RedisServer(folder / "redis") as server:
        cameras = {
            name: RtspServer(raw(CLIPS[name].path, folder / f"{name}.264", options.limit)) for name in FOUR
        }
        config = folder / "cameras.yaml"
        rows = "".join(f"  - {{name: {name}, url: '{c.url}', weight: 1}}\n" for name, c in cameras.items())
        config.write_text(f"read_timeout_s: 5\nretain: 24h\ncameras:\n{rows}")
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
        try:
            with watched(folder, *arguments, engine="ray") as running:
                soak = Soak(running, cameras, server, config)
                samples, done = endure(running, soak, options.minutes * 60, options.every)
                time.sleep(30)
                ended = running.check(running.stop())
        finally:
            for camera in cameras.values():
                camera.close()
        text = told(samples, done, ended, server, soak.killed)
    publish("soak", text, options.write)


def endure(
    running: Watched, soak: Soak, seconds: float, every: float
) -> tuple[list[dict[str, float]], list[str]]:
    """Samples once a second, and the faults that were made."""
    running.published(20, seconds=300)
    began, due = time.monotonic(), time.monotonic() + every
    samples: list[dict[str, float]] = []
    faults: list[str] = []
    while (now := time.monotonic()) < began + seconds:
        assert running.is_up()
        samples.append({"at": now - began, **resources(below(running.process.pid))})
        if now >= due:
            due += every
            faults.append(soak.next())
            tell(f"{now - began:.0f} s: {faults[-1]}, {samples[-1]['rss'] / 1e6:.0f} MB")
        time.sleep(1.0)
    return samples, faults


def told(
    samples: list[dict[str, float]],
    faults: list[str],
    ended: dict[str, Any],
    server: RedisServer,
    restarts: int,
) -> str:
    for name, camera in ended.items():
        holes = sum(n for key, n in camera["counts"].items() if key.startswith("dropped."))
        check_stream(entries(server.url, name), lives=restarts + 1, holes=holes)
    last = samples[-1]["at"]
    early = [s for s in samples if BEGIN_SHARE * last <= s["at"] < BEGIN_SHARE * last + 60]
    late = [s for s in samples if s["at"] > last - 60]
    rows = []
    for key, form, size in (("rss", ".0f", 1e6), ("fds", ".0f", 1), ("threads", ".0f", 1)):
        a, b = (statistics.median(s[key] for s in part) / size for part in (early, late))
        rows.append(
            [
                {"rss": "RSS, MB", "fds": "file descriptors", "threads": "threads"}[key],
                number(a, form),
                number(b, form),
                f"{100 * (b / a - 1):+.1f} %",
            ]
        )
    growth = markdown(("", "after the start", "at the end", "growth"), rows)
    books = [
        [name, *(str(c["counts"].get(key, 0)) for key in ("received", "published")), str(c["waiting"]),
         ", ".join(f"{key[8:]} {n}" for key, n in sorted(c["counts"].items()) if key.startswith("dropped.")) or "-",
         str(c["counts"].get("spooled", 0)), str(c["counts"].get("reconnects", 0))]
        for name, c in ended.items()
    ]  # fmt: skip
    table = markdown(
        ("camera", "received", "published", "waiting", "dropped", "went by the spool", "reconnects"), books
    )
    return f"{len(faults)} faults in {last / 60:.0f} minutes; received = published + waiting + dropped for each camera.\n\n{table}\n\n{growth}"


if __name__ == "__main__":
    main()
