"""What a source says of its stream and its packets."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from media import display_times, field_coded, join, make_clip, remux

from everyframe.pipeline.records import Packet
from everyframe.pipeline.sources.file import FileSource


def packets_of(path: Path) -> list[Packet]:
    with FileSource(path) as source:
        return list(source.packets())


def test_info_of_a_plain_clip(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "street cam.mp4", frames=20, width=80, height=46, rate=12)
    with FileSource(path) as source:
        info = source.info
    assert (info.name, info.path, info.codec) == ("street cam", str(path), "h264")
    assert (info.width, info.height, info.rotation, info.rate, info.frames) == (80, 46, 0, 12, 20)
    assert info.decode_all is None


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize(("degrees", "size"), [(90, (48, 64)), (180, (64, 48)), (270, (48, 64))])
def test_rotation_turns_width_and_height(
    tmp_path: Path, name: str, degrees: int, size: tuple[int, int]
) -> None:
    with FileSource(make_clip(tmp_path / name, frames=3, rotation=degrees)) as source:
        assert source.info.rotation == degrees
        assert (source.info.width, source.info.height) == size


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm"])
def test_expected_frames_of_every_container(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    with FileSource(make_clip(tmp_path / f"a.{suffix}", frames=25, codec=codec)) as source:
        assert source.info.frames == 25


def test_packet_facts(tmp_path: Path) -> None:
    packets = packets_of(make_clip(tmp_path / "a.mp4", frames=25, gop=12, bframes=2))
    assert [p.facts.index for p in packets] == list(range(25))
    assert [p.facts.index for p in packets if p.facts.is_key] == [0, 12, 24]
    assert all(p.facts.size > 0 and p.demux_ms >= 0 and not p.is_discard for p in packets)
    assert sorted(round(p.facts.time_s * 10) for p in packets) == list(range(25))
    pictures = {p.facts.picture for p in packets}
    assert pictures == {"I", "P", "B"}
    assert all(p.facts.is_reference != (p.facts.picture == "B") for p in packets)


def test_sound_is_not_read(tmp_path: Path) -> None:
    packets = packets_of(make_clip(tmp_path / "a.mkv", frames=20, audio=True))
    assert len(packets) == 20


def test_an_intra_refresh_is_no_key_packet(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", frames=40, gop=10, x264="intra-refresh=1")
    packets = packets_of(path)
    assert [p.facts.index for p in packets if p.facts.is_key] == [0]


def test_raw_streams_say_why_every_frame_is_decoded(tmp_path: Path) -> None:
    with FileSource(make_clip(tmp_path / "a.h264", frames=8)) as source:
        assert source.info.decode_all == "Every frame is decoded, because the stream has no timestamps."
        assert source.info.frames is None
        assert all(math.isnan(p.facts.time_s) for p in source.packets())


@pytest.mark.parametrize("suffix", ["264", "ts", "mp4", "mkv"])
def test_separate_fields_are_found(tmp_path: Path, suffix: str) -> None:
    raw = field_coded(tmp_path / "fields.264", 8)
    path = raw if suffix == "264" else remux(raw, tmp_path / f"f.{suffix}", [(i, i) for i in range(16)], 50)
    with FileSource(path) as source:
        assert source.info.decode_all is not None
        assert ("fields" in source.info.decode_all) == (suffix != "264")


def test_fields_that_begin_in_mid_stream_are_found(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.264", frames=40, width=32, height=32, x264="fake-interlaced=0")
    both = join(tmp_path / "both.264", [plain, field_coded(tmp_path / "fields.264", 8)])
    path = remux(both, tmp_path / "both.ts", [(i, i) for i in range(56)], 50)
    with FileSource(path) as source:
        assert source.info.decode_all is None
        for _ in source.packets():
            pass
        assert source.info.decode_all is not None and "fields" in source.info.decode_all


def test_timestamps_in_the_order_of_packets_are_found(tmp_path: Path) -> None:
    with FileSource(make_clip(tmp_path / "b.avi", bframes=2)) as source:
        assert source.info.decode_all is not None and "count packets" in source.info.decode_all
        assert source.lacks_times
    with FileSource(make_clip(tmp_path / "p.avi")) as source:
        assert source.info.decode_all is None and not source.lacks_times


def test_equal_timestamps_are_found(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.264", frames=20)
    times = [(i - (i > 9), i) for i in range(20)]
    with FileSource(remux(clip, tmp_path / "a.mkv", [(p + 1, p) for p, _ in times])) as source:
        assert source.info.decode_all is not None and "same timestamp" in source.info.decode_all


def test_hidden_packets_are_marked(data_dir: Path) -> None:
    packets = packets_of(data_dir / "parking" / "parking.mp4")
    assert [p.facts.index for p in packets if p.is_discard] == list(range(8))
    with FileSource(data_dir / "parking" / "parking.mp4") as source:
        assert source.info.frames == 459


def test_conformance_streams_get_times_by_remuxing(data_dir: Path, tmp_path: Path) -> None:
    given = data_dir / "conformance" / "Cisco_Men_whisper_640x320_CABAC_Bframe_9.264"
    packets = packets_of(remux(given, tmp_path / "a.mp4", display_times(given)))
    assert [p.facts.picture for p in packets].count("B") == 7
