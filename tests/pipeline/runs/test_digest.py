"""The digest over labels: costs do not count, everything else does, in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from everyframe.operators.types import Origin
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.schema import from_record, to_record


def digest(labels: list[FrameLabels]) -> str:
    whole = LabelDigest()
    whole.update(labels)
    return whole.hexdigest()


def test_chunks_and_costs_do_not_change_it(make_labels: Any) -> None:
    labels = make_labels(40)
    parts = LabelDigest()
    for start in range(0, 40, 7):
        parts.update([replace(r, cost_ms={"cnn": 5.0}) for r in labels[start : start + 7]])
    assert parts.hexdigest() == digest(labels)
    assert len(parts.hexdigest()) == 32


def test_order_counts(make_labels: Any) -> None:
    labels = make_labels(5)
    assert digest(labels[::-1]) != digest(labels)
    assert digest(labels[:4]) != digest(labels)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "other"}, {"frame_index": 9}, {"pts": None}, {"time_s": 1.0}, {"width": 8}, {"height": 8},
        {"picture": "?"}, {"origin": Origin.HELD}, {"key_age": 99}, {"policy": "dense"}, {"reason": "why"},
    ],
)  # fmt: skip
def test_every_field_counts(make_labels: Any, change: dict[str, object]) -> None:
    labels = make_labels(1)
    assert digest([replace(labels[0], **change)]) != digest(labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["xyxy", "score", "class_id", "track_id", "origin"])
def test_every_field_of_an_object_counts(make_labels: Any, field: str) -> None:
    labels = make_labels(1)[0]
    values = getattr(labels.objects, field).copy()
    values[0] += 0.01 if field == "score" else 1
    changed = replace(labels, objects=replace(labels.objects, **{field: values}))
    assert digest([changed]) != digest([labels])


def test_it_can_be_had_from_labels_that_were_written_and_read(make_labels: Any) -> None:
    labels = make_labels(30, objects=8)
    names = ("a", "b", "c")
    assert digest([from_record(to_record(r, names)) for r in labels]) == digest(labels)


def test_differences_below_what_is_written_do_not_count(make_labels: Any) -> None:
    labels = make_labels(1)[0]
    rounded = np.round(labels.objects.xyxy.astype(np.float64), 2).astype(np.float32)
    same = replace(labels, objects=replace(labels.objects, xyxy=rounded))
    assert digest([same]) == digest([labels])
