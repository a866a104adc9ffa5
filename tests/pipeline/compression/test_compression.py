"""Smaller models through the command line: made from video, judged, listed, run; and guarded where they are for one camera."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe.operators.compress.prune import macs
from everyframe.operators.detectors import guarded, load_detector, weights
from everyframe.operators.detectors.guarded import EVERY, GuardedDetector
from everyframe.operators.types import U8, Objects
from everyframe.pipeline.cli import call
from everyframe.pipeline.compression import shapes, specialize
from everyframe.pipeline.compression.pictures import Part, read_pictures
from everyframe.pipeline.compression.recipe import Recipe, decomposition
from everyframe.pipeline.costs.measure import candidates
from everyframe.pipeline.models import is_quantized, open_model, seen_imgsz
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
    drawn = tmp_path / "models.png"
    assert call(["models", small, "--imgsz", "320", "--json", "--plot", str(drawn)]) == 0
    assert drawn.read_bytes().startswith(b"\x89PNG") and drawn.stat().st_size > 5000
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert "prune 0.5, distil 2, int8" in rows[small]["recipe"] and rows[small]["cpu_ms"] > 0 and 0 <= rows[small]["f1"] <= 1
    assert rows["full"]["cpu_ms"] > 0


def test_weights_of_few_bits_are_learned_and_kept_in_little_room(small: str, clip: str, tmp_path: Path) -> None:
    out = tmp_path / "four.safetensors"
    assert call(["compress", "--calibrate", clip, "--imgsz", "320", "--prune", "0.5", "--steps", "2", "--bits", "4", "--qat", "1",
                 "--update-bits", "8", "--pictures", "16", "--select", "uncertain", "--out", str(out), "--quiet"]) == 0  # fmt: skip
    assert out.stat().st_size < 0.75 * Path(small).stat().st_size
    assert not list(tmp_path.glob("*.ckpt"))
    assert "weights 4 bit, rounded 1, updates 8 bit" in weights.read(str(out)).decode("latin1")


def test_what_takes_something_away_is_taken_together(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.safetensors"
    said = "prune 0.02 by taylor in blocks of 4, thin 0.05 by taylor, tr 0.95, distil 1"
    assert call(["compress", "--calibrate", clip, "--imgsz", "320", "--prune", "0.02", "--thin", "0.05", "--importance", "taylor", "--block", "4",
                 "--decompose", "tr:0.95", "--steps", "1", "--pictures", "6", "--float32", "--out", str(out), "--quiet", "--json"]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["recipe"] == said
    assert weights.metadata(out.read_bytes())["recipe"] == said
    made, full = (weights.load_nanodet(weights.read(model), model) for model in (str(out), "full"))
    assert macs(made) < 0.9 * macs(full)


def test_a_decomposition_is_a_method_and_how_ranks_are_found() -> None:
    assert decomposition("tucker:vbmf") == ("tucker", "vbmf") and decomposition("btd:0.6") == ("btd", 0.6) and decomposition("tr") == ("tr", 0.8)
    assert Recipe(decompose=("tucker", "vbmf"), thin=0.4, block=32, prune=0.2).text == "prune 0.2 in blocks of 32, thin 0.4, tucker vbmf, int8"


def test_several_widths_in_one_file(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "slim.safetensors"
    assert call(["compress", "--recipe", "slim", "--calibrate", clip, "--imgsz", "320", "--steps", "1", "--pictures", "4", "--float32",
                 "--out", str(out), "--json"]) == 0  # fmt: skip
    said = capsys.readouterr()
    assert json.loads(said.out)["model"] == f"{out}@1"
    assert all(f"{out}@{width}" in said.err for width in ("0.875", "0.75", "0.625"))
    assert call(["run", clip, "--model", f"{out}@0.75", "--limit", "20", "--out", str(tmp_path), "--engine", "local", "--quiet"]) == 0
    assert call(["run", clip, "--model", f"{out}@0.5", "--limit", "20", "--out", str(tmp_path), "--engine", "local", "--quiet"]) == 1
    assert "no width 0.5: choose one of 1, 0.875, 0.75, 0.625" in capsys.readouterr().err


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
        (["compress", "--calibrate", "CLIP", "--qat", "9", "--float32"], "leave one of them out"),
        (["compress", "--calibrate", "CLIP", "--update-bits", "3", "--steps", "9"], "give 4 to 16"),
        (["compress", "--calibrate", "CLIP", "--pictures", "0"], "give 1 or more"),
        (["compress", "--calibrate", "CLIP", "--recipe", "slim", "--prune", "0.3"], "leave --prune"),
        (["compress", "--calibrate", "CLIP", "--recipe", "slim", "--thin", "0.3"], "leave --prune, --thin"),
        (["compress", "--calibrate", "CLIP", "--thin", "0.3"], "must learn again"),
        (["compress", "--calibrate", "CLIP", "--thin", "0.9", "--steps", "1"], "give 0 to 0.66"),
        (["compress", "--calibrate", "CLIP", "--importance", "taylor"], "give --prune or --thin too"),
        (["compress", "--calibrate", "CLIP", "--block", "8"], "give --prune too"),
        (["compress", "--calibrate", "CLIP", "--prune", "0.3", "--steps", "1", "--block", "0"], "give 1 to 64"),
        (["compress", "--calibrate", "CLIP", "--decompose", "btd:vbmf", "--steps", "1"], "give a share of the energy"),
        (["compress", "--calibrate", "CLIP", "--decompose", "tr:vbnf", "--steps", "1"], "METHOD:vbmf"),
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


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As `specialize` writes it: sees little, which is enough for one camera and not for another."""
    path = tmp_path_factory.mktemp("camera") / "camera.safetensors"
    net = weights.load_nanodet(weights.read("full"), "full")
    path.write_bytes(weights.pack(net, {"guard": "0.7", "teacher": "full", "classes": "person,car", "imgsz": "320"}))
    return str(path)


