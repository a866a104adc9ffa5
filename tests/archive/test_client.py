"""A cluster by its ray:// address, as from a machine that is no node of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.archive.archives import OPTIONS, digests, label, make_recordings
from tests.watching import free_port

from everyframe.pipeline.archive.verify import verify

pytest.importorskip("grpc", reason="ray:// addresses need ray[client]")

SECRET = "0123456789abcdef" * 4
ENVIRONMENT = {
    **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SECRET, "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}  # fmt: skip


@pytest.fixture
def address() -> Iterator[str]:
    """Of a cluster in processes of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ef-c-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port", str(free_port())]
        command += ["--ray-client-server-port", str(port), "--num-cpus", "1", "--include-dashboard", "false"]
        command += ["--temp-dir", folder, "--node-ip-address", "127.0.0.1", "--object-store-memory", str(128 << 20)]
        with open(Path(folder) / "log", "wb") as log:
            process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
        try:
            until = time.monotonic() + 120
            while b"Ray runtime started" not in (Path(folder) / "log").read_bytes():
                assert process.poll() is None and time.monotonic() < until, (Path(folder) / "log").read_text()
                time.sleep(0.2)
            yield f"ray://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)


def test_an_archive_by_a_ray_address(address: str, tmp_path: Path) -> None:
    recordings = make_recordings(tmp_path / "in", (60,))
    out, here = tmp_path / "out", tmp_path / "here"
    command = [sys.executable, "-m", "everyframe", "batch", str(recordings), "--out", str(out), "--address", address]
    done = subprocess.run(
        [*command, "--workers", "1", *OPTIONS, "--redis", "none"], env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert label(recordings, here).exit_code == 0
    assert digests(out) == digests(here)
    assert verify(out).problems == []
