"""SQL over an archive: what it gives, what it refuses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from everyframe.operators.types import Objects
from everyframe.pipeline.archive.query import Archive, QueryError
from everyframe.pipeline.archive.questions import QUESTIONS, question
from everyframe.pipeline.archive.seconds import update_seconds
from everyframe.pipeline.archive.tables import write_costs, write_labels, write_sources
from everyframe.pipeline.archive.types import SourceRow
from everyframe.pipeline.cli import call
from everyframe.pipeline.records import FrameLabels

START = datetime(2026, 3, 1, 9, 59, 30, tzinfo=UTC)
PERSON, CAR = 0, 2


def scene(make: Callable[..., list[FrameLabels]]) -> list[FrameLabels]:
    """A minute at 25 fps: a person (track 1) all the time, in the left half until second 20, then right; a car (2) that is
    beside the person from second 40 to 50, and far off before."""
    labels = []
    for record in make(1500):
        at = record.frame_index / 25
        x = 50.0 if at < 20 else 200.0
        boxes = [[x, 100, x + 20, 150]]
        ids, classes = [1], [PERSON]
        if at < 50:
            left = x + 30 if at >= 40 else 0.0
            boxes.append([left, 100 if at >= 40 else 0, left + 40, 140 if at >= 40 else 30])
            ids.append(2)
            classes.append(CAR)
        objects = Objects.of(boxes, [0.9] * len(ids), classes, ids)
        labels.append(replace(record, time_s=at, objects=objects))
    return labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_labels: Callable[..., list[FrameLabels]]) -> Path:
    root = tmp_path_factory.mktemp("archive") / "it's out"
    labels = scene(make_labels)
    write_labels(root, "gate", "clip", START, labels)
    write_costs(root, "gate", "clip", START, labels)
    write_sources(root, [SourceRow("gate", "clip", "/videos/clip.mp4", START, 1500, 60.0, 320, 240, "h264")])
    return root


def asked(folder: Path, name: str, *given: str) -> list[tuple[object, ...]]:
    with Archive(folder) as archive:
        found: list[tuple[object, ...]] = archive.ask(*question(name, given)).fetchall()
        return found


def test_views(folder: Path) -> None:
    with Archive(folder) as archive:
        assert archive.ask("SELECT count(*), max(frame_index) FROM labels").fetchall() == [(1500, 1499)]
        rows = archive.ask("SELECT label, count(*) FROM objects GROUP BY label ORDER BY label").fetchall()
        assert rows == [("car", 1250), ("person", 1500)]
        assert archive.ask("SELECT path FROM sources").fetchall() == [("/videos/clip.mp4",)]
        [(cost,)] = archive.ask("SELECT sum(decode) FROM costs").fetchall()
        assert cost == pytest.approx(1500 * 1.23456, rel=1e-5)
        assert archive.ask("SELECT sum(frames) FROM seconds WHERE label = 'car'").fetchall() == [(1250,)]


def test_count_by_hour(folder: Path) -> None:
    rows = {(row[1], row[2]): row[3:] for row in asked(folder, "count-by-hour")}
    assert rows == {
        ("2026-03-01 09:00", "car"): (1, 750), ("2026-03-01 09:00", "person"): (1, 750),
        ("2026-03-01 10:00", "car"): (1, 500), ("2026-03-01 10:00", "person"): (1, 750),
    }  # fmt: skip


def test_near(folder: Path) -> None:
    rows = asked(folder, "near", "heights=0.5")
    assert [row[2] for row in rows] == list(range(40, 50))
    assert rows[0][3] == "2026-03-01 10:00:10" and rows[0][4] == 1000
    assert all(row[6] == pytest.approx(0.2) for row in rows)  # 10 px of 50
    assert asked(folder, "near", "heights=0.1") == []


def test_dwell(folder: Path) -> None:
    assert asked(folder, "dwell", "x2=0.5", "seconds=15")[0][2:] == (1, "person", "2026-03-01 09:59:30", 20)
    assert asked(folder, "dwell", "x2=0.5", "seconds=21") == []


def test_other_questions(folder: Path) -> None:
    assert asked(folder, "longest-tracks", "limit=1")[0][2:] == (1, "person", "2026-03-01 09:59:30", 59.96, 1500)
    assert asked(folder, "busiest-minutes")[0] == ("gate", "2026-03-01 09:59", 2)
    assert asked(folder, "empty-hours")[0][2] == pytest.approx(1 - 30 / 3600, abs=1e-3)


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_without_a_start(tmp_path: Path, make_labels: Callable[..., list[FrameLabels]], name: str) -> None:
    write_labels(tmp_path, "gate", "clip", None, scene(make_labels))
    assert asked(tmp_path, name)


@pytest.mark.parametrize(
    "sql, says",
    [
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("", "one SELECT"),
        ("COPY (SELECT 1) TO 'x.csv'", "only read"),
        ("DROP VIEW labels", "only read"),
        ("ATTACH 'other.db'", "only read"),
        ("SET threads = 4", "only read"),
        ("INSTALL httpfs", "only read"),
        ("SELECT * FROM read_text('/etc/passwd')", "outside"),
        ("SELECT * FROM '/etc/*.csv'", "outside"),
        ("SELECT * FROM glob('/etc/*')", "outside"),
        ("SELECT nope FROM labels", "nope"),
        ("SELEC 1", "cannot be run"),
        ("SELECT CAST('x' AS INTEGER)", "cannot be run"),
    ],
)
def test_what_is_refused_in_one_sentence(folder: Path, sql: str, says: str) -> None:
    with Archive(folder) as archive, pytest.raises(QueryError, match=says) as caught:
        archive.ask(sql).fetchall()
    assert "\n" not in str(caught.value)


def test_a_way_out_by_dots(folder: Path) -> None:
    (folder.parent / "secret.csv").write_text("a\n1\n")
    with Archive(folder) as archive, pytest.raises(QueryError, match="outside"):
        path = str(folder).replace("'", "''")
        archive.ask(f"SELECT * FROM read_csv('{path}/../secret.csv')").fetchall()


def test_seconds_follow_labels(tmp_path: Path, make_labels: Callable[..., list[FrameLabels]]) -> None:
    labels = scene(make_labels)
    write_labels(tmp_path, "gate", "clip", START, labels[:100])
    assert (update_seconds(tmp_path), update_seconds(tmp_path)) == (1, 0)
    [file] = write_labels(tmp_path, "gate", "clip", START, labels[:700])
    assert asked(tmp_path, "longest-tracks")[0][6] == 700
    Path(file.path).unlink()
    write_labels(tmp_path, "gate", "other", START, labels[:10])
    assert [row[1] for row in asked(tmp_path, "longest-tracks", "label=person")] == ["other"]


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "table"])
def test_the_command_writes_every_form(folder: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"answer.{form}"
    sql = "SELECT label, count(*) AS n, min(time) AS t FROM objects GROUP BY label ORDER BY label"
    assert call(["query", str(folder), sql, "--format", form, "--out", str(out)]) == 0
    if form == "csv":
        rows = [(row["label"], int(row["n"])) for row in csv.DictReader(out.read_text().splitlines())]
    elif form == "json":
        rows = [(row["label"], row["n"]) for row in map(orjson.loads, out.read_text().splitlines())]
    elif form == "parquet":
        rows = [(row["label"], row["n"]) for row in pq.ParquetFile(out).read().to_pylist()]
    else:
        rows = [(line.split()[0], int(line.split()[1])) for line in out.read_text().splitlines()[1:]]
    assert rows == [("car", 1250), ("person", 1500)]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["OUT"], "either SQL or --question"),
        (["OUT", "SELECT 1", "--question", "near"], "either SQL or --question"),
        (["OUT", "--question", "nera"], "near"),
        (["OUT", "--question", "near", "--set", "x=1"], "heights"),
        (["OUT", "--question", "near", "--set", "heights=tall"], "number"),
        (["OUT", "SELECT 1", "--format", "parquet"], "--out"),
        (["nowhere", "SELECT 1"], "no folder"),
        (["OUT", "SELECT nope FROM labels", "--out", "TMP/x.csv", "--format", "csv"], "nope"),
    ],
)
def test_misuse_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    given = [a.replace("OUT", str(folder)).replace("TMP", str(tmp_path)) for a in arguments]
    assert call(["query", *given]) == 2
    told = capsys.readouterr().err
    assert says in told and len(told.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["query", str(tmp_path), "SELECT 1"]) == 2
    assert "no labels" in capsys.readouterr().err


def test_the_list_of_questions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["query", str(folder), "--questions"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(QUESTIONS) >= 5
