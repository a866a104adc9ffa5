"""Packet heads agree with the decoder, and garbage is only ever unknown."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import field_coded, make_clip

from everyframe.pipeline.sources.nal import UNKNOWN, PacketReader

AVCC = bytes.fromhex("0164001effe1000c6764001eacd940d03da10000") + b"\x01\x00\x04\x68ee3c80"


def heads(path: Path) -> list[tuple[str, str, bool]]:
    """(what the packet says, what the decoder says, is_reference) of each packet with a frame."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.copy_opaque = True
        context.thread_count = 1
        reader = PacketReader(context.name, context.extradata)
        for packet in container.demux(stream):
            if packet.size:
                packet.opaque = [reader.read(memoryview(packet))]
            for frame in context.decode(packet if packet.size else None):
                head = frame.opaque[0]
                found.append((head.picture, "?IPB"[frame.pict_type], head.is_reference))
    return found


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.264", "a.avi"])
@pytest.mark.parametrize("cabac", [True, False])
def test_agrees_with_the_decoder_in_every_container(tmp_path: Path, name: str, cabac: bool) -> None:
    path = make_clip(
        tmp_path / name, frames=20, bframes=3, pyramid=cabac, refs=3, open_gop=True, slices=3, cabac=cabac
    )
    found = heads(path)
    assert {said for said, _, _ in found} == {"I", "P", "B"}
    assert all(said == true for said, true, _ in found)
    assert all(is_reference for said, _, is_reference in found if said in "IP")
    assert any(not is_reference for said, _, is_reference in found if said == "B")


def test_agrees_with_the_decoder_on_mpeg4(tmp_path: Path) -> None:
    found = heads(make_clip(tmp_path / "a.avi", frames=20, codec="mpeg4", bframes=2))
    assert {said for said, _, _ in found} == {"I", "P", "B"}
    assert all(said == true for said, true, _ in found)


def test_agrees_with_the_decoder_on_conformance_streams(data_dir: Path) -> None:
    names = ["BA1_Sony_D.jsv", "MR1_MW_A.264", "NRF_MW_E.264", "SVA_FM1_E.264", "test_vd_1d.264", "Static.264"]
    for name in names:
        for said, true, is_reference in heads(data_dir / "conformance" / name):
            assert said == true or (said, true) == ("I", "P"), name  # P pictures may begin with an I slice
            assert is_reference or said != "I", name


def test_fields_are_seen_as_fields(tmp_path: Path) -> None:
    path = field_coded(tmp_path / "fields.264", 2)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        reader = PacketReader("h264", stream.codec_context.extradata)
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    assert all(reader.read(packet).is_field for packet in packets)
    assert [reader.pictures(packet) for packet in packets] == [1] * 4
    assert reader.pictures(packets[0] + packets[1]) == 2


def test_interlaced_frames_are_not_fields(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", frames=5, interlaced=True)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        reader = PacketReader("h264", stream.codec_context.extradata)
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    assert [reader.read(packet).is_field for packet in packets] == [False] * 5
    assert [reader.pictures(packet) for packet in packets] == [1] * 5


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([None, AVCC]), st.binary(max_size=60))
def test_never_raises_on_garbage(packet: bytes, extradata: bytes | None, more: bytes) -> None:
    for given_extradata in (extradata, more, (extradata or b"") + more):
        reader = PacketReader("h264", given_extradata)
        for data in (packet, b"\0\0\1\x67" + packet, b"\0\0\1\x65" + packet, b"\0\0\0\x05\x65" + packet):
            head = reader.read(memoryview(data))
            assert head.picture in {"I", "P", "B", "?"}
            assert reader.pictures(data) >= 0


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=100), st.sampled_from(["mpeg4", "hevc", "vp9", "av1", "mjpeg"]))
def test_other_codecs_never_raise(packet: bytes, codec: str) -> None:
    assert PacketReader(codec, packet).read(packet).picture in {"I", "P", "B", "?"}


@pytest.mark.parametrize("packet", [b"", b"\0", b"\0\0\1", b"\0\0\1\x65", b"\0\0\0\1\x67\0", b"\xff" * 40])
def test_too_little_is_unknown(packet: bytes) -> None:
    assert PacketReader("h264", None).read(packet) == UNKNOWN
    assert PacketReader("h264", AVCC).read(packet) == UNKNOWN
