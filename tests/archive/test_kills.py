"""kill -9 at random moments, of the driver, of Ray's actors, of a node: the files end up the same, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.archive.archives import OPTIONS, SHARD, digests, label, make_recordings

from everyframe.pipeline.archive.types import ShardOutcome
from everyframe.pipeline.archive.verify import verify
from everyframe.pipeline.engines.ray_batch import RayCrew

MOST_S = 120.0
ALONE = "EVERYFRAME_TEST_ALONE"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recordings(tmp_path_factory.mktemp("recordings"), (150, 120))


@pytest.fixture(scope="module")
def undisturbed(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert label(recordings, out, formats=("jsonl",)).exit_code == 0
    return digests(out)


def test_a_driver_that_is_killed_again_and_again(recordings: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "everyframe", "batch", str(recordings), "--out", str(tmp_path), "--workers", "1"]
    command += [*OPTIONS, "--format", "jsonl", "--redis", "none", "--quiet"]
    rng = random.Random(7)
    journal, shards = tmp_path / ".everyframe" / "journal.sqlite", tmp_path / ".everyframe" / "shards"
    for kills in range(2):
        process = subprocess.Popen(command, start_new_session=True)
        done = len(list(shards.rglob("*.shard"))) if kills else 0
        until = time.monotonic() + MOST_S
        while process.poll() is None and time.monotonic() < until:
            if journal.exists() and len(list(shards.rglob("*.shard"))) > done:  # it has begun to work
                time.sleep(rng.uniform(0, 0.05))
                break
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, timeout=MOST_S, check=False).returncode == 0
    assert digests(tmp_path) == undisturbed
    assert verify(tmp_path).problems == []
    assert not list(tmp_path.rglob(".*.part"))


class Killing(RayCrew):
    """Kills an idle actor's process with signal 9 after its first answers."""

    kills = 2

    def wait(self, timeout_s: float) -> list[ShardOutcome]:
        outcomes = super().wait(timeout_s)
        if outcomes and self.kills and self._idle:
            self.kills -= 1
            os.kill(self.process_ids()[0], signal.SIGKILL)
        return outcomes


@pytest.mark.filterwarnings("ignore")
def test_actors_that_are_killed(recordings: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    crew = Killing(1, frames_per_shard=SHARD)
    result = label(recordings, tmp_path, crew=crew, formats=("jsonl",))
    assert crew.kills == 0
    assert result.exit_code == 0
    assert sum(source.retries for source in result.report.sources) >= 1
    assert digests(tmp_path) == undisturbed


class LosesNode(RayCrew):
    """Ends a node of the cluster, with all that runs there, after the first answers."""

    cluster: object = None
    node: object = None

    def wait(self, timeout_s: float) -> list[ShardOutcome]:
        outcomes = super().wait(timeout_s)
        if outcomes and self.node is not None:
            node, self.node = self.node, None
            self.cluster.remove_node(node, allow_graceful=False)  # type: ignore[attr-defined]
        return outcomes


def test_a_node_that_is_killed() -> None:
    """In a process of its own: a Ray that was started without a token keeps one with a token from starting there."""
    inner = f"{__file__}::test_a_node_that_is_killed_in_this_process"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", inner]
    done = subprocess.run(command, check=False, env={**os.environ, ALONE: "1"}, capture_output=True, text=True, timeout=400, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout


@pytest.mark.skipif(ALONE not in os.environ, reason="run by the test before it, in a process of its own")
@pytest.mark.filterwarnings("ignore")
def test_a_node_that_is_killed_in_this_process(
    recordings: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    utils = pytest.importorskip("ray.cluster_utils")
    options = {"num_cpus": 1, "object_store_memory": 128 << 20, "include_dashboard": False}
    cluster = utils.Cluster(initialize_head=True, head_node_args=options)
    try:
        lost = cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
        cluster.wait_for_nodes()
        crew = LosesNode(2, cluster.address, frames_per_shard=SHARD)
        crew.cluster, crew.node = cluster, lost
        result = label(recordings, tmp_path, crew=crew, formats=("jsonl",))
        assert crew.node is None
        assert result.exit_code == 0
        assert digests(tmp_path) == undisturbed
    finally:
        cluster.shutdown()
