"""What the user names becomes sources; shards and settings survive the way to the disk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from everyframe.operators.base import Prices
from everyframe.operators.types import Objects
from everyframe.pipeline.archive.packed import pack, stats_of, stats_text, unpack
from everyframe.pipeline.archive.plan import (
    GONE,
    find_sources,
    fingerprint,
    is_same,
    names_of,
    settings_of,
    settings_text,
)
from everyframe.pipeline.engines.base import RunStats
from everyframe.pipeline.errors import SinkError, UsageError
from everyframe.pipeline.labelling.audits import AuditSums
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.settings import Capacity, Goal, LabelSettings, ModelSettings


def test_folders_globs_and_doubles(tmp_path: Path) -> None:
    for name in ("b/2.mp4", "a/1.MKV", "a/notes.txt", "c.ts"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    specs = find_sources([str(tmp_path), str(tmp_path / "a" / "*.MKV"), str(tmp_path / "none-*.mp4")])
    assert [(Path(s.path).name, s.camera) for s in specs][:3] == [("1.MKV", "a"), ("2.mp4", "b"), ("c.ts", tmp_path.name)]
    assert specs[3].path.endswith("none-*.mp4")
    assert find_sources(["https://host/cams/north/1.mp4?token=x"])[0].camera == "north"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifests(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"list.{kind}"
    if kind == "csv":
        path.write_text("path,camera,start_time\nx/1.mp4,door,2026-05-01T08:00:00Z\ny/2.mp4,,\n")
    else:
        start = [datetime(2026, 5, 1, 8, tzinfo=UTC), None]
        columns = {"path": ["x/1.mp4", "y/2.mp4"], "camera": ["door", None], "start_time": start}
        pq.write_table(pa.table(columns), path)
    one, two = find_sources([], str(path))
    assert (one.path, one.camera) == (str(tmp_path / "x/1.mp4"), "door")
    assert one.start == datetime(2026, 5, 1, 8, tzinfo=UTC)
    assert (two.camera, two.start) == ("y", None)


def test_manifests_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,camera,start_time\na.mp4,door,yesterday\n")
    with pytest.raises(UsageError, match="line 2: start_time 'yesterday'"):
        find_sources([], str(path))
    path.write_text("file\na.mp4\n")
    with pytest.raises(UsageError, match="line 2: no path"):
        find_sources([], str(path))
    with pytest.raises(UsageError, match="no SOURCE given"):
        find_sources([])


def test_fingerprints(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert fingerprint(str(path)) == GONE
    path.write_bytes(b"x" * 200_000)
    known = fingerprint(str(path))
    assert is_same(str(path), known)
    path.write_bytes(b"x" * 199_999 + b"y")
    assert not is_same(str(path), known)
    path.unlink()
    assert is_same(str(path), known), "a file that is gone has not changed"


def test_names_stay_apart() -> None:
    names = names_of(["/a/x.mp4", "/b/x.mp4", "/c/y.ts"], ["y"])
    assert len(set(names)) == 3
    assert names[0] == "x"
    assert "y" not in names


def test_settings_come_back() -> None:
    settings = LabelSettings(
        "learned", classes=("person",), limit=7, goal=Goal(0.9), prices=Prices({"detect": 1.5}, {(64, 96): 0.25}),
        capacities=(Capacity("fast", ModelSettings("fast"), 0.4, 0.02),),
    )  # fmt: skip
    assert settings_of(settings_text(settings)) == settings


def test_shards_come_back(make_labels: Callable[..., list[FrameLabels]]) -> None:
    labels = make_labels(50)
    data = pack(labels, labels[-1].objects)
    back, last = unpack(data)
    assert last is not None
    assert last.xyxy.tobytes() == labels[-1].objects.xyxy.tobytes()
    digests = [LabelDigest(), LabelDigest()]
    for digest, rows in zip(digests, (labels, back), strict=True):
        digest.update(rows)
    assert digests[0].hexdigest() == digests[1].hexdigest()
    assert [r.cost_ms for r in back] == [r.cost_ms for r in labels]
    assert pack(back, last) == data
    assert unpack(pack([], None)) == ([], None)
    assert len(unpack(pack([], Objects.empty()))[1] or ()) == 0
    with pytest.raises(SinkError, match="--redo"):
        unpack(b"something else")


def test_stats_come_back() -> None:
    stats = RunStats(5, 4, 3, {"detect": 3}, 3.0, 2, AuditSums(1.0, 2, 3), {"cnn": 1.5}, 9.0, ["a note"])
    assert stats_of(stats_text(stats)) == stats
