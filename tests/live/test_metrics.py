"""/metrics as Prometheus reads it: names, counters that never go back, cumulative buckets in seconds."""

from __future__ import annotations

import http.client
from contextlib import closing
from dataclasses import replace

import pytest
from boards import ClipBoard, dashcam
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from everyframe.pipeline.live.http import serve
from everyframe.pipeline.live.metrics import BoardCollector, Monotone, make_metrics
from everyframe.pipeline.live.types import Histogram

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def board() -> ClipBoard:
    made = ClipBoard(dashcam(), ["yard", 'a "quoted\\\n" name'])
    made.step(12)
    return made


def values(body: bytes) -> dict[tuple[str, ...], float]:
    """By (name, label values...)."""
    found = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found, key
            found[key] = sample.value
    return found


def test_what_the_reports_say_is_there(board: ClipBoard) -> None:
    collector = BoardCollector(board, lambda: {"yard": 0.125})
    board.change("yard", waiting=7, spool_bytes=900, level=2, lag_s=1.5, state="waiting")
    counts = {"dropped.overload": 3, "dropped.before_key": 1, "looks_dropped": 4}
    board.change("yard", counts=board.cameras()[0].counts | counts)
    found = values(make_metrics(collector)("")[0])
    assert found["everyframe_frames_received_total", "yard"] == 12
    assert found["everyframe_frames_decoded_total", "yard"] == 12
    assert found["everyframe_labels_published_total", "yard"] == 12
    assert found["everyframe_records_total", "yard", "detected"] == 2
    assert found["everyframe_records_total", "yard", "propagated"] == 10
    assert found["everyframe_frames_dropped_total", "yard", "overload"] == 3
    assert found["everyframe_frames_dropped_total", "yard", "before_key"] == 1
    assert found["everyframe_occurrences_total", "yard", "looks_dropped"] == 4
    assert found["everyframe_reconnects_total", "yard"] == 0
    assert found["everyframe_camera_cpu_cores", "yard"] == 0.125
    assert (found["everyframe_spool_records", "yard"], found["everyframe_spool_bytes", "yard"]) == (7, 900)
    assert (found["everyframe_overload_level", "yard"], found["everyframe_lag_seconds", "yard"]) == (2, 1.5)
    assert found["everyframe_camera_state", "yard", "waiting"] == 1
    assert found["everyframe_camera_state", "yard", "live"] == found["everyframe_camera_up", "yard"] == 0
    low, f1, high = (found[f"everyframe_audited_f1{end}", "yard"] for end in ("_low", "", "_high"))
    assert 0 < low <= f1 <= high <= 1
    assert found["everyframe_price_of_error", "yard"] == 0.25
    assert found[("everyframe_cpu_budget_cores",)] == 1.5
    assert found["everyframe_frames_received_total", 'a "quoted\\\n" name'] == 12


def test_both_text_formats_are_valid(board: ClipBoard) -> None:
    scrape = make_metrics(BoardCollector(board))
    body, kind = scrape(OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(body.decode())}
    assert families["everyframe_frames_received"].type == "counter"
    assert families["everyframe_publish_latency_seconds"].type == "histogram"
    assert all(family.documentation.endswith(".") for family in families.values())
    assert not any(name.endswith("_created") for name in families)
    body, kind = scrape("text/plain")
    assert kind.startswith("text/plain") and values(body)


def test_buckets_are_cumulative_and_in_seconds(board: ClipBoard) -> None:
    board.change("yard", publish=Histogram((10.0, 25.0, 100.0), (4, 3, 0, 2), 400.0))
    found = values(make_metrics(BoardCollector(board))("")[0])
    name = "everyframe_publish_latency_seconds"
    assert [found[f"{name}_bucket", "yard", le] for le in ("0.01", "0.025", "0.1", "+Inf")] == [4, 7, 7, 9]
    assert (found[f"{name}_count", "yard"], found[f"{name}_sum", "yard"]) == (9, 0.4)
    assert f"{name}_count" in {key[0] for key in found if key[1:] == ('a "quoted\\\n" name',)}


def test_a_price_that_is_none_and_audits_that_are_none_are_left_out(board: ClipBoard) -> None:
    board.change("yard", price=float("nan"), audits=type(board.cameras()[0].audits)(), publish=None)
    found = values(make_metrics(BoardCollector(board))("")[0])
    for name in ("everyframe_price_of_error", "everyframe_audited_f1", "everyframe_publish_latency_seconds_count"):
        assert (name, "yard") not in found


def test_counters_go_on_over_a_restart_of_a_camera(board: ClipBoard) -> None:
    scrape = make_metrics(BoardCollector(board))
    before = values(scrape("")[0])
    report = board.cameras()[0]
    empty = replace(report.publish, counts=(0,) * len(report.publish.counts), total_ms=0.0) if report.publish else None
    board.change("yard", cpu_s=0.0, epoch=1, publish=empty, counts={"received": 2})
    after = values(scrape("")[0])
    assert after["everyframe_camera_cpu_seconds_total", "yard"] == before["everyframe_camera_cpu_seconds_total", "yard"] > 0
    assert after["everyframe_frames_received_total", "yard"] == 14
    count = "everyframe_publish_latency_seconds_count"
    assert after[count, "yard"] == before[count, "yard"] == 12
    board.remove("yard")
    assert not any("yard" in key for key in values(scrape("")[0]))


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), min_size=1, max_size=6))
def test_what_goes_on_never_goes_back_and_loses_nothing(lives: list[list[int]]) -> None:
    """Each life counts from nought in steps; between two scrapes a life that ended is seen to start below."""
    monotone, last, expected = Monotone(), 0.0, 0.0
    for steps in lives:
        total = 0
        (begun,) = monotone.go_on("key", (0,))
        assert begun == pytest.approx(expected)
        for step in steps:
            total += step
            (now,) = monotone.go_on("key", (total,))
            assert now >= last
            last = now
        expected += total
    assert last == pytest.approx(expected)


def test_a_scrape_over_http(board: ClipBoard) -> None:
    server = serve(board, ":0", None)
    try:
        host, _, port = server.address.rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=20)) as line:
            line.request("GET", "/metrics", headers={"Accept": OPENMETRICS})
            answer = line.getresponse()
            assert answer.getheader("content-type", "").startswith("application/openmetrics-text")
            assert list(parse_openmetrics(answer.read().decode()))
    finally:
        server.stop()
