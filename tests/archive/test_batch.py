"""The driver of archives with real clips and the real CNN: exactly once, nothing mixed, broken sources out of the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.archive.archives import SETTINGS, SHARD, digests, label, make_recordings

from everyframe.pipeline.archive.engine import LocalCrew
from everyframe.pipeline.archive.journal import Journal, pack_file
from everyframe.pipeline.archive.labeller import ShardLabeller
from everyframe.pipeline.archive.types import ShardKey, ShardOutcome, ShardTask
from everyframe.pipeline.archive.verify import verify
from everyframe.pipeline.engines.base import Chunk
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.settings import RunSettings


class Watched(ShardLabeller):
    """Remembers what it did. after: called with the number of shards labelled so far."""

    def __init__(self, after: object = None) -> None:
        super().__init__(SHARD)
        self.done: list[ShardKey] = []
        self._after = after

    def do(self, task: ShardTask) -> ShardOutcome:
        outcome = super().do(task)
        if task.key.index >= 0:
            self.done.append(task.key)
            if callable(self._after):
                self._after(len(self.done))
        return outcome


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def undisturbed(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    result = label(recordings, out, formats=("jsonl", "mot"))
    assert result.exit_code == 0
    return out


def test_labels_are_those_of_run_shard_by_shard(recordings: Path, undisturbed: Path) -> None:
    path = str(recordings / "cam0" / "clip0.mp4")
    events = LocalEngine(frames_per_shard=SHARD).run([path], SETTINGS.label_settings())
    expected = [record for event in events if isinstance(event, Chunk) for record in event.labels]
    table = pq.read_table(next((undisturbed / "labels" / "camera=cam0").rglob("*.parquet")), partitioning=None)
    assert table.column("frame_index").to_pylist() == [record.frame_index for record in expected]
    found = [[o["track_id"] for o in row] for row in table.column("objects").to_pylist()]
    assert found == [record.objects.track_id.tolist() for record in expected]
    assert table.column("origin").to_pylist() == [record.origin.label for record in expected]


def test_an_archive_is_whole(undisturbed: Path) -> None:
    verdict = verify(undisturbed)
    assert verdict.problems == []
    assert (verdict.sources, verdict.frames) == (2, 210)
    report = json.loads((undisturbed / "report.json").read_text())
    assert report["frames"] == 210
    assert not list((undisturbed / ".everyframe" / "shards").rglob("*.shard"))


def test_a_rerun_does_nothing(recordings: Path, undisturbed: Path) -> None:
    before, watched = digests(undisturbed), Watched()
    times = {path: path.stat().st_mtime_ns for path in (undisturbed / "labels").rglob("*.parquet")}
    assert label(recordings, undisturbed, crew=LocalCrew(watched), formats=("jsonl", "mot")).exit_code == 0
    assert watched.done == []
    assert digests(undisturbed) == before
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_ctrl_c_and_a_rerun_do_each_shard_once(recordings: Path, undisturbed: Path, tmp_path: Path) -> None:
    def interrupt(count: int) -> None:
        if count == 3:
            raise KeyboardInterrupt

    first, second = Watched(interrupt), Watched()
    result = label(recordings, tmp_path, crew=LocalCrew(first), formats=("jsonl", "mot"))
    assert result.exit_code == 130
    assert label(recordings, tmp_path, crew=LocalCrew(second), formats=("jsonl", "mot")).exit_code == 0
    assert set(first.done[:2]).isdisjoint(second.done), "what was done is not done again"
    assert len(first.done[:2]) + len(second.done) == len(set(first.done + second.done)) == 7
    assert digests(tmp_path) == digests(undisturbed)


def test_a_shard_whose_file_was_spoilt_is_done_again(recordings: Path, undisturbed: Path, tmp_path: Path) -> None:
    def spoil(count: int) -> None:
        if count == 2:
            path = next((tmp_path / ".everyframe" / "shards").rglob("*.shard"))
            path.write_bytes(path.read_bytes()[:-5])

    watched = Watched(spoil)
    assert label(recordings, tmp_path, crew=LocalCrew(watched), formats=("jsonl", "mot")).exit_code == 0
    assert len(watched.done) == 8
    assert digests(tmp_path) == digests(undisturbed)


def test_other_settings_are_never_mixed(recordings: Path, tmp_path: Path) -> None:
    label(recordings / "cam0", tmp_path)
    before = digests(tmp_path)
    other = RunSettings(policy="stride:5", imgsz=192, runtime="torch", precision="f32", redis="none")
    with pytest.raises(UsageError, match=r"policy stride:10 -> stride:5\).*--redo"):
        label(recordings / "cam0", tmp_path, other)
    assert digests(tmp_path) == before
    assert label(recordings / "cam0", tmp_path, other, redo=True).exit_code == 0
    assert digests(tmp_path) != before
    assert verify(tmp_path).problems == []


def test_a_source_that_changed_is_noticed(tmp_path: Path) -> None:
    folder, out = make_recordings(tmp_path / "in", (60,)), tmp_path / "out"
    label(folder, out)
    before = digests(out)
    clip = folder / "cam0" / "clip0.mp4"
    clip.unlink()
    (folder / "cam0").rmdir()
    make_recordings(folder, (75,))
    result = label(folder, out)
    assert result.exit_code == 1
    assert "has changed since it was labelled" in result.troubles[0]
    assert digests(out) == before
    assert any("changed" in problem for problem in verify(out).problems)
    assert label(folder, out, redo=True).exit_code == 0
    assert verify(out).frames == 75


def test_a_touched_file_is_the_same(tmp_path: Path) -> None:
    folder, out = make_recordings(tmp_path / "in", (45,)), tmp_path / "out"
    label(folder, out)
    os.utime(folder / "cam0" / "clip0.mp4", (1, 1))
    watched = Watched()
    assert label(folder, out, crew=LocalCrew(watched)).exit_code == 0
    assert watched.done == []


def test_broken_sources_are_named_and_hold_up_nothing(tmp_path: Path) -> None:
    folder, out = make_recordings(tmp_path / "in", (60,)), tmp_path / "out"
    whole = (folder / "cam0" / "clip0.mp4").read_bytes()
    bad = folder / "bad"
    bad.mkdir()
    (bad / "empty.mp4").touch()
    (bad / "text.mp4").write_text("not a video at all")
    (bad / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (bad / "noise.mp4").write_bytes(os.urandom(4096))
    result = label([str(folder), str(tmp_path / "gone.mp4")], out)
    assert result.exit_code == 1
    rows = {source.row.source: source.row for source in result.report.sources}
    assert rows["clip0"].status == "done"
    assert "0 bytes" in rows["empty"].reason
    assert "does not exist" in rows["gone"].reason
    for name in ("empty", "text", "cut", "noise", "gone"):
        assert rows[name].status != "done"
        assert rows[name].reason.count("\n") == 0
        assert rows[name].reason.endswith(".")
    assert len(verify(out).problems) >= 5


def test_a_source_that_vanishes_is_taken_up_when_it_is_back(tmp_path: Path) -> None:
    folder, out = make_recordings(tmp_path / "in", (120, 60)), tmp_path / "out"
    clip, away = folder / "cam0" / "clip0.mp4", tmp_path / "away.mp4"

    def vanish(count: int) -> None:
        if count == 1:
            clip.rename(away)

    result = label(folder, out, crew=LocalCrew(Watched(vanish)))
    states = {source.row.source: source.row.status for source in result.report.sources}
    assert states == {"clip0": "failed", "clip1": "done"}
    away.rename(clip)
    watched = Watched()
    assert label(folder, out, crew=LocalCrew(watched)).exit_code == 0
    assert len(watched.done) == 3, "three of four shards were missing"
    assert verify(out).problems == []


def test_two_at_work_in_one_folder_are_refused(recordings: Path, tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(UsageError, match="another everyframe is at work"):
        label(recordings, tmp_path)


def test_packs_are_told_apart(tmp_path: Path) -> None:
    assert len({pack_file(tmp_path, number) for number in (1, 10, 11, 100, 100_000_000)}) == 5
