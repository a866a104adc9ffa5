"""`everyframe replay`: rows like those of an evaluation, at any machine's costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tracing import MODEL, Recorded

from everyframe.operators.base import Prices
from everyframe.operators.detectors.letterbox import fit
from everyframe.pipeline import metrics
from everyframe.pipeline.cli import call
from everyframe.pipeline.engines.base import Chunk
from everyframe.pipeline.engines.local import LocalEngine
from everyframe.pipeline.errors import UsageError
from everyframe.pipeline.evaluation import ReplayDetector
from everyframe.pipeline.settings import Goal, LabelSettings
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.playback import player, prices_of
from everyframe.pipeline.traces.replay import Machine, machine_from, replay
from everyframe.policies.learned import BACK, Learned


@pytest.fixture(scope="module")
def path(busy: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / f"busy{tf.SUFFIX}"
    tf.save(busy.trace, path)
    return path


def test_dense_is_perfect_and_costs_follow_the_machine(busy: Recorded) -> None:
    ours, dense = replay(busy.trace, ["stride:10", "dense"], LabelSettings(mode="causal"))
    assert dense.f1_dense == 1.0
    assert ours.cnn_fraction == pytest.approx(6 / busy.limit, abs=1e-6)
    assert ours.decode_fraction == 1.0
    fast = replay(busy.trace, ["stride:10"], LabelSettings(mode="causal"), Machine(detect=1.0))[0]
    assert ours.cpu_ms_per_frame is not None and fast.cpu_ms_per_frame is not None
    saved = (busy.trace.costs["detect"] - 1.0) * ours.cnn_fraction
    assert ours.cpu_ms_per_frame - fast.cpu_ms_per_frame == pytest.approx(saved, rel=0.2)
    assert fast.f1_dense == ours.f1_dense


def test_costs_of_another_machine(busy: Recorded, tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    rows = [{"rung": "detect", "size": "320x256", "cpu_ms": ms} for ms in (9.0, 5.0)]
    file.write_text(json.dumps({"costs": [*rows, {"rung": "hold", "size": "320x256", "cpu_ms": 0.1}]}))
    assert machine_from(str(file), busy.trace).detect == 5.0
    file.write_text(json.dumps({"costs": [{"rung": "detect", "size": "640x480", "cpu_ms": 9.0}]}))
    with pytest.raises(UsageError, match="has no cost of the CNN at 320x256"):
        machine_from(str(file), busy.trace)
    file.write_text("[]")
    with pytest.raises(UsageError, match="not what everyframe costs"):
        machine_from(str(file), busy.trace)


def test_command(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(["replay", str(path), "--policy", "stride:5", "--policy", "iframes", "--causal", "--json", "--quiet"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["policy"] for row in rows] == ["stride:5", "iframes"]
    assert all(0 < row["f1_dense"] <= 1 and row["cpu_ms_per_frame"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "residual"], "looks at pictures (residual)"),
        (["--policy", "strid:5"], "did you mean stride:N?"),
        (["--classes", "persn"], "persn"),
        (["--detect-ms", "0"], "above 0"),
        (["--detect-ms", "1", "--costs", "x.json"], "give one of them"),
    ],
)
def test_misuse_is_told(options: list[str], said: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["replay", str(path), "--quiet", *options]) == 2
    assert said in capsys.readouterr().err


def _priced(trace: tf.Trace) -> tf.Trace:
    """With prices like those of an ordinary CPU, in place of what was measured just now: a start, the rest by area."""
    box = fit(trace.meta["width"], trace.meta["height"], MODEL.imgsz).outer
    sizes = {name: tuple(map(int, name.split("x"))) for name in trace.meta["crops"]}
    crops = {name: 2 + 8 * w * h / (box[0] * box[1]) for name, (w, h) in sizes.items()}
    return replace(trace, meta={**trace.meta, "crops": crops, "costs": {**trace.costs, "detect": 10.0}})


def test_region_is_modelled(busy: Recorded) -> None:
    """Looks at parts find what the whole look finds there: it stays near a real run of the rung."""
    trace = _priced(busy.trace)
    settings = LabelSettings(policy="region:10", mode="causal", limit=busy.limit, model=MODEL, prices=prices_of(trace))
    events = LocalEngine(ReplayDetector(busy.known, busy.detector)).run([busy.video], settings)
    real = [record.objects for event in events if isinstance(event, Chunk) for record in event.labels]
    groups = metrics.group_table(busy.detector.supercategory)
    f1 = metrics.agree(real, [metrics.select(o) for o in busy.known.frames], groups).f1
    row = replay(trace, ["region:10"], settings)[0]
    assert row.partial_fraction > 0
    assert row.f1_dense == pytest.approx(f1, abs=0.04)
    assert row.cpu_ms_by_step["region"] > 0


def test_record_command(busy: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--limit", "6", "--imgsz", "320", "--runtime", "torch", "--precision", "f32", "--out", str(tmp_path)]
    command = ["record", busy.video, *options, "--json", "--quiet"]
    assert call(command) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 6
    assert call(command) == 0
    assert json.loads(capsys.readouterr().out)["recorded"] is False
    assert call(["record", str(tmp_path / "none.mp4"), *options]) == 1
    assert "none.mp4" in capsys.readouterr().err
    assert call(["record"]) == 2


def test_a_policy_that_is_steered_is_told_the_costs_of_the_machine(busy: Recorded) -> None:
    cheap = LabelSettings(mode="lookahead", goal=Goal(speedup=20.0))
    dear = LabelSettings(mode="lookahead", goal=Goal(speedup=1.5))
    ours = [replay(busy.trace, ["learned"], settings)[0] for settings in (cheap, dear)]
    assert ours[0].cnn_fraction < ours[1].cnn_fraction
    assert replay(busy.trace, ["learned:0.001"], LabelSettings(mode="causal"))[0].cnn_fraction < ours[1].cnn_fraction


def test_how_far_a_run_looks_back_follows_the_price(busy: Recorded) -> None:
    prices = Prices({"detect": 20.0, "decode": 1.0, "plain": 1.0, "frame": 0.1}, {})
    settings = LabelSettings(policy="learned", mode="lookahead", prices=prices, goal=Goal(speedup=1.5))
    worker = player(busy.trace, settings).worker
    policy = worker.policy
    assert isinstance(policy, Learned)
    before = policy.traits.look_back
    for _ in worker.chunks():
        pass
    assert worker._interval.price == policy.traits.look_back == pytest.approx(BACK / policy.price)
    assert policy.traits.look_back != before
