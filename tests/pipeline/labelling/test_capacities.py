"""Several capacities of the detector in one run: what looks, what is counted, audited and priced, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from everyframe.operators.base import Prices
from everyframe.operators.types import Origin
from everyframe.pipeline import cli
from everyframe.pipeline.config import make_settings
from everyframe.pipeline.costs.measure import load
from everyframe.pipeline.costs.prices import priced, priced_capacities
from everyframe.pipeline.engines.base import Chunk, Finished
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.engines.ray import RayEngine
from everyframe.pipeline.errors import DetectorError, SettingsError
from everyframe.pipeline.labelling.capacities import check_alike
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.loaded import Detectors
from everyframe.pipeline.models import told_error
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.runs.summary import dense_ms
from everyframe.pipeline.settings import Capacity, LabelSettings, Mode, ModelSettings, RunSettings
from everyframe.pipeline.sources.file import FileSource

MODEL = ModelSettings(imgsz=256, runtime="torch", precision="f32")
FAST = Capacity("fast", replace(MODEL, model="fast"), 0.4, 0.02)
PRICES = Prices({"detect": 20.0, "decode": 1.0, "plain": 1.0, "frame": 0.1}, {})
SETTINGS = LabelSettings(policy="learned:2", mode="causal", limit=90, model=MODEL, prices=PRICES, capacities=(FAST,))


@pytest.fixture(scope="module")
def clip(data_dir: Path) -> str:
    return str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return Detectors()


def labelled(clip: str, settings: LabelSettings, detectors: Detectors) -> tuple[StreamWorker, list[Any]]:
    with FileSource(clip) as source:
        detector = detectors.get(settings, source.info)
        worker = StreamWorker(source, detector, settings, detectors.capacities(settings, source.info, detector))
        return worker, [record for chunk in worker.chunks() for record in chunk]


@pytest.mark.parametrize(("policy", "mode"), [("learned:2", "causal"), ("learned:12", "lookahead"), ("motion", "lookahead")])
def test_the_cheap_one_looks_and_records_tell(policy: str, mode: Mode, clip: str, detectors: Detectors) -> None:
    worker, records = labelled(clip, replace(SETTINGS, policy=policy, mode=mode, limit=150), detectors)
    assert len(records) == worker.stats.frames == 150
    looks = worker.stats.looks
    assert set(looks) == {"detect", "detect@fast"}
    assert records[0].origin == Origin.DETECTED and "fast" not in records[0].reason
    seen = [record for record in records if "by fast" in record.reason]
    assert seen and all(record.origin == Origin.DETECTED and record.key_age == 0 for record in seen)
    assert len(seen) <= looks["detect@fast"]
    assert worker.stats.look_cost == pytest.approx(looks["detect"] + 0.4 * looks["detect@fast"])


def test_identities_go_on_across_capacities(clip: str, detectors: Detectors) -> None:
    records = labelled(clip, SETTINGS, detectors)[1]
    full = labelled(clip, replace(SETTINGS, capacities=()), detectors)[1]
    ids = [len({track for record in run for track in record.objects.track_id.tolist()}) for run in (records, full)]
    first = set(records[0].objects.track_id.tolist())
    assert first & set(records[30].objects.track_id.tolist())
    assert ids[0] <= 1.5 * ids[1]


def test_what_the_cheap_one_saw_is_audited_with_the_full_one(clip: str, detectors: Detectors) -> None:
    worker, records = labelled(clip, replace(SETTINGS, audit=1.0), detectors)
    sums = worker.stats.audits
    full = sum(record.origin == Origin.DETECTED and "by fast" not in record.reason for record in records)
    assert sums.open == sums.n == len(records) - full
    cheap = [record.frame_index for record in records if "by fast" in record.reason]
    assert cheap and sums.y > sums.x  # what it got wrong was seen
    alone = labelled(clip, replace(SETTINGS, audit=0.0), detectors)[1]
    assert [r.objects.xyxy.tolist() for r in alone] == [r.objects.xyxy.tolist() for r in records]


def test_policies_that_choose_nothing_never_see_it(clip: str, detectors: Detectors) -> None:
    worker, _ = labelled(clip, replace(SETTINGS, policy="stride:20", limit=41), detectors)
    assert worker.stats.looks == {"detect": 3} and worker.stats.look_cost == 3


def test_one_that_is_no_cheaper_is_not_loaded(clip: str, detectors: Detectors) -> None:
    settings = replace(SETTINGS, capacities=(replace(FAST, cost=1.0),), limit=30)
    worker, _ = labelled(clip, settings, detectors)
    assert set(worker.stats.looks) == {"detect"}
    assert worker.stats.notes == ["No look here with fast: it costs no less than the model."]


def test_the_cost_of_dense_is_reckoned_in_looks_of_the_full_one(clip: str, detectors: Detectors) -> None:
    worker, _ = labelled(clip, SETTINGS, detectors)
    stats = worker.stats
    look = stats.cpu_ms["cnn"] / stats.look_cost
    assert dense_ms(stats) == pytest.approx(
        stats.cpu_ms["demux"] / stats.frames + stats.cpu_ms["decode"] / stats.decoded + stats.cpu_ms["convert"] / stats.cnn_frames + look
    )


def digest(engine: LocalEngine | RayEngine, clip: str, settings: LabelSettings) -> tuple[str, dict[str, int]]:
    found, looks = LabelDigest(), {}
    try:
        for event in engine.run([clip], settings):
            if isinstance(event, Chunk):
                found.update(event.labels)
            elif isinstance(event, Finished):
                assert event.error is None
                looks = event.stats.looks
    finally:
        engine.close()
    return found.hexdigest(), looks


def test_labels_are_the_same_on_ray(clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    fast = replace(FAST, model=ModelSettings("fast", 256, "openvino", "int8"))
    settings = replace(SETTINGS, capacities=(fast,), limit=120)  # prices are given: measured ones differ
    with FileSource(clip) as source:
        size = source.info.width, source.info.height
    cost = priced(settings, *size).capacities[0].cost
    if not 0 < cost < 1:
        pytest.skip(f"int8 is not cheaper than float32 in PyTorch here: {cost:g}")
    local = digest(LocalEngine(frames_per_shard=60), clip, settings)
    assert local[1]["detect@fast"] > 0
    assert digest(RayEngine(workers=2, frames_per_shard=60), clip, settings) == local


def test_settings_become_capacities_of_the_same_kind() -> None:
    made = make_settings({"capacities": ["fast"], "imgsz": 320, "policy": "learned"})
    assert made.capacities == ("fast",)
    capacity = made.label_settings().capacities[0]
    assert capacity.model == replace(made.label_settings().model, model="fast", precision="auto")
    assert capacity.rung.name == "detect@fast"
    assert RunSettings().label_settings().capacities == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"capacities": "fast", "policy": "stride:10"}, "looks with --model alone"),
        ({"capacities": "full"}, "other than --model"),
        ({"capacities": "fast,x.safetensors", "model": "fast"}, "other than --model"),
    ],
)
def test_what_cannot_work_is_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make_settings(options)


def test_a_model_that_is_not_there_is_told(clip: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["run", clip, "--capacities", "gone.safetensors", "--limit", "3", "--out", str(tmp_path), "--engine", "local", "--imgsz", "192"]
    assert cli.call(command) == 1
    said = capsys.readouterr().err
    assert "gone.safetensors" in said and "Traceback" not in said
    assert not list(tmp_path.glob("*.jsonl"))


def test_other_classes_are_refused() -> None:
    detector, other = load(replace(MODEL, imgsz=96)), load(replace(MODEL, imgsz=96))
    check_alike(detector, other, "fast")
    other.names = ("forklift",)  # type: ignore[misc]
    with pytest.raises(DetectorError, match="same classes"):
        check_alike(detector, other, "mine.onnx")


def test_what_a_model_tells_of_its_error_is_taken(tmp_path: Path) -> None:
    assert told_error("fast", 0.5) == pytest.approx(0.02, abs=0.02)
    assert told_error("nanodet-g", 0.07) == 0.07
    assert told_error("mine.onnx", 0.07) == 0.07
    fast = priced_capacities(SETTINGS, 320, 240)[0]
    assert fast.error == told_error("fast", 0.5) and fast.model.runtime == "torch"


def test_costs_list_every_capacity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    line = "costs --size 64x64 --imgsz 64 --runtime torch --precision f32 --capacities fast --json"
    assert cli.call(line.split()) == 0
    rows = orjson.loads(capsys.readouterr().out)["costs"]
    assert {row["capacity"] for row in rows if row["rung"] == "detect"} == {"full", "fast"}
    assert cli.call(line.removesuffix(" --json").split()) == 0
    assert "detect@fast" in capsys.readouterr().out
