"""The label record: what is written can be read, is valid, rounded and finite."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline import schema
from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.records import FrameLabels

NAMES = ("person", "bicycle", "car")
VALIDATOR = jsonschema.Draft202012Validator(schema.json_schema())
coordinate = st.floats(-200, 8000, width=32)
score = st.floats(0, 1, width=32)


def frame(boxes: list[list[float]], scores: list[float], **fields: object) -> FrameLabels:
    n = len(scores)
    objects = Objects.of(np.array(boxes).reshape(n, 4), scores, np.arange(n) % 4, np.arange(n) - 1, Origin.HELD)
    base = FrameLabels(
        "clip", 3, 1536, Fraction(1, 12800), 0.12, 320, 240, "B", Origin.PROPAGATED, 3, "motion", "moves", objects,
        {"decode": 1.23456},
    )  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    boxes=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate, score), max_size=5),
    pts=st.none() | st.integers(-(2**62), 2**62),
    time_s=st.floats(-10, 1e6),
    source=st.text(max_size=10),
)
def test_what_is_written_is_valid_and_reads_back_the_same(
    boxes: list[tuple[float, ...]], pts: int | None, time_s: float, source: str
) -> None:
    labels = frame([list(b[:4]) for b in boxes], [b[4] for b in boxes], pts=pts, time_s=time_s, source=source)
    line = schema.encode(labels, NAMES)
    record = schema.decode(line)
    VALIDATOR.validate(json.loads(line))
    schema.check(record)
    again = schema.from_record(record)
    assert schema.to_record(again, NAMES) == record
    np.testing.assert_allclose(again.objects.xyxy, labels.objects.xyxy, atol=0.0056)
    assert (again.time_base, again.origin, again.pts) == (labels.time_base, labels.origin, labels.pts)


def test_numbers_are_rounded_once_and_have_no_minus_zero() -> None:
    line = schema.encode(frame([[-0.001, 1.236, 33.333, 100.0]], [0.87654321]), NAMES)
    assert b'"xyxy":[0.0,1.24,33.33,100.0]' in line
    assert b'"score":0.8765' in line
    assert b'"decode":1.235' in line


def test_a_class_without_a_name_is_written_as_its_number() -> None:
    record = schema.to_record(frame([[0, 0, 9, 9]] * 4, [0.5] * 4), NAMES)
    assert [o["label"] for o in record["objects"]] == ["person", "bicycle", "car", "3"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_or_left_out(bad: float) -> None:
    with pytest.raises(SinkError, match="clip, frame 3, hold a number that is not finite"):
        schema.encode(frame([[0, 0, bad, 9]], [0.5]), NAMES)
    with pytest.raises(SinkError, match="not finite"):
        schema.encode(frame([[0, 0, 9, 9]], [bad]), NAMES)
    record = schema.to_record(frame([], [], time_s=bad, cost_ms={"cnn": bad, "decode": 1.0}), NAMES)
    assert record["time_s"] == 0.0
    assert record["cost_ms"] == {"decode": 1.0}


def test_a_name_that_is_no_text_is_still_written() -> None:
    assert schema.decode(schema.encode(frame([], [], source="caf\udce9"), NAMES))["source"] == "caf?"


def test_the_file_in_docs_is_up_to_date(root: Path) -> None:
    written = json.loads((root / "docs" / "labels.schema.json").read_text())
    assert written == schema.json_schema(), "run python -m everyframe.pipeline.schema > docs/labels.schema.json"
    jsonschema.Draft202012Validator.check_schema(written)


def test_the_schema_refuses_what_is_no_record() -> None:
    good = json.loads(schema.encode(frame([[0, 0, 9, 9]], [0.5]), NAMES))
    bad = [
        good | {"schema": 2}, good | {"frame_index": -1}, good | {"origin": "guessed"}, good | {"extra": 1},
        good | {"time_base": "1/0"}, {key: value for key, value in good.items() if key != "pts"},
        good | {"objects": [good["objects"][0] | {"xyxy": [0, 0, 9]}]},
        good | {"objects": [good["objects"][0] | {"score": 1.5}]},
    ]  # fmt: skip
    for record in bad:
        assert not VALIDATOR.is_valid(record), record
    assert VALIDATOR.is_valid(good)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"[1]", "not a label record"), (b'{"a":1}', "not a label record"),
        (b'{"schema":2,"frame_index":0}', "schema version 2"),
    ],
)  # fmt: skip
def test_lines_that_are_no_record_say_why(line: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        schema.decode(line)


def test_a_record_with_a_missing_field_names_its_frame() -> None:
    record = orjson.loads(schema.encode(frame([], []), NAMES))
    del record["time_base"]
    with pytest.raises(ValueError, match="frame 3"):
        schema.from_record(record)
    with pytest.raises(ValueError, match="time_base"):
        schema.check(record)
