"""What every source promises, over every container that is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from media import make_clip
from reading import full_decode

from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.records import Packet, SourceInfo
from everyframe.pipeline.sources.file import FileSource

KINDS: dict[str, dict[str, Any]] = {
    "mp4": {"bframes": 2},
    "mkv": {"bframes": 2, "open_gop": True},
    "ts": {"bframes": 2, "audio": True},
    "mov": {"rotation": 90},
    "avi": {},
    "264": {"bframes": 2},
    "h264": {},
    "jsv": {},
    "26l": {},
    "webm": {"codec": "libvpx-vp9"},
}
FRAMES = 30


@pytest.fixture(scope="module", params=KINDS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    kind = request.param
    if kind in ("jsv", "26l"):
        return make_clip(folder / "a.264", frames=FRAMES, **KINDS[kind]).rename(folder / f"a.{kind}")
    return make_clip(folder / f"a.{kind}", frames=FRAMES, **KINDS[kind])


def packets_of(path: Path) -> tuple[SourceInfo, list[Packet]]:
    with FileSource(path) as source:
        packets = list(source.packets())
        return source.info, packets


def test_info_is_complete(clip: Path) -> None:
    info, _ = packets_of(clip)
    assert info.name == "a" and info.path == str(clip)
    assert info.codec in ("h264", "vp9")
    assert {info.width, info.height} == {64, 48}
    assert info.time_base > 0 and info.rate > 0
    assert info.rotation in (0, 90, 180, 270)
    assert info.frames in (None, FRAMES)
    assert info.decode_all is None or info.decode_all.startswith("Every frame is decoded, because ")


def test_packets_come_in_decode_order(clip: Path) -> None:
    _, packets = packets_of(clip)
    assert [p.facts.index for p in packets] == list(range(FRAMES))
    times = [p.dts for p in packets if p.dts is not None]
    assert times == sorted(times)
    assert all(p.dts is None or p.pts is None or p.pts >= p.dts for p in packets)


def test_facts_are_plausible(clip: Path) -> None:
    info, packets = packets_of(clip)
    assert packets[0].facts.is_key
    for packet in packets:
        facts = packet.facts
        assert facts.size > 0 and facts.picture in {"I", "P", "B", "?"}
        assert facts.is_reference or facts.picture in {"P", "B"}
        assert packet.demux_ms >= 0.0
        assert math.isnan(facts.time_s) or facts.time_s == pytest.approx(float(packet.pts * info.time_base))  # type: ignore[operator]


def test_reading_twice_gives_the_same(clip: Path) -> None:
    first, second = packets_of(clip), packets_of(clip)
    assert first[0] == second[0]
    assert [(repr(p.facts), p.pts, p.dts, p.is_discard) for p in first[1]] == [
        (repr(p.facts), p.pts, p.dts, p.is_discard) for p in second[1]
    ]


def test_packets_that_may_be_skipped_are_one_frame_each(clip: Path) -> None:
    info, packets = packets_of(clip)
    whole = full_decode(clip)
    assert len(whole.pts) == FRAMES
    if info.decode_all is None:
        shown = sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)
        assert shown == whole.pts


def test_it_can_be_left_early_and_closed_twice(clip: Path) -> None:
    with FileSource(clip) as source:
        decoder = Decoder(source)
        decoder.push(next(source.packets()), True)
        source.close()
    source.close()


def test_it_does_not_change_the_file(clip: Path) -> None:
    before = clip.read_bytes()
    packets_of(clip)
    assert clip.read_bytes() == before
