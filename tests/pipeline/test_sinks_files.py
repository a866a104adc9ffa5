"""What the file formats hold."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from everyframe.operators.types import Origin
from everyframe.pipeline.records import SourceInfo
from everyframe.pipeline.schema import decode, to_record
from everyframe.pipeline.sinks import make_sinks

NAMES = ("person", "bicycle", "car")


def write(kind: str, folder: Path, info: SourceInfo, labels: list[Any]) -> Path:
    (sink,) = make_sinks([kind], folder, info, NAMES)
    with sink:
        sink.write(labels)
    return Path(sink.location)


def test_jsonl_has_one_record_a_line(tmp_path: Path, source_info: SourceInfo, make_labels: Any) -> None:
    labels = make_labels(20)
    path = write("jsonl", tmp_path, source_info, labels)
    assert path.name == "clip.labels.jsonl"
    lines = path.read_bytes().splitlines()
    assert [decode(line) for line in lines] == [to_record(record, NAMES) for record in labels]


def test_mot_counts_frames_from_one(tmp_path: Path, source_info: SourceInfo, make_labels: Any) -> None:
    labels = make_labels(20, objects=4)
    path = write("mot", tmp_path, source_info, labels)
    assert path.name == "clip.mot.txt"
    rows = [[float(cell) for cell in row] for row in csv.reader(path.open())]
    assert len(rows) == sum(len(record.objects) for record in labels)
    assert all(len(row) == 10 for row in rows)
    assert sorted({row[0] for row in rows}) == [i + 1 for i in range(20) if i % 7 != 6]
    x1, y1, x2, y2 = labels[0].objects.xyxy[1].tolist()
    assert rows[1][1:6] == pytest.approx([1, x1, y1, x2 - x1, y2 - y1], abs=0.011)
    assert rows[1][7:] == [-1, -1, -1]


def test_coco_holds_all_frames_and_sound_ids(tmp_path: Path, source_info: SourceInfo, make_labels: Any) -> None:
    labels = make_labels(20)
    path = write("coco", tmp_path, source_info, labels)
    assert path.name == "clip.coco.json"
    found = json.loads(path.read_text())
    assert [image["id"] for image in found["images"]] == list(range(1, 21))
    assert [category["name"] for category in found["categories"]] == list(NAMES)
    annotations = found["annotations"]
    assert [a["id"] for a in annotations] == list(range(1, len(annotations) + 1))
    assert {a["image_id"] for a in annotations} <= {image["id"] for image in found["images"]}
    assert {a["category_id"] for a in annotations} <= {category["id"] for category in found["categories"]}
    x1, y1, x2, y2 = labels[0].objects.xyxy[0].tolist()
    assert annotations[0]["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.011)
    assert annotations[0]["category_id"] == labels[0].objects.class_id[0] + 1
    assert annotations[0]["origin"] == "detected"


@pytest.mark.parametrize("count", [0, 1])
def test_coco_is_json_however_little_there_is(
    tmp_path: Path, source_info: SourceInfo, make_labels: Any, count: int
) -> None:
    found = json.loads(write("coco", tmp_path, source_info, make_labels(count, objects=0)).read_text())
    assert (len(found["images"]), found["annotations"]) == (count, [])


def test_csv_has_a_row_for_every_frame(tmp_path: Path, source_info: SourceInfo, make_labels: Any) -> None:
    labels = make_labels(20)
    path = write("csv", tmp_path, source_info, labels)
    rows = list(csv.DictReader(path.open()))
    assert sorted({int(row["frame_index"]) for row in rows}) == list(range(20))
    empty = [row for row in rows if row["frame_index"] == "6"]
    assert len(empty) == 1
    assert empty[0]["track_id"] == empty[0]["x1"] == ""
    first = labels[0].objects
    assert float(rows[0]["x1"]) == pytest.approx(float(first.xyxy[0, 0]), abs=0.006)
    assert rows[0]["label"] == NAMES[first.class_id[0]]
    assert rows[0]["object_origin"] == Origin(int(first.origin[0])).label


@pytest.mark.parametrize("kind", ["jsonl", "mot", "coco", "csv"])
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, source_info: SourceInfo, make_labels: Any, kind: str
) -> None:
    (sink,) = make_sinks([kind], tmp_path, source_info, NAMES)
    chunk = make_labels(64, objects=10)
    with sink:
        sink.write(chunk)
        tracemalloc.start()
        for _ in range(50):
            sink.write(chunk)
        grown, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert Path(sink.location).stat().st_size > 500_000
    assert grown < 100_000
