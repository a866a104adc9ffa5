"""`everyframe search`: a real search of a moment, killed and gone on with, interrupted, misused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.compress.quantize import quantize
from everyframe.operators.compress.ranges import rounded
from everyframe.operators.compress.slim import slimmable
from everyframe.operators.compress.subnet import Subnet
from everyframe.operators.detectors import load_detector, weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.detectors.slim import pack
from everyframe.pipeline.cli import call
from everyframe.pipeline.compression import designs, studio
from everyframe.pipeline.compression.designs import Design, Space, Stopwatch, opened_as
from everyframe.pipeline.compression.pictures import read_pictures
from everyframe.pipeline.compression.recipe import inputs_of
from everyframe.pipeline.compression.search import Found, Goal, front, half_mirrored, opened_weights
from everyframe.pipeline.costs.table import CostTable
from everyframe.pipeline.models import seen_imgsz
from everyframe.pipeline.settings import ModelSettings

pytest.importorskip("nncf")
pytest.importorskip("openvino")
pytest.importorskip("torch_pruning")

SPACE = Space((224, 256, 288, 320), (0.5, 0.75, 1.0), ("f32", "int8"))


@pytest.fixture(scope="module")
def clip(data_dir: Path) -> str:
    return str(data_dir / "walkway" / "walkway.mp4")


LITTLE = {
    "search.PICTURES": 24, "search.JUDGED_BY": 10, "search.REPORTED_ON": 10, "search.WIDTHS": (1.0, 0.5), "studio.QUICK": 6, "studio.CAREFUL": 16,
    "studio.ROUND": 2, "designs.AGAIN": 1, "designs.TIMED": 1, "designs.SMALLEST": 224, "judge.ROUNDS": 1, "search.FINALISTS": 1,
}  # fmt: skip
"""Of pictures, and of looks that are timed: less than people would want."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Costs that nobody else knows."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(cache))
    for name, value in LITTLE.items():
        monkeypatch.setattr(f"everyframe.pipeline.compression.{name}", value)


def order(clip: str, out: Path, *more: str) -> list[str]:
    """A search of two small generations for a time that any design near the middle keeps."""
    return ["search", clip, "--classes", "person", "--imgsz", "256", "--speedup", "1.3", "--population", "4", "--generations", "2",
            "--threads", "1", "--out", str(out), *more]  # fmt: skip


def states(out: Path) -> list[Path]:
    return list(out.parent.glob("*.search.json"))


