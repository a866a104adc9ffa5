"""What a further capacity finds on a recorded clip: kept beside the trace, and played as a run would go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tracing import MODEL, Recorded

from everyframe.operators.base import Prices
from everyframe.pipeline.cli import call
from everyframe.pipeline.costs.measure import load
from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.settings import Capacity, LabelSettings, Mode
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.playback import player
from everyframe.pipeline.traces.replay import replay
from everyframe.pipeline.traces.second import Second, load_second, record_second, save_second, second_path
from everyframe.pipeline.training.curves import points_of

FAST = replace(MODEL, model="fast")
PRICES = Prices({"detect": 20.0, "decode": 1.0, "plain": 1.0, "frame": 0.1}, {})


@pytest.fixture(scope="module")
def second(busy: Recorded) -> Second:
    return record_second(busy.video, FAST, busy.limit)


def test_it_is_kept_and_read_again(second: Second, busy: Recorded, tmp_path: Path) -> None:
    path = second_path(tmp_path / f"busy{tf.SUFFIX}", "fast")
    assert path.name == "busy.fast.capacity.npz"
    assert save_second(second, path) == path.stat().st_size
    again = load_second(path, busy.trace)
    assert again.meta == second.meta
    assert len(again.objects) == len(busy.trace)
    for a, b in zip(again.objects, second.objects, strict=True):
        assert np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.score, b.score)


def test_files_of_one_name_have_a_place_each(tmp_path: Path) -> None:
    places = {second_path(tmp_path / "x.trace.npz", name) for name in ("a/m.onnx", "b/m.onnx", "m", "fast")}
    assert len(places) == 4 and all(place.parent == tmp_path for place in places)


def test_what_does_not_fit_is_told(second: Second, busy: Recorded, with_b: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "x.fast.capacity.npz"
    with pytest.raises(SourceError, match="--capacities"):
        load_second(path, busy.trace)
    save_second(second, path)
    with pytest.raises(SourceError, match="another video"):
        load_second(path, with_b.trace)
    for meta, said in (({"format": 9}, "another version"), ({"names": ["forklift"]}, "other classes")):
        save_second(replace(second, meta={**second.meta, **meta}), path)
        with pytest.raises(SourceError, match=said):
            load_second(path, busy.trace)
    path.write_bytes(b"not a file of arrays")
    with pytest.raises(SourceError, match="damaged"):
        load_second(path, busy.trace)


@pytest.mark.parametrize(("policy", "mode"), [("learned:2", "causal"), ("learned:20", "lookahead")])
def test_labels_are_those_of_a_run(policy: str, mode: Mode, second: Second, busy: Recorded) -> None:
    capacity = Capacity("fast", FAST, 0.4, 0.02)
    settings = LabelSettings(policy=policy, mode=mode, limit=busy.limit, model=MODEL, prices=PRICES, capacities=(capacity,))
    settings = replace(settings, conf=0.45)
    played = player(busy.trace, settings, [second]).worker
    ours = [record for chunk in played.chunks() for record in chunk]
    with FileSource(busy.video) as source:
        real = StreamWorker(source, busy.detector, settings, {"detect@fast": load(FAST)})
        theirs = [record for chunk in real.chunks() for record in chunk]
    assert played.stats.looks == real.stats.looks and "detect@fast" in real.stats.looks
    assert [r.reason for r in ours] == [r.reason for r in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.objects.track_id, b.objects.track_id)
        np.testing.assert_allclose(a.objects.xyxy, b.objects.xyxy, atol=2e-3)


def test_a_cheaper_look_costs_less(second: Second, busy: Recorded) -> None:
    dear, cheap = (
        replay(busy.trace, ["learned:2"], LabelSettings(mode="causal", capacities=(replace(second.capacity(1.0), cost=c),)), seconds=[second])[0]
        for c in (0.9, 0.05)
    )
    assert dear.cpu_ms_per_frame is not None and cheap.cpu_ms_per_frame is not None
    assert cheap.looks["detect@fast"] > 0
    assert cheap.cpu_ms_by_step["cnn"] < dear.cpu_ms_by_step["cnn"]


def test_one_that_stands_for_the_model_is_judged_by_the_model(second: Second, busy: Recorded) -> None:
    dense = points_of(busy.trace, ["dense"], "causal", ("person",), own=(second, 0.4))[1][0]
    full = points_of(busy.trace, ["dense"], "causal", ("person",))[1][0]
    assert full.f1 == 1 and 0.8 < dense.f1 < 1
    assert dense.cost < 0.75 * full.cost


def test_commands(busy: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--limit", "20", "--imgsz", "320", "--runtime", "torch", "--precision", "f32", "--out", str(tmp_path)]
    command = ["record", busy.video, *options, "--capacities", "fast", "--json", "--quiet"]
    for fresh in (True, False):
        assert call(command) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["recorded"] for row in rows] == [fresh, fresh]
    trace = rows[0]["trace"]
    assert call(["replay", trace, "--policy", "learned:2", "--capacities", "fast", "--causal", "--json", "--quiet"]) == 0
    assert "detect" in json.loads(capsys.readouterr().out)["looks"]
    assert call(["replay", trace, "--capacities", "gone", "--quiet"]) == 1
    assert "everyframe record --capacities" in capsys.readouterr().err
