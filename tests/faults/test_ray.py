"""What goes wrong under Ray: no hang, no process left, nothing open to others."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from everyframe.pipeline.engines.base import Chunk
from everyframe.pipeline.engines.ray import RayEngine
from everyframe.pipeline.errors import EngineError
from everyframe.pipeline.settings import LabelSettings, ModelSettings

SETTINGS = LabelSettings(policy="stride:20", model=ModelSettings(imgsz=192, runtime="torch", precision="f32"))
ANY_INTERFACE = {"00000000", "0" * 32}
INTERRUPTED = 130


def descendants(root: int) -> set[int]:
    """Process ids below `root`, from /proc."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {root}
    while more := {process for process, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(processes: set[int]) -> list[str]:
    """Hexadecimal addresses at which these processes take TCP connections."""
    sockets = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(os.readlink(link))
            except OSError:
                continue
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def all_gone(processes: set[int], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not all(is_gone(process) for process in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def clip(data_dir: Path) -> Path:
    return data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
def test_a_local_cluster_listens_on_the_loopback_interface_only(clip: Path) -> None:
    others = descendants(os.getpid()) - {os.getpid()}  # such as the Redis server of other tests
    engine = RayEngine(workers=1, frames_per_shard=60)
    try:
        next(event for event in engine.run([str(clip)], SETTINGS) if isinstance(event, Chunk))
        started = descendants(os.getpid()) - others
        addresses = listening(started)
        folders = list(Path("/tmp").glob("ef-ray-*"))
        assert addresses
        assert not ANY_INTERFACE & set(addresses)
        assert all(address.endswith("0100007F") for address in addresses)
        assert all(folder.stat().st_mode & 0o077 == 0 for folder in folders)
        assert "RAY_AUTH_TOKEN" not in os.environ
    finally:
        engine.close()
    assert all_gone(started - {os.getpid()})


def name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_worker_outlives_the_run(clip: Path, tmp_path: Path, number: signal.Signals, status: int) -> None:
    words = f"run {clip} --engine ray --workers 1 --policy dense --runtime torch --precision f32 --redis none"
    command = [sys.executable, "-m", "everyframe", *words.split(), "--out", str(tmp_path)]
    log = tmp_path / "stderr"
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr, start_new_session=True) as run:
        workers: set[int] = set()
        until = time.monotonic() + 60
        while not workers and time.monotonic() < until:
            time.sleep(0.2)
            workers = {process for process in descendants(run.pid) if "ShardActor" in name(process)}
        below = descendants(run.pid) - {run.pid}
        folder = re.search("/tmp/ef-ray-[^/]+", "".join(map(name, below)))
        if number == signal.SIGINT:
            os.killpg(run.pid, number)  # as a terminal does
        else:
            run.send_signal(number)
            # Ray's own helpers look for their parent only now and then
            below = {process for process in below if "Agent" not in name(process)}
        run.wait(60)
    assert workers
    assert run.returncode == status
    assert "Traceback" not in log.read_text()
    assert "ray::" not in log.read_text()
    assert all_gone(below)
    assert folder is not None
    if number == signal.SIGINT:
        assert not Path(folder[0]).exists()
    shutil.rmtree(folder[0], ignore_errors=True)


def test_a_cluster_that_is_not_there(clip: Path) -> None:
    engine = RayEngine(workers=1, address="127.0.0.1:1")
    try:
        with pytest.raises(
            EngineError, match=r"cannot reach the Ray cluster at 127\.0\.0\.1:1.*--engine local\.$"
        ):
            list(engine.run([str(clip)], SETTINGS))
    finally:
        engine.close()


def test_bad_files_need_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    engine = RayEngine(workers=1)
    (finished,) = engine.run([str(tmp_path / "text.mp4")], SETTINGS)
    assert "text.mp4" in str(finished.error)  # type: ignore[union-attr]
    engine.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_cluster_that_runs_already_is_used_and_left_running(data_dir: Path, tmp_path: Path) -> None:
    clip = data_dir / "moving" / "dashcam.mp4"
    folder, port = tempfile.mkdtemp(prefix="ef-test-", dir="/tmp"), free_port()
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port", str(port),
        "--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--include-dashboard", "false",
        "--object-store-memory", "100000000", "--temp-dir", folder, "--disable-usage-stats",
    ]  # fmt: skip
    plain = os.environ | {"RAY_AUTH_MODE": "disabled"}  # a token in the user's home would make it ask for one
    head = subprocess.Popen(command, env=plain, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), 60)
        wanted = digest(clip, plain, tmp_path, "--engine", "local")
        for _ in range(2):  # the second run finds the cluster that the first one left
            assert digest(clip, plain, tmp_path, "--engine", "ray", "--address", f"127.0.0.1:{port}") == wanted
            assert head.poll() is None
    finally:
        below = descendants(head.pid)
        head.terminate()
        head.wait(60)
        for process in below - {head.pid}:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def digest(clip: Path, environment: dict[str, str], folder: Path, *options: str) -> str:
    """Of a run in a process of its own: Ray keeps what it has read of tokens for as long as a process lives."""
    command = [
        sys.executable, "-m", "everyframe", "run", str(clip), "--policy", "stride:20", "--runtime", "torch",
        "--precision", "f32", "--imgsz", "192", "--redis", "none", "--out", str(folder), "--quiet", "--json", *options,
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return str(json.loads(done.stdout)["digest"])


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for(is_there: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < end, "it did not come up"
        time.sleep(0.2)