def test_two_generations_give_a_model_that_sees_and_go_on_after_kill_9(
    few: None, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "chosen.safetensors", tmp_path / "front.png"
    lines = order(clip, out, "--steps", "2", "--plot", str(plot), "--json")
    kept = _killed(lines, out)
    assert call(lines) == 0
    said = capsys.readouterr()
    assert f"going on: {len(kept)} designs" in said.err
    result: dict[str, Any] = json.loads(said.out)
    assert result["finished"] and len(kept) < result["judged"] <= 12
    points = [(row["ms"], row["f1"]) for row in result["front"]]
    assert points == sorted(points) and all(0 <= f1 <= 1 for _, f1 in points)
    assert result["ms"] <= result["budget_ms"] < result["full_ms"]
    assert result["later"]["f1"] > 0.5 and result["later"]["objects"] > 5 and result["later"]["bytes"] == out.stat().st_size
    assert not states(out), "the state is gone when all is done"
    assert plot.read_bytes().startswith(b"\x89PNG") and plot.stat().st_size > 5000
    size = int(result["chosen"].split()[0])
    assert seen_imgsz(ModelSettings(str(out))) == size <= 256
    net = load_detector(str(out), size)
    assert len(net.detect(read_pictures([clip], 1)[0][0])) >= 1


def _killed(lines: list[str], out: Path) -> list[Any]:
    """What a process has judged when it is killed in the middle."""
    program = f"""
import sys
from importlib import import_module
from everyframe.pipeline.cli import call
for name, value in {LITTLE!r}.items():
    module, _, attribute = name.partition(".")
    setattr(import_module("everyframe.pipeline.compression." + module), attribute, value)
sys.exit(call(sys.argv[1:]))"""
    child = subprocess.Popen([sys.executable, "-c", program, *lines], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not states(out) and child.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    assert not out.exists()
    judged: list[Any] = json.loads(states(out)[0].read_bytes())["judged"]
    assert judged
    return judged


def test_ctrl_c_prints_what_was_found_and_goes_on_to_the_same_end(
    few: None, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "chosen.safetensors"
    real = studio.Studio.tried
    tried: list[Design] = []

    def tired(self: studio.Studio, design: Design) -> studio.Made:
        if len(tried) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        tried.append(design)
        return real(self, design)

    monkeypatch.setattr(studio.Studio, "tried", tired)
    assert call(order(clip, out, "--quiet")) == 130
    said = capsys.readouterr().out
    assert "2 designs tried" in said and "goes on from here" in said and not out.exists()
    before = json.loads(states(out)[0].read_bytes())["judged"]
    states(out)[0].write_text('{"sizes": [1')
    tried.append(tried[0])
    monkeypatch.setattr(studio.Studio, "finished", _stopped)
    with pytest.raises(RuntimeError):
        _raw(order(clip, out, "--quiet"))
    after = json.loads(states(out)[0].read_bytes())["judged"]
    assert after[:2] == before, "a state that is damaged is passed over; equal seeds and times judge the same"


def _stopped(*_: object) -> studio.Made:
    raise RuntimeError("far enough")


def _raw(lines: list[str]) -> None:
    from everyframe.pipeline.cli import build_app

    build_app()(lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no VIDEO given"),
        (["none.mp4"], "does not exist"),
        (["CLIP", "--budget-ms", "2", "--speedup", "3"], "leave one out"),
        (["CLIP", "--budget-ms", "0"], "more than 0"),
        (["CLIP", "--minutes", "0"], "--minutes: give more than 0"),
        (["CLIP", "--population", "2"], "give 4 or more"),
        (["CLIP", "--model", "net.onnx"], "cannot be searched"),
        (["CLIP", "--model", "gone.safetensors"], "neither"),
        (["CLIP", "--out", "/nowhere/x.safetensors"], "in a folder that is there"),
        (["CLIP", "--classes", "persn"], "person"),
        (["CLIP", "--classes", "giraffe", "--imgsz", "224"], "finds nothing of these classes"),
        (["CLIP", "--classes", "person", "--imgsz", "256", "--budget-ms", "0.001"], "the nearest takes"),
    ],
)
def test_misuse_is_one_sentence(few: None, arguments: list[str], said: str, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["search", *(clip if a == "CLIP" else a for a in arguments), "--quiet"]) in (1, 2)
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and len(error.splitlines()) == 1


@given(st.tuples(*(st.integers(0, count - 1) for count in SPACE.counts)))
@settings(deadline=None, max_examples=60)
def test_genes_stand_for_designs_and_back(genes: tuple[int, ...]) -> None:
    design = SPACE.design(genes)
    assert SPACE.genes(design) == genes
    assert design.imgsz in SPACE.sizes and str(design.imgsz) in str(design)


def test_what_was_timed_once_is_not_timed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slim = slimmable(weights.load_nanodet(weights.read("full"), "full"), (1.0, 0.5))
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    table = CostTable(tmp_path / "costs.json")
    whole, half = Design(256, Subnet(), "f32"), Design(256, Subnet((0.5,) * 6), "f32")
    watch = Stopwatch(slim, [picture], table)
    first = [watch.ms(design) for design in (whole, half)]
    assert first[0] > 1.5 * first[1] > 0, "a quarter of the work"
    monkeypatch.setattr(designs, "timed", lambda *_: pytest.fail("timed again"))
    again = Stopwatch(slim, [picture], CostTable(tmp_path / "costs.json"))
    assert [again.ms(design) for design in (whole, half)] == first


def test_every_second_picture_to_judge_by_is_mirrored() -> None:
    video = [np.random.default_rng(i).integers(0, 255, (4, 6, 3), np.uint8) for i in range(3)]
    made = half_mirrored([video, []])
    assert np.array_equal(made[0][0], video[0]) and np.array_equal(made[0][2], video[2])
    assert np.array_equal(made[0][1], video[1][:, ::-1]) and made[0][1].flags["C_CONTIGUOUS"] and made[1] == []


def test_the_front_leaves_out_what_is_slower_and_worse() -> None:
    some = Design(256, Subnet(), "f32")
    judged = [Found(some, 3.0, 0.9), Found(some, 1.0, 0.5), Found(some, 2.0, 0.9), Found(some, 2.5, 0.6), Found(some, 4.0, 0.95)]
    assert [(one.ms, one.f1) for one in front(judged)] == [(1.0, 0.5), (2.0, 0.9), (4.0, 0.95)]
    assert front([]) == []


def test_quick_rounding_is_where_careful_rounding_is(clip: str) -> None:
    net = weights.load_nanodet(weights.read("full"), "full")
    pictures = read_pictures([clip], 17)
    inputs = inputs_of(pictures, 224, 16)
    quick, careful = rounded(net, inputs), quantize(net, inputs)
    assert quick.quantized is not None and careful.quantized is not None
    assert quick.quantized.ranges.keys() == careful.quantized.ranges.keys()
    picture = pictures[0][-1]
    found = [opened_as(made, Design(224, Subnet(), "int8"), 0.4).detect(picture) for made in (quick, careful)]
    assert len(found[0]) and abs(len(found[0]) - len(found[1])) <= 1


def test_a_file_of_several_widths_is_cut_at_the_widths_that_it_has(tmp_path: Path) -> None:
    net: NanoDet = weights.load_nanodet(weights.read("full"), "full")
    path = tmp_path / "slim.safetensors"
    path.write_bytes(pack(slimmable(net, (1.0, 0.75)), {"teacher": "full"}))
    slim, teacher = opened_weights(str(path))
    assert slim.widths == (1.0, 0.75) and teacher == "full"
    one, other = opened_weights("full")
    assert len(one.widths) == 5 and other == "full"


def test_a_goal_is_known_by_what_moves_the_search(tmp_path: Path) -> None:
    goal = Goal(("a.mp4",), str(tmp_path / "x.safetensors"))
    assert goal.state == replace(goal, minutes=1.0, steps=3, generations=2, threads=7).state
    assert len({goal.state, replace(goal, seed=1).state, replace(goal, speedup=2.0).state, replace(goal, classes=("car",)).state}) == 4
