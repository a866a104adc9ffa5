"""Smaller models through the command line: made from video, judged, listed, run; and guarded where they are for one camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from everyframe.operators.detectors import load_detector, weights
from everyframe.operators.detectors.guarded import EVERY, GuardedDetector
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.cli import call
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.costs import candidates
from everyframe.pipeline.models import is_quantized, open_model
from everyframe.pipeline.settings import ModelSettings

pytest.importorskip("nncf")
pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def clip(data_dir: Path) -> str:
    return str(data_dir / "walkway" / "walkway.mp4")


@pytest.fixture(scope="module")
def small(clip: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pruned net that has learned for a moment: bad, but whole."""
    out = tmp_path_factory.mktemp("small") / "small.safetensors"
    assert call(["compress", "--calibrate", clip, "--imgsz", "320", "--prune", "0.5", "--steps", "2", "--out", str(out), "--quiet"]) == 0
    return str(out)


def test_pictures_are_spread_over_their_part(clip: str) -> None:
    first, second = (read_pictures([clip], 5, part)[0] for part in (Part(0, 0.5), Part(0.5, 1)))
    assert len(first) == len(second) == 5
    assert not any(np.array_equal(a, b) for a in first for b in second)


def test_fast_is_int8_and_near_the_full_model(data_dir: Path) -> None:
    picture = read_pictures([str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")], 1)[0][0]
    full, fast = load_detector("full"), load_detector("fast")
    a, b = (found[found.score > 0.5] for found in (full.detect(picture), fast.detect(picture)))
    assert abs(len(a) - len(b)) <= 1 and len(a) > 2
    assert is_quantized("fast") and not is_quantized("full")
    assert ("openvino", "int8") in candidates(ModelSettings("fast"))


def test_what_compress_made_is_run_and_listed(small: str, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Path(small).stat().st_size < 0.2 * len(weights.read("full"))
    assert not list(Path(small).parent.glob("*.ckpt")), "the checkpoint is gone when all is done"
    assert call(["run", clip, "--model", small, "--limit", "40", "--policy", "stride:10", "--out", str(tmp_path), "--engine", "local",
                 "--quiet", "--json"]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["frames"] == 40
    assert call(["models", small, "--imgsz", "320", "--json"]) == 0
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert "prune 0.5, distil 2, int8" in rows[small]["recipe"] and rows[small]["cpu_ms"] > 0 and 0 <= rows[small]["f1"] <= 1
    assert rows["full"]["cpu_ms"] > 0


def test_a_model_that_is_not_there_is_listed_with_its_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["models", "gone.safetensors", "--json"]) == 1
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert "neither" in rows["gone.safetensors"]["fault"] and rows["full"]["fault"] == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compress"], "no video to calibrate from"),
        (["compress", "--calibrate", "CLIP", "--recipe", "fats"], "did you mean 'fast'"),
        (["compress", "--calibrate", "CLIP", "--decompose", "svd"], "tucker:0.8"),
        (["compress", "--calibrate", "CLIP", "--prune", "0.3"], "must learn again"),
        (["compress", "--calibrate", "CLIP", "--out", "/nowhere/x.safetensors"], "in a folder that is there"),
        (["compress", "net.onnx", "--calibrate", "CLIP"], "cannot be compressed here"),
        (["compress", "--calibrate", "none.mp4"], "does not exist"),
        (["specialize"], "no VIDEO given"),
        (["specialize", "CLIP", "--steps", "10"], "give 100 or more"),
        (["specialize", "CLIP", "--classes", "persn"], "person"),
    ],
)
def test_misuse_is_one_sentence(arguments: list[str], said: str, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([clip if a == "CLIP" else a for a in arguments]) != 0
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error


class _Blind:
    """Stands for a net that has gone bad: it finds nothing."""

    def __init__(self, like: object) -> None:
        self._like = like

    def __getattr__(self, name: str) -> object:
        return getattr(self._like, name)

    def infer(self, prepared: object) -> Objects:
        return Objects.empty()


def picture_of(data_dir: Path) -> U8:
    return read_pictures([str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")], 1)[0][0]


def test_a_model_that_no_longer_agrees_hands_over(data_dir: Path) -> None:
    teacher = load_detector("full", 320)
    picture = picture_of(data_dir)
    guarded = GuardedDetector(_Blind(teacher), teacher, 0.7)  # type: ignore[arg-type]
    seen = [len(guarded.detect(picture)) for _ in range(8 * EVERY)]
    assert seen[0] == 0 and seen[-1] > 0
    assert "no longer agreed" in guarded.note
    assert all(seen[seen.index(0, EVERY) :][-EVERY:])


def test_a_model_that_agrees_stays(data_dir: Path) -> None:
    teacher = load_detector("full", 320)
    guarded = GuardedDetector(teacher, teacher, 0.7)
    picture = picture_of(data_dir)
    for _ in range(2 * EVERY):
        guarded.detect(picture)
    assert guarded.note == "" and guarded.agreement == 1.0


def test_the_guard_is_in_the_file(small: str, tmp_path: Path) -> None:
    net = weights.load_nanodet(Path(small).read_bytes(), small)
    path = tmp_path / "camera.safetensors"
    path.write_bytes(weights.pack(net, {"guard": "0.7", "teacher": "full"}))
    assert isinstance(open_model(ModelSettings(str(path), 320, "torch", "f32")), GuardedDetector)
