"""The net on its runtimes, on real frames."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from everyframe.operators.detectors import NanoDetDetector, coco, load_detector
from everyframe.operators.types import F32, U8, Objects

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PETS = DATA / "pets_s2l1"
needs_data = pytest.mark.skipif(not PETS.is_dir(), reason="the test videos of ../shared/data are not here")


def _openvino(precision: str = "f32") -> NanoDetDetector:
    graph = pytest.importorskip("everyframe.operators.detectors.graph", reason="openvino is not installed")
    if precision == "bf16" and "BF16" not in graph.core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        pytest.skip("this CPU has no bf16")
    return load_detector(runtime="openvino", precision=precision)


@pytest.fixture(scope="module")
def frames() -> list[tuple[int, U8]]:
    """(frame number from 1, BGR) of ten frames of a real video, 768x576."""
    if not PETS.is_dir():
        pytest.skip("the test videos of ../shared/data are not here")
    with av.open(str(PETS / "pets_s2l1_ip.mp4")) as video:
        first = enumerate(islice(video.decode(video=0), 600), 1)
        return [(n, f.to_ndarray(format="bgr24")) for n, f in first if n % 60 == 0]


@pytest.fixture(scope="module")
def reference() -> NanoDetDetector:
    return load_detector()


def _iou(a: F32, b: F32) -> F32:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    areas = [(x[:, 2:] - x[:, :2]).prod(1) for x in (a, b)]
    out: F32 = common / (areas[0][:, None] + areas[1][None] - common)
    return out


def _hits(found: F32, truth: F32) -> int:
    """Greedy one-to-one matches at IoU 0.5."""
    overlap, hits = _iou(found, truth), 0
    while overlap.size and overlap.max() >= 0.5:
        row, col = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap = np.delete(np.delete(overlap, row, 0), col, 1)
        hits += 1
    return hits


def _persons(found: Objects, conf: float = 0.45) -> F32:
    return found.xyxy[(found.score >= conf) & (found.class_id == coco.NAMES.index("person"))]


def test_classes() -> None:
    assert len(coco.NAMES) == len(set(coco.NAMES)) == len(coco.SUPERCATEGORY) == 80
    group = dict(zip(coco.NAMES, coco.SUPERCATEGORY, strict=True))
    assert (coco.NAMES[0], coco.NAMES[2], coco.NAMES[79]) == ("person", "car", "toothbrush")
    assert (group["person"], group["truck"], group["tie"], group["tv"]) == (
        "person",
        "vehicle",
        "accessory",
        "electronic",
    )
    assert len(set(coco.SUPERCATEGORY)) == 12


@needs_data
def test_persons_are_found_where_the_ground_truth_has_them(
    frames: list[tuple[int, U8]], reference: NanoDetDetector
) -> None:
    rows = np.loadtxt(PETS / "gt.txt", delimiter=",", dtype=np.float32)
    xyxy = np.concatenate((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]), 1)
    hits = found_all = truth_all = 0
    for number, picture in frames:
        here, is_ignored = rows[:, 0] == number, rows[:, 6] == 0
        truth, ignored = xyxy[here & ~is_ignored], xyxy[here & is_ignored]
        found = _persons(reference.detect(picture))
        hit = _hits(found, truth)
        spare = (_iou(found, truth).max(1, initial=0) < 0.5) & (_iou(found, ignored).max(1, initial=0) >= 0.5)
        hits, found_all, truth_all = hits + hit, found_all + len(found) - spare.sum(), truth_all + len(truth)
    assert truth_all > 40
    assert hits / found_all >= 0.88
    assert hits / truth_all >= 0.88


def test_objects_are_sorted_and_lie_in_the_picture(
    frames: list[tuple[int, U8]], reference: NanoDetDetector
) -> None:
    for _, picture in frames[:3]:
        found = reference.detect(picture)
        assert len(found) and (np.diff(found.score) <= 0).all() and found.score.min() >= reference.min_score
        assert found.xyxy.min() >= 0 and (found.xyxy <= (768, 576, 768, 576)).all()
        assert (found.xyxy[:, 2:] > found.xyxy[:, :2]).all()


def test_a_higher_lowest_score_gives_the_head_of_the_same_list(
    frames: list[tuple[int, U8]], reference: NanoDetDetector
) -> None:
    few, many = load_detector(min_score=0.45).detect(frames[0][1]), reference.detect(frames[0][1])
    np.testing.assert_array_equal(few.xyxy, many.xyxy[: len(few)])
    assert (many.score[len(few) :] < 0.45).all()


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_detect_is_prepare_then_infer_and_features_then_head(
    runtime: str, frames: list[tuple[int, U8]], reference: NanoDetDetector
) -> None:
    detector = reference if runtime == "torch" else _openvino()
    picture = frames[0][1]
    whole = detector.detect(picture)
    prepared = detector.prepare(picture)
    features = detector.features(prepared)
    kept = [f.clone() for f in features]
    again = detector.infer(prepared)
    np.testing.assert_array_equal(whole.xyxy, again.xyxy)
    np.testing.assert_array_equal(whole.score, again.score)
    detector.features(detector.prepare(frames[1][1]))
    assert all(torch.equal(f, k) for f, k in zip(features, kept, strict=True)), "features must stay valid"
    assert [tuple(f.shape) for f in features] == [(1, 128, 60, 80), (1, 128, 30, 40), (1, 128, 15, 20)]
    split = detector.head(features, prepared.box)
    np.testing.assert_allclose(split.xyxy, whole.xyxy, atol=0.05)
    np.testing.assert_allclose(split.score, whole.score, atol=1e-4)


def test_openvino_f32_agrees_with_torch(frames: list[tuple[int, U8]], reference: NanoDetDetector) -> None:
    other = _openvino()
    for size in ((768, 576), (640, 360)):  # two input sizes in one session
        picture = np.ascontiguousarray(frames[0][1][: size[1], : size[0]])
        want, got = reference.detect(picture), other.detect(picture)
        np.testing.assert_array_equal(got.class_id, want.class_id)
        np.testing.assert_allclose(got.score, want.score, atol=1e-4)
        np.testing.assert_allclose(got.xyxy, want.xyxy, atol=0.05)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_finds_what_f32_finds(
    runtime: str, frames: list[tuple[int, U8]], reference: NanoDetDetector
) -> None:
    other = _openvino("bf16") if runtime == "openvino" else load_detector(precision="bf16")
    hits = wanted = got = 0
    for _, picture in frames[:5]:
        want, have = _persons(reference.detect(picture)), _persons(other.detect(picture))
        hits, wanted, got = hits + _hits(have, want), wanted + len(want), got + len(have)
    assert 2 * hits / (wanted + got) >= 0.95


def test_runs_repeat_and_threads_do_not_matter(
    frames: list[tuple[int, U8]], reference: NanoDetDetector
) -> None:
    picture = frames[0][1]
    want = reference.detect(picture)
    same = reference.detect(picture)
    np.testing.assert_array_equal(same.xyxy, want.xyxy)
    np.testing.assert_array_equal(same.score, want.score)
    two = load_detector(threads=2).detect(picture)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(two.class_id, want.class_id)  # torch sums in another order: not bit for bit
    np.testing.assert_allclose(two.score, want.score, atol=1e-5)
    np.testing.assert_allclose(two.xyxy, want.xyxy, atol=0.01)


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (33, 17), (2000, 8)])
def test_odd_pictures_are_looked_at(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    found = load_detector(imgsz=128, min_score=0.01).detect(picture)
    assert (found.xyxy <= np.array(size * 2)).all()


def test_the_input_is_left_as_it_was(reference: NanoDetDetector) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    before = picture.copy()
    prepared = reference.prepare(picture)
    tensor = prepared.input.copy()
    reference.infer(prepared)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(prepared.input, tensor)


def test_describe_names_what_runs() -> None:
    assert load_detector(imgsz=320, precision="bf16").describe == "nanodet-g at 320 on torch bf16"


def test_without_openvino_only_those_who_asked_are_told() -> None:
    code = """
