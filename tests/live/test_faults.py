"""The matrix of faults, with real parts. At the end of each: received = published + spooled + dropped by reason, and what
Redis holds is there once, in order, without holes but those that are counted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from redisserver import RedisServer
from watching import QUICK, SMALL, Watched, check_stream, entries, free_port, wait_for, watched

RESTART_S = 20.0
"""5 s are promised; a busy machine gets four times that."""


def dropped(camera: dict[str, Any], *reasons: str) -> int:
    return sum(camera["counts"].get(f"dropped.{reason}", 0) for reason in reasons)


def goes_on(running: Watched, server: RedisServer, more: int = 30) -> None:
    """What waits has gone out, and new records come."""
    published = running.count("published")
    running.published(published + more)
    wait_for(
        lambda: all(camera["waiting"] == 0 for camera in running.cameras().values()), why="an empty spool"
    )
    # Said of the round before, or of the record before the last one: soon, not at once.
    wait_for(lambda: (found := running.status()) and found["machine"]["redis"] == "", why="no trouble")


def raw(clip: Path, target: Path, frames: int = 300) -> Path:
    """The clip's first frames as a raw H.264 stream, which the RTSP server plays for ever."""
    with av.open(str(clip)) as source, av.open(str(target), "w", format="h264") as output:
        video = source.streams.video[0]
        stream = output.add_stream_from_template(video)
        for number, packet in enumerate(source.demux(video)):
            if number == frames or packet.dts is None:
                break
            packet.stream = stream
            output.mux(packet)
    return target


def test_cameras_come_and_go(
    rtsp: Callable[..., Any], data_dir: Path, server: RedisServer, tmp_path: Path
) -> None:
    """Killed, silent, another resolution at the same address; beside it one that refuses and one that wants a password."""
    small = raw(data_dir / "highway" / "highway_ip.mp4", tmp_path / "small.264")
    large = raw(data_dir / "street" / "street.mp4", tmp_path / "large.264")
    camera, guarded = rtsp(small), rtsp(small, login="user:right")
    config = tmp_path / "cameras.yaml"
    urls = {
        "gate": camera.url,
        "away": f"rtsp://127.0.0.1:{free_port()}/clip",
        "shut": guarded.url_with("user:wrong"),
    }
    rows = "".join(f"  - {{name: {name}, url: '{url}'}}\n" for name, url in urls.items())
    config.write_text(f"open_timeout_s: 3\nread_timeout_s: 2\ncameras:\n{rows}")
    with watched(tmp_path, *QUICK, "--config", str(config), "--redis", server.url) as running:

        def comes_back() -> None:
            received = running.count("received", "gate")
            wait_for(lambda: running.count("received", "gate") >= received + 20, why="frames")
            goes_on(running, server, 20)

        running.published(30, "gate")
        camera.kill()
        wait_for(lambda: running.cameras()["gate"]["state"] != "live", why="a lost connection")
        camera.start()
        comes_back()
        camera.pause()
        wait_for(lambda: running.cameras()["gate"]["state"] != "live", why="a silent camera")
        camera.resume()
        comes_back()
        camera.close()
        rtsp(large, port=camera.port)
        wait_for(lambda: running.cameras()["gate"]["width"] == 640, why="the other resolution")
        comes_back()
        states = running.cameras()
        assert states["away"]["state"] != "live" and states["shut"]["state"] != "live"
        assert states["gate"]["counts"]["reconnects"] >= 3 and running.status()["machine"]["restarts"] == 0  # type: ignore[index]
        cameras = running.check(running.stop())
        assert "user:wrong" not in running.words() and "user:right" not in running.words()
    check_stream(entries(server.url, "gate"), holes=dropped(cameras["gate"], "overload"))


def test_redis_comes_and_goes(clip: str, server: RedisServer, tmp_path: Path) -> None:
    """Killed and back with its data, frozen, full, with another password: nothing is lost, doubled or out of order."""
    with watched(tmp_path, clip, *QUICK, "--realtime", "--loop", "--redis", server.url) as running:
        running.published(30)

        server.kill()
        wait_for(lambda: running.count("spooled") >= 20, why="records in the spool")
        assert running.status()["machine"]["redis"]  # type: ignore[index]
        server.start()
        goes_on(running, server)

        server.signal(signal.SIGSTOP)
        spooled = running.count("spooled")
        wait_for(lambda: running.count("spooled") >= spooled + 20, why="records in the spool")
        server.signal(signal.SIGCONT)
        goes_on(running, server)

        server.configure("maxmemory", "1mb")
        spooled = running.count("spooled")
        wait_for(lambda: running.count("spooled") >= spooled + 20, why="records in the spool")
        server.configure("maxmemory", "0")
        goes_on(running, server)

        server.configure("requirepass", "secret")
        server.hang_up("secret")
        spooled = running.count("spooled")
        wait_for(lambda: running.count("spooled") >= spooled + 20, why="records in the spool")
        server.configure("requirepass", "", password="secret")
        goes_on(running, server)

        camera = running.check(running.stop())["street"]
    found = entries(server.url, "street")
    check_stream(found)
    assert len(found) == camera["counts"]["received"] == camera["counts"]["published"]


def test_redis_restarted_empty(clip: str, server: RedisServer, tmp_path: Path) -> None:
    with watched(tmp_path, clip, *QUICK, "--realtime", "--loop", "--redis", server.url) as running:
        running.published(30)
        server.empty()
        server.start()
        goes_on(running, server)
        running.check(running.stop())
    found = entries(server.url, "street")
    assert found and all(a < b for a, b in pairwise(found))