def run_notes(video: str, model: str, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert call(["run", video, "--model", model, "--policy", "stride:1", "--out", str(out), "--engine", "local", "--quiet", "--json"]) == 0
    return capsys.readouterr().out


def test_another_camera_is_noticed_and_left_to_the_full_model(
    camera: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same camera goes on as it was; where it shows another place, the labels are the full model's soon after."""
    monkeypatch.setattr(guarded, "EVERY", 3)
    monkeypatch.setattr(guarded, "SELDOM", 6)
    own, other, both = (tmp_path / f"{name}.mp4" for name in ("own", "other", "both"))
    for target, source in ((own, "pets_s2l1/pets_s2l1_ip.mp4"), (other, "street/street.mp4")):
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(data_dir / source), "-frames:v", "45", "-vf", "scale=640:480,fps=25,setsar=1",
                        "-c:v", "libx264", "-preset", "ultrafast", "-an", str(target)], check=True)  # fmt: skip
    (tmp_path / "list").write_text(f"file '{own}'\nfile '{other}'\n")
    subprocess.run(["ffmpeg", "-v", "error", "-f", "concat", "-safe", "0", "-i", str(tmp_path / "list"), "-c", "copy", str(both)], check=True)
    assert "no longer agreed" not in run_notes(str(own), camera, tmp_path / "a", capsys)
    assert "no longer agreed" in run_notes(str(both), camera, tmp_path / "b", capsys)
    assert run_notes(str(both), "full", tmp_path / "c", capsys)
    mine, full = (rows_of(tmp_path / name) for name in ("b", "c"))
    assert all(o["label"] in ("person", "car") for row in mine for o in row["objects"])
    last = [[o["xyxy"] for o in row["objects"]] for row in mine[-10:]]
    assert last == [[o["xyxy"] for o in row["objects"] if o["label"] in ("person", "car")] for row in full[-10:]] and any(last)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.rglob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_model_sees_what_its_file_says(camera: str) -> None:
    assert seen_imgsz(ModelSettings(camera, 640)) == 320 and seen_imgsz(ModelSettings("full", 640)) == 640
    opened = open_model(ModelSettings(camera, 640, "torch", "f32"))
    assert opened.imgsz == 320 and opened.detect(np.zeros((48, 64, 3), np.uint8)).xyxy.shape == (0, 4)


def picture_of(data_dir: Path) -> U8:
    return read_pictures([str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")], 1)[0][0]


def test_a_model_that_no_longer_agrees_hands_over(data_dir: Path) -> None:
    teacher = load_detector("full", 320)
    picture = picture_of(data_dir)
    watched = GuardedDetector(_Blind(teacher), teacher, 0.7)  # type: ignore[arg-type]
    seen = [len(watched.detect(picture)) for _ in range(8 * EVERY)]
    assert seen[0] == 0 and seen[-1] > 0
    assert "no longer agreed" in watched.note
    assert all(seen[seen.index(0, EVERY) :][-EVERY:])


def test_a_model_that_agrees_stays(data_dir: Path) -> None:
    teacher = load_detector("full", 320)
    watched = GuardedDetector(teacher, teacher, 0.7)
    picture = picture_of(data_dir)
    for _ in range(2 * EVERY):
        watched.detect(picture)
    assert watched.note == "" and watched.agreement == 1.0


def test_the_guard_is_in_the_file(small: str, tmp_path: Path) -> None:
    net = weights.load_nanodet(Path(small).read_bytes(), small)
    path = tmp_path / "camera.safetensors"
    path.write_bytes(weights.pack(net, {"guard": "0.7", "teacher": "full"}))
    assert isinstance(open_model(ModelSettings(str(path), 320, "torch", "f32")), GuardedDetector)


def test_specialize_writes_a_guarded_model_and_what_it_is_worth(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few steps only: what was sharp enough before stays so, and the report is of the second half, without the guard's help."""
    monkeypatch.setattr(specialize, "ROUND", 2)
    monkeypatch.setattr(shapes, "SHARES", (0.0,))
    monkeypatch.setattr(shapes, "SMALLEST", 128)
    out = tmp_path / "gate.safetensors"
    assert call(["specialize", clip, "--classes", "person", "--imgsz", "320", "--speedup", "2.5", "--steps", "4", "--target-f1", "1",
                 "--threads", "1", "--out", str(out), "--quiet", "--json"]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] in (0, 2, 4) and len(said["rounds"]) == 3 and said["frames"] > 20 and said["objects"] > 20
    assert 0.3 < said["f1"] <= 1 and 128 <= said["imgsz"] <= 320 and said["minutes"] > 0
    about = weights.metadata(out.read_bytes())
    assert about["guard"] == "0.7" and about["classes"] == "person" and about["imgsz"] == str(said["imgsz"])
    opened = open_model(ModelSettings(str(out)))
    assert isinstance(opened, GuardedDetector) and opened.imgsz == said["imgsz"]
    assert [path.name for path in tmp_path.iterdir()] == ["gate.safetensors"], "no checkpoint is left"
    assert call(["specialize", clip, "--classes", "zebra", "--imgsz", "320", "--out", str(out), "--quiet"]) != 0
    assert "finds nothing of these classes" in capsys.readouterr().err
    assert call(["specialize", clip, "--imgsz", "320", "--speedup", "500", "--out", str(out), "--quiet"]) != 0
    assert "ask for a --speedup of at most that" in capsys.readouterr().err