import sys
sys.modules["openvino"] = None
from everyframe.operators.detectors import load_detector
from everyframe.operators.errors import OperatorError
assert load_detector(imgsz=64, runtime="auto").runtime == "torch"
try:
    load_detector(imgsz=64, runtime="openvino")
except OperatorError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "OpenVINO is not installed" in done.stdout


def test_openvino_starts_no_process_and_opens_no_connection() -> None:
    """Left alone, `import openvino` reports itself over the network from a child process."""
    pytest.importorskip("everyframe.operators.detectors.graph", reason="openvino is not installed")
    code = """
import sys
seen = []
names = ("os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo")
import torch, numpy as np
from everyframe.operators.detectors import load_detector
sys.addaudithook(lambda name, args: seen.append(name) if name in names else None)
load_detector(imgsz=64, runtime="openvino").detect(np.zeros((64, 64, 3), np.uint8))
print(seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_signal_after_detectors_have_gone_is_handled() -> None:
    """OpenVINO sets a stack for signal handlers with every core; a second core that outlives the first would leave one that is gone."""
    code = """
import os, signal
from everyframe.operators.detectors import load_detector
caught = []
signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
made = [load_detector(imgsz=64, runtime="openvino") for _ in range(3)]
import numpy as np
for detector in made:
    detector.detect(np.zeros((64, 64, 3), np.uint8))
while made:
    del detector
    detector = made.pop(0)
del detector
os.kill(os.getpid(), signal.SIGTERM)
assert caught
"""
    pytest.importorskip("openvino")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
