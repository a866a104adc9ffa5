from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.pipeline import evaluation
from everyframe.pipeline.errors import SinkError, SourceError, UsageError
from everyframe.pipeline.evaluation.dense import dense, picture_key
from everyframe.pipeline.evaluation.replay import ReplayDetector
from everyframe.pipeline.metrics import select
from everyframe.pipeline.settings import LabelSettings

KEYS = (
    "policy", "mode", "frames", "f1_dense", "f1_truth", "dense_f1_truth", "f1_frames", "class_accuracy",
    "count_error", "delay_frames", "cpu_ms_per_frame", "dense_cpu_ms_per_frame", "speedup", "decode_fraction",
    "cnn_fraction", "runtime", "precision",
)  # fmt: skip
FRAMES = 61
SETTINGS = LabelSettings(mode="lookahead", classes=("person",), limit=FRAMES)


class Blind(NanoDetDetector):
    """A detector that knows its name and nothing else."""

    def __init__(self, like: NanoDetDetector) -> None:
        self.__dict__.update(like.__dict__)

    def infer(self, prepared: Any) -> Any:
        raise AssertionError("the CNN ran")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERYFRAME_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def detector() -> NanoDetDetector:
    return load_detector(imgsz=416)


@pytest.fixture(scope="module")
def pets(data_dir: Path) -> Path:
    return data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4"


@pytest.fixture(scope="module")
def rows(pets: Path, detector: NanoDetDetector) -> list[evaluation.Row]:
    policies = ["dense", "stride:5", "iframes", "peer:stride-hold:5", "peer:iframes-linear"]
    truth = str(pets.parent / "gt.txt")
    return evaluation.evaluate(str(pets), policies, SETTINGS, truth=truth, detector=detector)


def test_rows_have_every_key(rows: list[evaluation.Row]) -> None:
    for row in rows:
        plain = json.loads(json.dumps(row.as_json()))
        assert set(KEYS) <= set(plain)
        assert all(plain[key] is not None for key in KEYS)
        assert plain["frames"] == FRAMES
        assert (plain["runtime"], plain["precision"]) == ("torch", "f32")
        assert plain["speedup"] == pytest.approx(
            plain["dense_cpu_ms_per_frame"] / plain["cpu_ms_per_frame"], rel=1e-3
        )
    assert [row.mode for row in rows] == ["lookahead"] * 3 + ["causal", "lookahead"]


def test_dense_agrees_with_itself(rows: list[evaluation.Row]) -> None:
    row = rows[0]
    assert row.f1_dense > 0.98
    assert row.cnn_fraction == row.decode_fraction == 1
    assert row.f1_truth == pytest.approx(row.dense_f1_truth, abs=0.02)


def test_accuracy_on_a_real_clip(rows: list[evaluation.Row]) -> None:
    _, stride, keys, hold, linear = rows
    assert stride.f1_dense > 0.9
    assert stride.f1_truth is not None and stride.dense_f1_truth is not None
    assert stride.f1_truth > stride.dense_f1_truth - 0.03
    assert stride.f1_dense > hold.f1_dense + 0.1
    assert keys.f1_dense > linear.f1_dense
    assert keys.decode_fraction < 0.1
    assert stride.cnn_fraction == pytest.approx(13 / FRAMES)
    assert stride.delay_frames is not None and stride.delay_frames < 5


def test_a_replay_gives_the_same_labels_without_the_cnn(
    rows: list[evaluation.Row], pets: Path, detector: NanoDetDetector
) -> None:
    [row] = evaluation.evaluate(str(pets), ["stride:5"], SETTINGS, measure=False, detector=Blind(detector))
    assert row.f1_dense == rows[1].f1_dense
    assert (row.class_accuracy, row.count_error) == (rows[1].class_accuracy, rows[1].count_error)
    assert row.cpu_ms_per_frame is row.dense_cpu_ms_per_frame is row.speedup is None
    assert row.f1_truth is row.dense_f1_truth is None
    assert row.cpu_ms_by_step == {}


def test_measuring_runs_the_cnn_though_detections_are_known(
    rows: list[evaluation.Row], pets: Path, detector: NanoDetDetector
) -> None:
    with pytest.raises(AssertionError, match="the CNN ran"):
        dense(str(pets), Blind(detector), FRAMES)


def test_known_detections_serve_shorter_looks(data_dir: Path, detector: NanoDetDetector, cache: Path) -> None:
    clip = str(data_dir / "moving" / "dashcam.mp4")
    whole = dense(clip, detector, measure=False)
    assert len(whole.frames) == len(whole.pictures) == 38
    some = dense(clip, Blind(detector), 7, measure=False)
    assert all((a.xyxy == b.xyxy).all() for a, b in zip(some.frames, whole.frames[:7], strict=True))
    other = replace_min_score(detector, 0.3)
    assert sum(map(len, dense(clip, other, 7, measure=False).frames)) < sum(map(len, some.frames))