def test_a_start_without_redis(clip: str, server: RedisServer, tmp_path: Path) -> None:
    """It waits for Redis, spools, ends, and the next start publishes what is left."""
    server.kill()
    with watched(tmp_path, clip, *QUICK, "--realtime", "--redis", server.url) as running:
        wait_for(lambda: running.count("spooled") >= 20, why="records in the spool")
        camera = running.check(running.stop())["street"]
        assert camera["waiting"] == camera["counts"]["received"] > 0
    server.start()
    with watched(tmp_path, clip, *QUICK, "--realtime", "--redis", server.url) as running:
        running.published(camera["waiting"] + 20)
        after = running.check(running.stop())["street"]
    found = entries(server.url, "street")
    check_stream(found, lives=2)
    assert len(found) == after["counts"]["published"] == after["counts"]["received"]


ON_A_SMALL_DISK = (
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=96k tmpfs "$0" && exec "$@"',
)
"""Runs a command with a folder on a disk of its own, which is full soon; needs no rights."""


@pytest.mark.parametrize("reason", ["spool_full", "disk"])
def test_a_full_spool_and_a_full_disk(reason: str, clip: str, server: RedisServer, tmp_path: Path) -> None:
    """Redis is away for too long: the oldest records go, or those that the disk refuses, all of them counted."""
    prefix: tuple[str, ...] = ()
    options = ("--spool-mb", "0.05")
    if reason == "disk":
        (tmp_path / "state").mkdir()
        prefix, options = (*ON_A_SMALL_DISK, str(tmp_path / "state")), ()
        if (
            shutil.which("unshare") is None
            or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
        ):
            pytest.skip("no mounts in a user namespace here")
    server.kill()
    arguments = (clip, *QUICK, "--realtime", "--loop", "--redis", server.url, *options)
    with watched(tmp_path, *arguments, prefix=prefix) as running:
        wait_for(lambda: running.count(f"dropped.{reason}") >= 20, why=reason)
        server.start()
        goes_on(running, server)
        camera = running.check(running.stop())["street"]
    assert dropped(camera, reason) >= 20
    check_stream(entries(server.url, "street"), holes=dropped(camera, reason, "overload"))


def test_sigterm_under_load(clip: str, server: RedisServer, tmp_path: Path) -> None:
    with watched(tmp_path, clip, *SMALL, "--policy", "dense", "--realtime", "--redis", server.url) as running:
        running.published(20)
        began = time.monotonic()
        camera = running.check(running.stop())["street"]
        assert time.monotonic() - began < RESTART_S
    check_stream(entries(server.url, "street"), holes=dropped(camera, "overload"))


def test_processes_are_killed(clip: str, server: RedisServer, tmp_path: Path) -> None:
    """kill -9 of a camera, of the CNN, of the supervisor; SIGSTOP of a camera that must then be killed to stop."""
    arguments = (clip, *QUICK, "--realtime", "--loop", "--redis", server.url)
    with watched(tmp_path, *arguments, engine="ray") as running:
        running.published(20)
        epoch = running.cameras()["street"]["epoch"]
        os.kill(process_of(running, "CameraActor"), signal.SIGKILL)
        killed = time.time()
        wait_for(lambda: running.status()["machine"]["restarts"] == 1, why="a restart")  # type: ignore[index]
        again = wait_for(lambda: (now := running.cameras()["street"]["epoch"]) > epoch and now, why="another process")
        assert again / 1000 - killed < RESTART_S
        published = running.count("published")
        running.published(published + 20)

        looks = running.status()["machine"]["looks"]  # type: ignore[index]
        os.kill(process_of(running, "DetectorActor"), signal.SIGKILL)
        published = running.count("published")
        running.published(published + 20)  # labels go on without the CNN
        wait_for(lambda: running.status()["machine"]["restarts"] == 2, why="another CNN")  # type: ignore[index]
        wait_for(lambda: running.status()["machine"]["looks"] > 0 and looks, why="looks again")  # type: ignore[index]
        camera_process = process_of(running, "CameraActor")
        running.process.kill()
        running.process.wait(30)
        wait_for(lambda: not Path(f"/proc/{camera_process}").exists(), why="the end of the camera's process")
    with watched(tmp_path, *arguments, engine="ray") as running:
        running.published(running.published(1) + 20)
        os.kill(process_of(running, "CameraActor"), signal.SIGKILL)
        wait_for(lambda: running.status()["machine"]["restarts"] == 1, why="a restart")  # type: ignore[index]
        running.published(running.count("published") + 20)
        camera = running.check(running.stop())["street"]  # Ray has said nothing on stdout
    found = entries(server.url, "street")
    check_stream(found, lives=4, holes=dropped(camera, "overload", "restart"))


def process_of(running: Watched, actor: str) -> int:
    """Process id of an actor below a running one: Ray names its processes after them. Of cameras, one that has its counters
    open: another stands by."""

    def found() -> int:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_it = f"ray::{actor}" in (folder / "cmdline").read_text()
                if is_it and actor == "CameraActor":
                    is_it = "/ledger" in (folder / "maps").read_text()
                if is_it and _is_ours(int(folder.name), running.process.pid):
                    return int(folder.name)
        return 0

    return int(wait_for(found, why=actor))


def _is_ours(pid: int, root: int) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False
