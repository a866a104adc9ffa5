"""The Parquet files of an archive, read back by four engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.types import Objects
from everyframe.pipeline.archive.columns import BOX_STEP, SCORE_STEP, frames_of
from everyframe.pipeline.archive.tables import (
    BATCH,
    ROW_GROUP,
    day_of,
    file_name,
    table_path,
    write_costs,
    write_labels,
    write_sources,
)  # fmt: skip
from everyframe.pipeline.archive.types import SourceRow
from everyframe.pipeline.errors import SinkError, SourceBroken
from everyframe.pipeline.records import FrameLabels

START = datetime(2026, 3, 1, 23, 59, 50, tzinfo=UTC)
MakeLabels = Callable[..., list[FrameLabels]]


def test_every_engine_reads_the_same(tmp_path: Path, make_labels: MakeLabels) -> None:
    labels = make_labels(500)
    files = write_labels(tmp_path, "gate 3/north", "clip", START, labels)
    assert sum(file.rows for file in files) == 500
    assert [Path(file.path).parent.name for file in files] == ["day=2026-03-01", "day=2026-03-02"]
    objects = sum(len(record.objects) for record in labels)

    query = f"""SELECT count(*), sum(len(objects)), min(time), max(frame_index), any_value(camera)
                FROM read_parquet('{tmp_path}/labels/**/*.parquet', hive_partitioning = true)"""
    [(rows, found, begin, last, camera)] = duckdb.sql(query).fetchall()
    assert (rows, found, last, camera) == (500, objects, 499, "gate 3/north")
    assert begin == START

    frame = pd.read_parquet(tmp_path / "labels")
    assert len(frame) == 500 and sum(len(o) for o in frame["objects"]) == objects
    assert frame["time"].min() == pd.Timestamp(START)

    lazy = pl.read_parquet(tmp_path / "labels" / "**" / "*.parquet", hive_partitioning=True)
    assert lazy.height == 500 and lazy["objects"].list.len().sum() == objects
    boxes = lazy.explode("objects").drop_nulls("objects").unnest("objects", separator=".")
    assert boxes["objects.x1"].min() == pytest.approx(min(r.objects.xyxy[:, 0].min() for r in labels if len(r.objects)), abs=0.13)

    dataset = ds.dataset(tmp_path / "labels", partitioning="hive")
    assert dataset.count_rows() == 500


def test_rows_are_the_labels_but_for_rounding(tmp_path: Path, make_labels: MakeLabels) -> None:
    labels = make_labels(60)
    [file] = write_labels(tmp_path, "cam", "clip", None, iter(labels))
    back = list(frames_of(pq.ParquetFile(file.path).read()))
    assert len(back) == len(labels)
    for before, after in zip(labels, back, strict=True):
        for field in fields(FrameLabels):
            if field.name not in ("objects", "cost_ms", "time_s"):
                assert getattr(after, field.name) == getattr(before, field.name), field.name
        assert after.time_s == round(before.time_s, 6)
        np.testing.assert_allclose(after.objects.xyxy, before.objects.xyxy, atol=BOX_STEP / 2 + 1e-4)
        np.testing.assert_allclose(after.objects.score, before.objects.score, atol=SCORE_STEP / 2 + 1e-6)
        for name in ("class_id", "track_id", "origin"):
            np.testing.assert_array_equal(getattr(after.objects, name), getattr(before.objects, name))


def test_same_labels_same_bytes_and_costs_apart(tmp_path: Path, make_labels: MakeLabels) -> None:
    labels = make_labels(BATCH + 100)
    dearer = [replace(record, cost_ms={"cnn": 5.0}) for record in labels]
    [first] = write_labels(tmp_path / "a", "cam", "clip", None, labels)
    [second] = write_labels(tmp_path / "b", "cam", "clip", None, dearer)
    assert first.sha256 == second.sha256
    assert Path(first.path).read_bytes() == Path(second.path).read_bytes()
    [costs] = write_costs(tmp_path / "a", "cam", "clip", None, dearer)
    table = pq.ParquetFile(costs.path).read()
    assert table.num_rows == len(labels)
    assert table["cnn"].to_pylist() == [5.0] * len(labels) and table["demux"].null_count == len(labels)


def test_row_groups_have_statistics_that_let_engines_skip(tmp_path: Path, make_labels: MakeLabels) -> None:
    [file] = write_labels(tmp_path, "cam", "clip", START.replace(hour=1), make_labels(ROW_GROUP + BATCH, objects=1))
    meta = pq.ParquetFile(file.path).metadata
    assert meta.num_row_groups == 2
    at = meta.schema.names.index("frame_index")
    bounds = [(s.min, s.max) for s in (meta.row_group(i).column(at).statistics for i in range(2))]
    assert bounds == [(0, ROW_GROUP - 1), (ROW_GROUP, ROW_GROUP + BATCH - 1)]
    assert meta.row_group(0).column(at).compression == "ZSTD"


def test_a_break_or_a_number_that_is_none_leaves_no_file(tmp_path: Path, make_labels: MakeLabels) -> None:
    labels = make_labels(10)

    def breaking() -> Iterator[FrameLabels]:
        yield from labels
        raise SourceBroken("clip breaks off")

    with pytest.raises(SourceBroken):
        write_labels(tmp_path, "cam", "clip", None, breaking())
    bad = replace(labels[3], objects=Objects.of([[0, 0, np.nan, 4]], [0.5], [0]))
    with pytest.raises(SinkError, match="frame 3"):
        write_labels(tmp_path, "cam", "clip", None, [*labels[:3], bad])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_written(tmp_path: Path, make_labels: MakeLabels) -> None:
    (tmp_path / "labels").write_text("in the way")
    with pytest.raises(SinkError, match="cannot write"):
        write_labels(tmp_path, "cam", "clip", None, make_labels(3))


def test_no_frame_no_file(tmp_path: Path) -> None:
    assert write_labels(tmp_path, "cam", "clip", None, []) == []


def test_sources_are_sorted_and_whole(tmp_path: Path) -> None:
    rows = [SourceRow("b", "x", "/v/x.mp4", frames=3), SourceRow("a", "y", "s3://v/y.mp4", START, status="failed", reason="gone")]
    file = write_sources(tmp_path, rows)
    table = pq.ParquetFile(file.path).read()
    assert table["camera"].to_pylist() == ["a", "b"]
    assert table["start"].to_pylist() == [START, None]


@given(st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=5, unique=True))
@settings(deadline=None)
def test_names_become_files_one_to_one(names: list[str]) -> None:
    names = [name for name in names if name.isprintable()]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(files)
    for name in files:
        assert "/" not in name and len(name) <= 200 and name[0] not in "._"


@given(st.datetimes(), st.integers(-14, 14), st.floats(0, 1e6))
@settings(deadline=None)
def test_days_are_those_of_utc(start: datetime, hours: int, seconds: float) -> None:
    zoned = start.replace(tzinfo=timezone(timedelta(hours=hours)))
    try:
        expected = (zoned.astimezone(UTC) + timedelta(seconds=seconds)).date().isoformat()
    except OverflowError:
        return
    assert day_of(zoned, seconds) == expected
    assert str(table_path(Path("x"), "labels", "a=b/c", expected, "s")).count("/") == 4


def test_days_without_a_start() -> None:
    assert day_of(None, 5.0) == "unknown"
    assert day_of(datetime.max, 1e9) == "unknown"