def replace_min_score(detector: NanoDetDetector, score: float) -> NanoDetDetector:
    return NanoDetDetector(detector._runtime, detector.net, detector.model, detector.digest, detector.imgsz, score)


def test_a_damaged_cache_is_made_anew(
    data_dir: Path, detector: NanoDetDetector, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    clip = str(data_dir / "moving" / "dashcam.mp4")
    first = dense(clip, detector, 3, measure=False)
    [kept] = (tmp_path / "detections").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    again = dense(clip, detector, 3, measure=False)
    assert [len(o) for o in again.frames] == [len(o) for o in first.frames]
    assert kept.stat().st_size == len(whole)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    data_dir: Path, detector: NanoDetDetector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "file"))
    assert len(dense(str(data_dir / "moving" / "dashcam.mp4"), detector, 2, measure=False).frames) == 2


def test_replay_hands_unknown_pictures_on(data_dir: Path, detector: NanoDetDetector) -> None:
    known = dense(str(data_dir / "moving" / "dashcam.mp4"), detector, measure=False)
    replay = ReplayDetector(known, detector)
    assert replay.names == detector.names and replay.runtime == "torch"
    grey = np.full((96, 128, 3), 128, np.uint8)
    assert picture_key(grey) not in known.pictures.tolist()
    assert len(replay.detect(grey)) == len(detector.detect(grey))
    with pytest.raises(AssertionError, match="the CNN ran"):
        ReplayDetector(known, Blind(detector)).detect(grey)


@pytest.mark.parametrize(
    ("policies", "changes", "message"),
    [
        ([], {}, "name at least one policy"),
        (["strid:10"], {}, "stride:N"),
        (["peer:bytetrak:10"], {}, "did you mean"),
        (["dense"], {"classes": ("persn",)}, "person"),
    ],
)
def test_misuse_is_explained(
    pets: Path, detector: NanoDetDetector, policies: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluation.evaluate(str(pets), policies, replace(SETTINGS, **changes), detector=detector)


def test_truth_must_label_what_is_evaluated(pets: Path, detector: NanoDetDetector, tmp_path: Path) -> None:
    truth = tmp_path / "gt.txt"
    truth.write_text("500,1,0,0,5,5,1\n")
    with pytest.raises(UsageError, match="labels frames 500-500"):
        evaluation.evaluate(
            str(pets), ["dense"], SETTINGS, truth=str(truth), measure=False, detector=Blind(detector)
        )


def test_the_group_that_the_truth_labels_is_recognised(
    data_dir: Path, detector: NanoDetDetector, tmp_path: Path
) -> None:
    clip = str(data_dir / "moving" / "dashcam.mp4")
    vehicles = [i for i, group in enumerate(detector.supercategory) if group == "vehicle"]
    rows = [
        f"{index},{number},{x1},{y1},{x2 - x1},{y2 - y1},1,-1,-1,-1"
        for index, objects in enumerate(dense(clip, detector, measure=False).frames, 1)
        for number, (x1, y1, x2, y2) in enumerate(
            select(objects, np.array(vehicles, np.int32)).xyxy.tolist(), 1
        )
    ]
    truth = tmp_path / "gt.txt"
    truth.write_text("\n".join(rows))
    settings = LabelSettings(mode="causal")
    [row] = evaluation.evaluate(
        clip, ["peer:stride-hold:5"], settings, truth=str(truth), measure=False, detector=Blind(detector)
    )
    assert row.dense_f1_truth == 1
    assert row.f1_truth is not None and row.f1_truth < 1


def test_missing_video() -> None:
    with pytest.raises(SourceError):
        evaluation.evaluate("none.mp4", ["dense"])


def test_table_and_plot(rows: list[evaluation.Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    shown = evaluation.table(rows)
    assert shown.row_count == len(rows)
    assert "F1 truth" in [column.header for column in shown.columns]
    bare = [replace(row, f1_truth=None, dense_f1_truth=None, cpu_ms_per_frame=None) for row in rows]
    assert "F1 truth" not in [column.header for column in evaluation.table(bare).columns]
    evaluation.plot(rows, str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"\.png"):
        evaluation.plot(rows, str(tmp_path / "plot.xyz"))
    with pytest.raises(SinkError, match="Cannot write"):
        evaluation.plot(rows, str(tmp_path / "none" / "plot.png"))
    with pytest.raises(UsageError, match="Nothing to draw"):
        evaluation.plot(bare, str(tmp_path / "plot.png"))
