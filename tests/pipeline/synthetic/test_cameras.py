"""Synthetic cameras: drawn as they say, equal for equal seeds, truth on the drawn objects, no seed that breaks them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.synthetic.camera import LAYOUTS, Camera, draw_camera
from everyframe.pipeline.synthetic.film import film, take
from everyframe.pipeline.synthetic.make import INDEX, Order, make_camera, make_cameras
from everyframe.pipeline.synthetic.scenery import MARGIN, make_scenery
from everyframe.pipeline.synthetic.traffic import Traffic
from everyframe.pipeline.synthetic.truth import SceneTruth, read_truth
from everyframe.pipeline.synthetic.wardrobe import Wardrobe

SMALL = (192, 144)


def small(index: int, frames: int = 24, seed: int = 3, **coding: object) -> Camera:
    """A small, short camera; its coding as given."""
    camera = draw_camera(seed, index, 4, SMALL)
    return replace(camera, frames=frames, coding=replace(camera.coding, **coding))


def busy(index: int) -> Camera:
    """A camera with much traffic, without shaking, haze and grain."""
    camera = small(index)
    crowd = replace(camera.crowd, mean=6.0, quiet=1.0, busy=1.0)
    picture = replace(camera.picture, shake=0.0, haze=0.0, grain=0.0, rain=0.0, shadow=0.0)
    return replace(camera, crowd=crowd, picture=picture)


def decoded(path: Path) -> list[bytes]:
    with FileSource(path) as source:
        decoder = Decoder(source, vectors=False)
        slots = [slot for packet in source.packets() for slot in decoder.push(packet, True)]
        slots += decoder.finish()
        return [
            hashlib.blake2b(slot.frame.luma().tobytes()).digest() for slot in slots if slot.frame is not None
        ]


def test_equal_seeds_give_equal_files_and_pictures(tmp_path: Path) -> None:
    order = Order(cameras=2, seconds=1.5, seed=11, size=SMALL)
    first = make_cameras(order, tmp_path / "a")
    again = make_cameras(order, tmp_path / "b", jobs=2)
    for a, b in zip(first, again, strict=True):
        assert decoded(a) == decoded(b)
        assert a.with_suffix(".gt.txt").read_bytes() == b.with_suffix(".gt.txt").read_bytes()
    assert (tmp_path / "a" / INDEX).read_bytes() == (tmp_path / "b" / INDEX).read_bytes()
    other = make_cameras(replace(order, seed=12), tmp_path / "c")
    assert decoded(other[0]) != decoded(first[0])


@pytest.mark.parametrize(
    ("profile", "gop", "b_frames", "refs"), [("baseline", 10, 0, 1), ("main", 17, 2, 3), ("high", 30, 3, 4)]
)
def test_coded_as_drawn(tmp_path: Path, profile: str, gop: int, b_frames: int, refs: int) -> None:
    camera = small(
        1,
        frames=62,
        profile=profile,
        gop=gop,
        b_frames=b_frames,
        refs=refs,
        adaptive=False,
        crf=26.0,
        kbit_s=None,
    )
    make_camera(camera, tmp_path)
    with FileSource(tmp_path / f"{camera.name}.mp4") as source:
        context = source.codec_context
        assert profile.title() in context.profile
        assert (source.info.width, source.info.height, source.info.rate) == (*SMALL, camera.rate)
        assert source.info.decode_all is None
        packets = sorted((p.pts or 0, p.facts) for p in source.packets())
    kinds = "".join(facts.picture for _, facts in packets)
    assert len(kinds) == camera.frames
    assert [i for i, (_, facts) in enumerate(packets) if facts.is_key] == list(range(0, camera.frames, gop))
    assert max(map(len, kinds.replace("I", "P").split("P"))) == b_frames
    assert max((len(run) for run in kinds.split("P")), default=0) <= b_frames + 1


def test_rate_controlled_by_bits_stays_near_them(tmp_path: Path) -> None:
    camera = replace(small(2, frames=120, crf=None, kbit_s=200), rate=30)
    make_camera(camera, tmp_path)
    seconds = camera.frames / camera.rate
    assert (tmp_path / f"{camera.name}.mp4").stat().st_size * 8 / seconds < 2.5 * 200_000


def test_truth_lies_on_the_drawn_objects() -> None:
    """Without its objects the same picture differs inside the boxes, up to all four sides, and nowhere else."""
    checked = 0
    for index in range(4):
        camera = busy(index)
        scenery = make_scenery(camera)
        traffic = Traffic(camera, Wardrobe(camera))
        background = scenery.background
        bare = background[MARGIN : MARGIN + camera.height, MARGIN : MARGIN + camera.width].astype(int)
        for _ in range(6):
            picture, rows = take(camera, scenery, background, traffic.step(), (0.0, 0.0))
            differs = abs(picture.astype(int) - bare).max(2) > 2
            inside = np.zeros_like(differs)
            for _, x1, y1, x2, y2, visibility, _ in rows:
                assert 0 <= x1 < x2 <= camera.width
                assert 0 <= y1 < y2 <= camera.height
                assert 0 < visibility <= 1
                box = slice(max(0, int(y1) - 2), int(y2) + 3), slice(max(0, int(x1) - 2), int(x2) + 3)
                inside[box] = True
                rows_hit, cols_hit = differs[box].any(1), differs[box].any(0)
                assert all(
                    hit[end].any() for hit in (rows_hit, cols_hit) for end in (slice(5), slice(-5, None))
                )
                checked += 1
            assert (differs & ~inside).sum() <= 16 * 8  # slivers of what is nearly hidden have no row
    assert checked > 40


def test_a_hidden_object_has_little_visibility() -> None:
    camera = busy(1)
    scenery = make_scenery(camera)
    wall = replace(scenery, cover=np.full_like(scenery.cover, 10_000))
    placed = Traffic(camera, Wardrobe(camera)).step()
    _, all_rows = take(camera, scenery, scenery.background, placed, (0.0, 0.0))
    _, no_rows = take(camera, wall, scenery.background, placed, (0.0, 0.0))
    assert all_rows
    assert not no_rows
    half = scenery.cover.copy()
    half[:, : MARGIN + camera.width // 2] = 10_000
    _, rows = take(camera, replace(scenery, cover=half), scenery.background, placed, (0.0, 0.0))
    assert all(x1 >= camera.width // 2 - 1 for _, x1, *_ in rows)


def test_shaking_moves_pictures_and_truth_together() -> None:
    camera = busy(2)
    scenery = make_scenery(camera)
    placed = Traffic(camera, Wardrobe(camera)).step()
    still = {row[0]: row for row in take(camera, scenery, scenery.background, placed, (0.0, 0.0))[1]}
    moved = {row[0]: row for row in take(camera, scenery, scenery.background, placed, (3.0, -2.0))[1]}
    pairs = [(still[name], moved[name]) for name in still.keys() & moved.keys()]
    whole = [
        (a, b) for a, b in pairs if a[1] > 6 and a[2] > 6 and a[3] < SMALL[0] - 6 and a[4] < SMALL[1] - 6
    ]
    for a, b in whole:
        if a[5] > 0.99 and b[5] > 0.99:
            assert np.allclose(np.array(b[1:5]) - np.array(a[1:5]), (-3, 2, -3, 2), atol=1.1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 40), index=st.integers(0, 500))
def test_every_seed_makes_a_camera(seed: int, index: int) -> None:
    camera = replace(draw_camera(seed, index, 1, (128, 96)), frames=3)
    assert 10 <= camera.coding.gop <= 250
    assert camera.coding.b_frames in ((0,) if camera.coding.profile == "baseline" else range(4))
    assert (camera.coding.crf is None) != (camera.coding.kbit_s is None)
    planes = [p for p, _ in film(camera, make_scenery(camera), Traffic(camera, Wardrobe(camera)))]
    assert [p.shape for p in planes] == [(144, 128)] * 3
    assert all(p.dtype == np.uint8 for p in planes)


def test_every_layout_has_traffic() -> None:
    """Cameras that are not nearly empty show objects, and of all layouts."""
    seen: dict[str, int] = {}
    for index in range(20):
        camera = draw_camera(8, index, 30, SMALL)
        camera = replace(camera, crowd=replace(camera.crowd, mean=4.0, quiet=1.0, busy=1.0), frames=30)
        traffic = Traffic(camera, Wardrobe(camera))
        placed = [p for _ in range(30) for p in traffic.step()]
        seen[camera.place.layout] = seen.get(camera.place.layout, 0) + len(placed)
    assert set(seen) == set(LAYOUTS)
    assert all(seen.values())


def test_truth_survives_its_file(tmp_path: Path) -> None:
    camera = busy(0)
    truth = make_camera(camera, tmp_path)
    assert isinstance(truth, SceneTruth)
    again = read_truth(tmp_path / f"{camera.name}.gt.txt", truth.frames, *SMALL, truth.rate)
    assert np.array_equal(again.frame, truth.frame)
    assert np.array_equal(again.class_id, truth.class_id)
    assert np.allclose(again.xyxy, truth.xyxy, atol=0.02)
    assert np.allclose(again.visibility, truth.visibility, atol=0.001)


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot make the folder"):
        make_cameras(Order(1, 1, 0), tmp_path / "file" / "out")
    camera = small(0, frames=2)
    with pytest.raises(SinkError, match="cannot write"):
        make_camera(camera, tmp_path / "missing")
