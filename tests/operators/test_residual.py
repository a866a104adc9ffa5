"""`residual`: exact at threshold 0, true to the dense detector above it, and nothing kept that should not be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.base import Prices
from everyframe.operators.detectors import NanoDetDetector, load_detector
from everyframe.operators.detectors.letterbox import fit, resize, to_input
from everyframe.operators.errors import OperatorError
from everyframe.operators.residual.executor import TILE, Executor, Limits
from everyframe.operators.residual.graph import graph_of
from everyframe.operators.residual.operator import LIMITS, Residual, levels
from everyframe.operators.types import F32, NO_TRACK, U8, Objects, Origin, View
from everyframe.pipeline import metrics
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.sources.file import FileSource

EXACT = Limits(0.0, 0.0)
CLIPS = (
    "pets_s2l1/pets_s2l1_ip.mp4", "pets_s2l1/pets_s2l1_b3.mp4", "idle/one_by_one_person.mp4", "highway/highway_ip.mp4",
    "parking/parking.mp4", "traffic_jitter/traffic_jitter_ip.mp4", "moving/dashcam_day.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def detector() -> NanoDetDetector:
    return load_detector(imgsz=320)


def pictures(path: Path, count: int) -> list[U8]:
    def decoded() -> Iterator[U8]:
        with FileSource(str(path)) as source:
            decoder = Decoder(source, vectors=False)
            for packet in source.packets():
                for slot in decoder.push(packet, True):
                    if slot.frame is not None:
                        yield slot.frame.picture()

    return list(islice(decoded(), count))


def view(picture: U8) -> View:
    return View(picture.shape[1], picture.shape[0], None, lambda: picture)


def noise(width: int, height: int, seed: int = 0) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def dense(detector: NanoDetDetector, picture: U8) -> list[F32]:
    with torch.inference_mode():
        x = torch.from_numpy(to_input(picture, fit(picture.shape[1], picture.shape[0], detector.imgsz)))
        return [m[0].numpy() for m in detector.net(x.permute(0, 3, 1, 2))]


def executor_for(detector: NanoDetDetector, width: int, height: int) -> Executor:
    box = fit(width, height, detector.imgsz)
    return Executor(graph_of(detector.net), *box.outer, box.inner, levels())


def worst(executor: Executor, expected: list[F32]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(executor.outputs(), expected, strict=True))


@pytest.mark.parametrize("clip", CLIPS)
def test_at_threshold_0_it_gives_the_dense_nets_outputs(
    clip: str, data_dir: Path, detector: NanoDetDetector
) -> None:
    rung = Residual(detector, Prices(), EXACT)
    for picture in pictures(data_dir / clip, 5):
        rung.apply(view(picture), Objects.empty())
        if rung.executor is not None and not rung.is_stale:
            assert worst(rung.executor, dense(detector, picture)) < 1e-4


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(32, 130), st.integers(20, 130)),
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9)),
        max_size=4,
    ),
)
def test_changes_spread_as_far_as_the_net_sees(
    size: tuple[int, int], changes: list[tuple[float, float, int, int, int]], detector: NanoDetDetector
) -> None:
    width, height = size
    small = load_like(detector, max(size))
    executor = executor_for(small, width, height)
    picture = noise(width, height)
    executor.run_whole(picture)
    for x, y, w, h, seed in changes:
        picture = picture.copy()
        left, top = int(x * (width - 1)), int(y * (height - 1))
        part = picture[top : top + h, left : left + w]
        part[:] = noise(w, h, seed)[: part.shape[0], : part.shape[1]]
        executor.load(picture, 0.0)
        executor.run(0.0)
        assert worst(executor, dense(small, picture)) < 1e-4


def load_like(detector: NanoDetDetector, imgsz: int) -> NanoDetDetector:
    return NanoDetDetector(detector._runtime, detector.net, detector.model, detector.digest, imgsz, 0.2)


def test_features_are_those_of_the_detector(detector: NanoDetDetector) -> None:
    picture = noise(320, 192)
    executor = executor_for(detector, 320, 192)
    executor.run_whole(picture, heads=False)
    expected = detector.features(detector.prepare(picture))
    for ours, theirs in zip(executor.features(), expected, strict=True):
        assert np.abs(ours - theirs[0].permute(1, 2, 0).numpy()).max() < 1e-4


def test_only_what_sees_the_change_is_computed(detector: NanoDetDetector) -> None:
    executor = executor_for(detector, 320, 320)
    picture = noise(320, 320)
    executor.run_whole(picture)
    whole = dict(executor.active)
    picture[100, 100] ^= 255
    assert executor.load(picture, 0.0) == 1 / executor.tiles.size
    executor.run(0.0)
    assert executor.active["stem"] == (TILE // 2 + 1) ** 2
    assert all(executor.active[name] < whole[name] for name in whole if name.startswith(("stage1", "stage2")))
    executor.load(picture, 0.0)
    executor.run(0.0)
    assert not any(executor.active[name] for name in whole)


def test_thresholds_save_and_every_channel_counts(detector: NanoDetDetector, data_dir: Path) -> None:
    graph = graph_of(detector.net)
    assert all((step.weigh > 0).all() for step in (*graph.body, *graph.heads))
    first, second = pictures(data_dir / CLIPS[0], 2)
    done = {}
    for limits in (EXACT, LIMITS):
        rung = Residual(detector, Prices(), limits)
        rung.apply(view(first), Objects.empty())
        assert rung.executor is not None
        rung.executor.load(resize(second, 320, 240), limits.tile)
        rung.executor.run(limits.cell)
        done[limits] = dict(rung.executor.active)
    assert all(done[LIMITS][name] < done[EXACT][name] for name in done[EXACT])


def test_slow_changes_do_not_creep_past(detector: NanoDetDetector) -> None:
    executor = executor_for(detector, 320, 320)
    picture = np.full((320, 320, 3), 50, np.uint8)
    executor.run_whole(picture)
    taken = [executor.load(picture + np.uint8(step), 9.5) for step in range(1, 21)]
    assert [i + 1 for i, share in enumerate(taken) if share] == [10, 20]


def test_labels_are_those_of_the_dense_detector(data_dir: Path) -> None:
    detector = load_detector()
    rung = Residual(detector, Prices())
    groups = metrics.group_table(detector.supercategory)
    found, expected = [], []
    for index, picture in enumerate(pictures(data_dir / CLIPS[0], 40)):
        objects = rung.apply(view(picture), Objects.empty())
        origin = Origin.RESIDUAL if index else Origin.DETECTED
        assert rung.outcome == origin and (objects.origin == origin).all()
        assert (objects.track_id == NO_TRACK).all() and (np.diff(objects.score) <= 0).all()
        if index % 3 == 2:
            found.append(objects)
            expected.append(detector.detect(picture))
    shown = [[o[o.score >= metrics.SCORE] for o in side] for side in (found, expected)]
    assert metrics.agree(*shown, groups).f1 >= 0.97


def test_a_moving_camera_gets_the_detectors_own_labels(data_dir: Path, detector: NanoDetDetector) -> None:
    rung = Residual(detector, Prices())
    wide = pictures(data_dir / "moving/dashcam.mp4", 1)[0]
    for index in range(4):
        picture = wide[100:, 80 * index : 80 * index + 960]
        objects = rung.apply(view(picture), Objects.empty())
        assert rung.outcome == Origin.DETECTED
        if index > 1:
            assert np.array_equal(objects.xyxy, detector.detect(picture).xyxy)


def test_after_a_burst_of_changes_the_maps_are_made_anew(detector: NanoDetDetector) -> None:
    rung = Residual(detector, Prices(), EXACT)
    last = noise(320, 192, 3)
    for picture in (noise(320, 192, 0), noise(320, 192, 1), noise(320, 192, 2), last, last, last):
        rung.apply(view(picture), Objects.empty())
    assert rung.outcome == Origin.RESIDUAL and rung.executor is not None
    assert worst(rung.executor, dense(detector, last)) < 1e-4


def test_a_changed_size_starts_anew(detector: NanoDetDetector) -> None:
    rung = Residual(detector, Prices())
    for picture in (noise(320, 192), noise(192, 320), noise(320, 192)):
        rung.apply(view(picture), Objects.empty())
        assert rung.outcome == Origin.DETECTED and rung.executor is not None
        assert worst(rung.executor, dense(detector, picture)) < 1e-4


def test_two_streams_share_weights_and_nothing_else(detector: NanoDetDetector) -> None:
    a, b = (Residual(detector, Prices(), EXACT) for _ in range(2))
    first, second = noise(320, 192, 1), noise(320, 192, 2)
    a.apply(view(first), Objects.empty())
    b.apply(view(second), Objects.empty())
    assert graph_of(detector.net) is graph_of(detector.net)
    assert a.executor is not None and worst(a.executor, dense(detector, first)) < 1e-4


def test_what_it_keeps_is_bounded_and_dropped(detector: NanoDetDetector) -> None:
    rung = Residual(detector, Prices())
    assert rung.nbytes == 0
    sizes = set()
    for seed in range(4):
        picture = noise(320, 192)
        picture[: 16 * seed] = noise(320, 16 * seed, seed)
        rung.apply(view(picture), Objects.empty())
        sizes.add(rung.nbytes)
    assert len(sizes) == 1 and sizes.pop() < 200 * 320 * 192
    rung.forget()
    assert rung.nbytes == 0
    rung.apply(view(noise(320, 192)), Objects.empty())
    assert rung.outcome == Origin.DETECTED


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_it_computes_in_float32_whatever_the_detector_runs_on(
    runtime: str, precision: str, data_dir: Path, detector: NanoDetDetector
) -> None:
    try:
        other = load_detector(imgsz=320, runtime=runtime, precision=precision)
    except OperatorError as reason:
        pytest.skip(str(reason))
    picture = pictures(data_dir / CLIPS[0], 1)[0]
    ours = Residual(other, Prices()).apply(view(picture), Objects.empty())
    expected = detector.detect(picture)
    groups = metrics.group_table(detector.supercategory)
    sure = [o[o.score >= 0.5] for o in (ours, expected)]
    assert metrics.agree(sure[:1], sure[1:], groups).f1 == 1


def test_other_detectors_and_devices_are_refused() -> None:
    class Other:
        pass

    with pytest.raises(OperatorError, match="NanoDet-g"):
        Residual(Other(), Prices())  # type: ignore[arg-type]
    elsewhere = load_detector(imgsz=64)
    elsewhere.net.to("meta")
    with pytest.raises(OperatorError, match="CPU"):
        Residual(elsewhere, Prices())


def test_without_pixels_it_says_so(detector: NanoDetDetector) -> None:
    with pytest.raises(ValueError, match="pixels"):
        Residual(detector, Prices()).apply(View(320, 192), Objects.empty())
