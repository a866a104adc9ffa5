"""Slots against a full decode by PyAV alone: number, order, times and pictures, whatever was skipped."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import display_times, field_coded, join, make_clip, remux
from reading import differences, full_decode, gates, read

from everyframe.pipeline.frames import decoder as decoder_module
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.reorder import Entry
from everyframe.pipeline.records import Slot
from everyframe.pipeline.sources.file import FileSource

CLIPS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "b2.mp4": {"bframes": 2},
    "pyramid.mkv": {"bframes": 3, "pyramid": True, "refs": 4},
    "open.mp4": {"bframes": 3, "pyramid": True, "refs": 4, "open_gop": True},
    "open.mkv": {"bframes": 3, "refs": 2, "open_gop": True, "audio": True},
    "open.ts": {"bframes": 3, "refs": 2, "open_gop": True, "first_pts": 5000},
    "long.mp4": {"gop": 250, "bframes": 2, "frames": 70},
    "b16.mkv": {"bframes": 16, "pyramid": True, "refs": 8, "gop": 40, "frames": 60},
    "refresh.ts": {"gop": 10, "x264": "intra-refresh=1"},
    "slices.ts": {"slices": 3, "cabac": False, "bframes": 1},
    "interlaced.ts": {"interlaced": True, "bframes": 2},
    "odd.mp4": {"width": 50, "height": 38, "bframes": 1},
    "odd444.mkv": {"width": 51, "height": 37, "pix_fmt": "yuv444p"},
    "small.mp4": {"width": 16, "height": 16, "bframes": 2},
    "one.mp4": {"frames": 1},
    "two.ts": {"frames": 2, "bframes": 2},
    "intra.mov": {"gop": 1},
    "turned.mp4": {"rotation": 90, "bframes": 1},
    "turned.mkv": {"rotation": 270},
    "upside.mov": {"rotation": 180},
    "ten.mp4": {"pix_fmt": "yuv420p10le", "bframes": 2},
    "raw.264": {"bframes": 2},
    "b.avi": {"bframes": 2},
    "plain.avi": {},
    "mpeg4.avi": {"codec": "mpeg4", "bframes": 2},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mpeg2.ts": {"codec": "mpeg2video", "bframes": 2},
    "hevc.mp4": {"codec": "libx265", "bframes": 3, "open_gop": True},
    "hevc.ts": {"codec": "libx265", "bframes": 2},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


@pytest.mark.parametrize("name", CLIPS)
def test_made_clips(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, **{"frames": 40, **CLIPS[name]})
    check(path)


def check(path: Path) -> None:
    whole = full_decode(path)
    for name in gates():
        slots, _ = read(path, gates()[name])
        assert differences(slots, whole) == [], name
        assert [slot.facts.index for slot in undecoded(path, slots, name)] == [], name


def undecoded(path: Path, slots: list[Slot], name: str) -> list[Slot]:
    """Slots that were asked for in vain, other than those shown before the key packet before them."""
    gate = gates()[name]
    with FileSource(path) as source:
        asked = {packet.facts.index for packet in source.packets() if gate(packet)}
    keys = [slot for slot in slots if slot.facts.is_key and slot.pts is not None]
    return [
        slot
        for slot in slots
        if slot.frame is None
        and slot.facts.index in asked
        and not (name != "all" and any(k.facts.index < slot.facts.index and k.pts > slot.pts for k in keys))  # type: ignore[operator]
    ]


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_gate(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, whole = _drawn_clip(tmp_path_factory)
    asked = data.draw(st.lists(st.booleans(), min_size=48, max_size=48))
    slots, _ = read(path, lambda packet: asked[packet.facts.index])
    assert differences(slots, whole) == []


def _drawn_clip(factory: pytest.TempPathFactory, made: list[Any] = []) -> Any:  # noqa: B006
    if not made:
        path = make_clip(factory.mktemp("any") / "a.mp4", frames=48, gop=11, bframes=3, pyramid=True, open_gop=True)
        made += [path, full_decode(path)]
    return made


def test_separate_fields_are_one_frame(tmp_path: Path) -> None:
    raw = field_coded(tmp_path / "fields.264", 12)
    for suffix in ("264", "ts", "mp4", "mkv"):
        path = raw if suffix == "264" else remux(raw, tmp_path / f"f.{suffix}", [(i, i) for i in range(24)], 50)
        slots, _ = read(path, gates()["none"])
        assert len(slots) == 12
        assert differences(slots, full_decode(path)) == []


def test_fields_from_the_middle_on(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.264", frames=40, width=32, height=32)
    both = join(tmp_path / "both.264", [plain, field_coded(tmp_path / "fields.264", 8)])
    path = remux(both, tmp_path / "both.ts", [(i, i) for i in range(56)], 50)
    whole = full_decode(path)
    assert len(whole.pts) == 48
    for name in ("all", "none", "random"):
        assert differences(read(path, gates()[name])[0], whole) == []


def test_size_changes_in_mid_stream(tmp_path: Path) -> None:
    sizes = [(64, 48), (96, 64), (48, 80)]
    parts = [
        make_clip(tmp_path / f"{w}.264", frames=15, gop=5, width=w, height=h, bframes=2) for w, h in sizes
    ]
    raw = join(tmp_path / "all.264", parts)
    path = remux(raw, tmp_path / "all.ts", display_times(raw))
    for each in (raw, path):
        check_sizes = {(slot.frame.width, slot.frame.height) for slot in read(each, gates()["all"])[0] if slot.frame}
        assert check_sizes == set(sizes)
        check(each)


@pytest.mark.parametrize("pyramid", [False, True])
@pytest.mark.parametrize("first", [1, 9, 10])
def test_a_stream_that_begins_inside_an_open_group(tmp_path: Path, pyramid: bool, first: int) -> None:
    """Frames shown before the first whole one are given by no decoder, whether they are asked for or not."""
    raw = make_clip(tmp_path / "a.264", frames=48, gop=12, bframes=3, open_gop=True, pyramid=pyramid, refs=3)
    for suffix in ("mkv", "mp4", "ts"):
        path = remux(raw, tmp_path / f"a.{suffix}", display_times(raw), first=first)
        assert len(full_decode(path).pts) < 48 - first
        check(path)


def test_times_without_decoding_times(tmp_path: Path) -> None:
    """Matroska stores no dts; FFmpeg finds the first ones unknown."""
    path = make_clip(tmp_path / "a.mkv", frames=40, bframes=4, pyramid=True, refs=4)
    with FileSource(path) as source:
        assert next(source.packets()).dts is None
    check(path)


def test_conformance_streams(data_dir: Path) -> None:
    for path in conformance(data_dir):
        whole = full_decode(path)
        slots, found = read(path, gates()["none"])
        assert differences(slots, whole) == [], path.name
        assert found.decoded == len(slots), path.name


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_conformance_streams_with_times(data_dir: Path, tmp_path: Path, suffix: str) -> None:
    names = {"mkv": ("random", "keys", "alternating"), "mp4": ("random",), "ts": ("random", "none")}[suffix]
    for given_path in conformance(data_dir):
        path = remux(given_path, tmp_path / f"{given_path.name}.{suffix}", display_times(given_path), limit=60)
        whole = full_decode(path)
        for name in names:
            slots, _ = read(path, gates()[name])
            assert differences(slots, whole) == [], (path.name, name)


def conformance(data_dir: Path) -> list[Path]:
    """All streams that can be opened; of the four largest only one."""
    large = {"VID_1280x720_cabac", "VID_1280x720_cavlc", "VID_1920x1080", "jm_1080p"}
    return [
        path
        for path in sorted((data_dir / "conformance").iterdir())
        if path.suffix in (".264", ".jsv")
        and "subsetsps" not in path.name
        and not any(path.name.startswith(name) for name in large)
    ]


@pytest.mark.parametrize("name", ["VID_1920x1080_cavlc_temporal_direct.264", "jm_1080p_allslice.264"])
def test_large_conformance_streams(data_dir: Path, tmp_path: Path, name: str) -> None:
    given_path = data_dir / "conformance" / name
    path = remux(given_path, tmp_path / "a.mkv", display_times(given_path), limit=30)
    assert differences(read(path, gates()["random"])[0], full_decode(path)) == []
    assert len(read(given_path, gates()["none"])[0]) == (54 if "VID" in name else 1)


@pytest.mark.parametrize(
    ("name", "frames"),
    [("crossing/crossing.mp4", 734), ("parking/parking.mp4", 459), ("idle/one_by_one_person.mp4", 1394)],
)
def test_real_clips(data_dir: Path, name: str, frames: int) -> None:
    path = data_dir / name
    for gate in ("none", "keys"):
        slots, found = read(path, gates()[gate])
        assert len(slots) == frames
        times = [slot.pts for slot in slots if slot.pts is not None]
        assert times == sorted(set(times)) and len(times) == frames
        assert found.decoded < frames / 4


def test_late_frames_carry_the_motion_that_was_skipped(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=24, gop=24)
    slots, found = read(path, lambda packet: packet.facts.index == 9)
    assert [slot.facts.index for slot in slots if slot.frame] == [0, 9]
    late = slots[9].late
    assert [frame.pts for frame in late] == [slot.pts for slot in slots[1:9]]
    assert all(frame.vectors is not None and len(frame.vectors) for frame in late)
    with pytest.raises(ValueError, match="let go"):
        late[0].picture()
    assert found.decoded == 10
    assert slots[9].decode_ms > 0 and slots[5].decode_ms == 0


def test_late_frames_keep_luma_where_there_are_no_vectors(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.webm", frames=12, gop=12, codec="libvpx-vp9")
    slots, _ = read(path, lambda packet: packet.facts.index == 5)
    assert len(slots[5].late) == 4
    assert all(frame.vectors is None and frame.luma().shape == (48, 64) for frame in slots[5].late)


def test_late_motion_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "MOST_LATE_BYTES", 3000)
    path = make_clip(tmp_path / "a.mp4", frames=60, gop=60)
    slots, _ = read(path, lambda packet: packet.facts.index == 50)
    late = slots[50].late
    assert 0 < sum(frame.vectors.nbytes for frame in late) <= 3000
    assert late[-1].pts == slots[49].pts


def test_kept_packets_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=60, gop=60, bframes=2)
    monkeypatch.setattr(decoder_module, "MOST_KEPT_BYTES", 1000)
    whole = full_decode(path)
    slots, found = read(path, gates()["none"])
    assert differences(slots, whole) == []
    assert 10 < found.decoded <= 60


def test_few_frames_keep_their_pixels_in_a_long_catch_up(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=120, gop=120, bframes=3, pyramid=True, refs=4)
    slots, found = read(path, lambda packet: packet.facts.index == 110)
    assert found.decoded > 100
    assert sum(slot.frame is not None for slot in slots) < 50
    assert sum(len(slot.late) for slot in slots) > 60
    assert differences(slots, full_decode(path)) == []


def test_leading_frames_after_a_gap_are_undecoded(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=36, gop=12, bframes=3, open_gop=True)
    slots, _ = read(path, lambda packet: packet.facts.index != 8)  # a B frame just before the second key packet
    by_index = {slot.facts.index: slot for slot in slots}
    key = next(slot for slot in slots if slot.facts.is_key and slot.facts.index > 0)
    leading = [slot for slot in slots if slot.facts.index > key.facts.index and slot.pts < key.pts]  # type: ignore[operator]
    assert leading and all(slot.frame is None for slot in leading)
    assert by_index[key.facts.index].frame is not None
    assert differences(slots, full_decode(path)) == []


def test_vectors_and_loop_filter(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=10, width=96, height=64)

    def frames(**options: bool) -> list[Any]:
        with FileSource(path) as source:
            made = Decoder(source, **options)
            slots = [slot for packet in source.packets() for slot in made.push(packet, True)] + made.finish()
            return [slot.frame for slot in slots]

    plain, without = frames(), frames(vectors=False)
    unfiltered = frames(loop_filter=False)
    assert all(frame.vectors is None for frame in without)
    assert plain[0].vectors is None and all(frame.vectors is not None for frame in plain[1:])
    assert plain[3].vectors.dtype.names[:3] == ("source", "w", "h")
    base = plain[3].vectors.base  # a copy: the frame of the codec may go
    assert isinstance(base, np.ndarray) and base.flags.owndata
    for one, other in zip(plain[1:], unfiltered[1:], strict=True):
        assert np.array_equal(one.vectors, other.vectors)
    assert any(not np.array_equal(a.picture(), b.picture()) for a, b in zip(plain, unfiltered, strict=True))


def test_pictures_are_upright_contiguous_and_kept(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=2, width=50, height=38, rotation=90)
    frame = read(path, gates()["all"])[0][1].frame
    assert frame is not None
    picture = frame.picture()
    assert picture.shape == (50, 38, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert frame.picture() is picture
    luma = frame.luma()
    assert luma.shape == (50, 38) and luma.dtype == np.uint8 and luma.flags.c_contiguous
    assert (frame.width, frame.height) == (38, 50)
    assert np.corrcoef(luma.ravel(), picture.mean(-1).ravel())[0, 1] > 0.9


def test_nothing_is_held_once_slots_are_gone(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=200, gop=20, bframes=3, open_gop=True)
    read(path, gates()["random"])
    gc.collect()
    before = sum(isinstance(item, Entry) for item in gc.get_objects())
    for _ in range(3):
        read(path, gates()["random"])
        with FileSource(path) as source:
            left_early = Decoder(source)
            for packet in source.packets():
                left_early.push(packet, True)
                if packet.facts.index == 50:
                    break
        del source, left_early, packet
    gc.collect()
    assert sum(isinstance(item, Entry) for item in gc.get_objects()) <= before


def test_frames_go_without_the_garbage_collector(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=150, gop=30, bframes=2)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(item, av.VideoFrame) for item in gc.get_objects())
        with FileSource(path) as source:
            made = Decoder(source)
            for packet in source.packets():
                made.push(packet, packet.facts.index % 3 == 0)
            frames = sum(isinstance(item, av.VideoFrame) for item in gc.get_objects())
            made.finish()
    finally:
        gc.enable()
    assert made.decoded > 100
    assert frames - before < 12


def test_costs_are_charged_to_who_asks(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=40, gop=40, width=320, height=240)
    slots, _ = read(path, lambda packet: packet.facts.index == 35)
    assert slots[35].decode_ms == max(slot.decode_ms for slot in slots[1:])
    assert sum(slot.demux_ms for slot in slots) > 0
