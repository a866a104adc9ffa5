"""The cost table and the choice of runtime that rests on it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from everyframe.operators.detectors import weights
from everyframe.pipeline.costs import measure as costs
from everyframe.pipeline.costs.machine import cache_dir, cpu_flags, cpu_name, has_native_bf16, machine_id
from everyframe.pipeline.costs.measure import (
    candidates,
    choose_runtime,
    detect_costs,
    measure_costs,
    open_detector,
)
from everyframe.pipeline.costs.table import FORMAT, Cost, CostTable, default_table
from everyframe.pipeline.errors import DetectorError
from everyframe.pipeline.settings import ModelSettings

ROW = Cost("a CPU #1", "detect", "640x480", "abc", "torch", "2.13", "f32", 1, 41.5)
SMALL = ModelSettings(imgsz=64)


@pytest.fixture
def table(tmp_path: Path) -> CostTable:
    return CostTable(tmp_path / "cache" / "costs.json")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "own"))


def test_what_is_put_is_found_again_by_others(table: CostTable) -> None:
    table.put([ROW])
    other = CostTable(table.path)
    assert other.rows() == [ROW] and other.get(replace(ROW, ms=0)) == 41.5
    assert other.get(replace(ROW, threads=2)) is None
    assert other.rows("a CPU #2") == [] and other.rows("a CPU #1") == [ROW]
    assert [p.name for p in table.path.parent.iterdir()] == ["costs.json"], "no temporary file is left"


def test_two_processes_keep_each_others_rows(table: CostTable) -> None:
    other = CostTable(table.path)
    table.put([ROW])
    other.put([replace(ROW, precision="bf16", ms=20)])
    assert {row.precision: row.ms for row in CostTable(table.path).rows()} == {"f32": 41.5, "bf16": 20}


def test_a_new_figure_takes_the_place_of_the_old(table: CostTable) -> None:
    table.put([ROW])
    table.put([replace(ROW, ms=30)])
    assert [row.ms for row in CostTable(table.path).rows()] == [30]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b'{"format": 2, "costs": [',
        b"[1, 2]",
        b"null",
        b'{"format": 99, "costs": []}',
        b'{"format": 2, "costs": {}}',
        b'{"format": 2, "costs": [1, null, {"ms": 1}]}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(content: bytes, table: CostTable) -> None:
    table.path.parent.mkdir()
    table.path.write_bytes(content)
    damaged = CostTable(table.path)
    assert damaged.rows() == []
    damaged.put([ROW])
    assert CostTable(table.path).rows() == [ROW]


@pytest.mark.parametrize(
    "change",
    [{"ms": -1}, {"ms": "1"}, {"ms": float("nan")}, {"ms": True}, {"threads": "1"}, {"rung": 3}, {"more": 1}],
)
def test_a_damaged_row_counts_as_absent(change: dict[str, object], table: CostTable) -> None:
    table.path.parent.mkdir()
    good = replace(ROW, threads=4)
    document = {"format": FORMAT, "costs": [{**asdict(ROW), **change}, asdict(good)]}
    table.path.write_text(json.dumps(document))
    assert CostTable(table.path).rows() == [good]


def test_a_folder_that_cannot_be_written_is_lived_with(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    table = CostTable(tmp_path / "file" / "costs.json")
    table.put([ROW])
    assert table.get(ROW) == 41.5
    assert (tmp_path / "file").read_text() == "in the way"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_dir() == tmp_path / "own" and default_table() is default_table()
    monkeypatch.delenv("EVERYFRAME_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "everyframe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "everyframe"


def test_the_machine_has_a_name() -> None:
    assert cpu_name() and machine_id().startswith(cpu_name())
    assert has_native_bf16() == bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


@pytest.mark.parametrize(
    ("settings", "native", "want"),
    [
        (ModelSettings(runtime="torch"), True, [("torch", "f32"), ("torch", "bf16")]),
        (ModelSettings(runtime="torch"), False, [("torch", "f32")]),  # bf16 would be several times slower
        (
            ModelSettings(runtime="torch", precision="bf16"),
            False,
            [("torch", "bf16")],
        ),  # but who asks gets it
        (ModelSettings(runtime="openvino", precision="f32"), True, [("openvino", "f32")]),
        (ModelSettings(precision="f32"), True, [("torch", "f32"), ("openvino", "f32")]),
        (ModelSettings(device="cuda"), True, [("torch", "f32")]),
        (ModelSettings(device="cuda", precision="bf16"), True, [("torch", "bf16")]),
    ],
)
def test_candidates(
    settings: ModelSettings, native: bool, want: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if ("openvino", "f32") in want and settings.runtime == "auto":
        pytest.importorskip("everyframe.operators.detectors.graph", reason="openvino is not installed")
    monkeypatch.setattr(costs, "has_native_bf16", lambda: native)
    assert candidates(settings) == want


def test_the_cheapest_is_chosen_and_measured_only_once(table: CostTable) -> None:
    choice = choose_runtime(SMALL, 64, 48, table)
    rows = table.rows()
    assert choice == min((r.ms, r.runtime, r.precision) for r in rows)[1:]
    assert {(r.runtime, r.precision) for r in rows} == set(candidates(SMALL))
    assert all(r.ms > 0 and r.size == "64x64" and r.machine == machine_id() for r in rows)
    # Were anything measured again, these figures would not stand.
    table.put([replace(r, ms=0.001 if r.runtime == "torch" and r.precision == "f32" else 9.0) for r in rows])
    assert choose_runtime(SMALL, 64, 48, table) == ("torch", "f32")
    assert choose_runtime(SMALL, 640, 480, CostTable(table.path)) == ("torch", "f32"), (
        "the CNN sees the same size"
    )


def test_nothing_is_measured_where_there_is_no_choice(table: CostTable) -> None:
    settings = replace(SMALL, runtime="torch", precision="f32")
    assert choose_runtime(settings, 64, 48, table) == ("torch", "f32")
    assert table.rows() == []


def test_all_rungs_are_measured(table: CostTable) -> None:
    settings = replace(SMALL, runtime="torch", precision="f32")
    rows = {row.rung: row for row in measure_costs(settings, 320, 240, table)}
    assert set(rows) == {"detect", "prepare", "propagate", "hold"}
    assert rows["detect"].size == "64x64" and rows["propagate"].size == "320x240"
    assert all(row.ms > 0 for row in rows.values())
    assert sorted(r.rung for r in CostTable(table.path).rows()) == sorted(rows)
    assert detect_costs(settings, 320, 240, table) == [rows["detect"]]


def test_open_detector_settles_auto(table: CostTable) -> None:
    detector = open_detector(SMALL, 64, 48, table=table)
    assert (detector.runtime, detector.precision) == choose_runtime(SMALL, 64, 48, table)


def test_an_optional_runtime_that_is_broken_does_not_stop_auto(
    table: CostTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "available", lambda device: ["torch", "openvino"])
    monkeypatch.setitem(sys.modules, "everyframe.operators.detectors.graph", None)
    assert choose_runtime(SMALL, 64, 48, table)[0] == "torch"
    with pytest.raises(DetectorError, match="OpenVINO is not installed"):
        open_detector(replace(SMALL, runtime="openvino"), 64, 48, table=table)


def test_bad_weights_are_the_users_error(tmp_path: Path, table: CostTable) -> None:
    spoilt = tmp_path / "short.safetensors"
    data = weights.read("nanodet-g")
    spoilt.write_bytes(data[: len(data) // 2])
    for model in (str(spoilt), str(tmp_path / "gone")):
        for runtime in ("auto", "torch", "openvino"):
            with pytest.raises(DetectorError):
                open_detector(replace(SMALL, model=model, runtime=runtime), 64, 48, table=table)  # type: ignore[arg-type]
