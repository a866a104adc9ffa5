"""Missing pictures by frame_num, on real encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from media import make_clip

from everyframe.pipeline.sources.nal import PacketReader


def read(path: Path, without: int | None = None) -> list[tuple[bool, bool]]:
    """(a picture is missing before it, it is a reference) for each packet, one of them left out."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        reader = PacketReader(stream.codec_context.name, stream.codec_context.extradata)
        found = []
        for number, packet in enumerate(p for p in container.demux(stream) if p.size):
            if number != without:
                is_reference = reader.read(memoryview(packet)).is_reference
                found.append((reader.has_gap, is_reference))
    return found


@pytest.mark.parametrize("suffix", ["mp4", "264", "ts"])
@pytest.mark.parametrize(
    "options",
    [{}, {"bframes": 3}, {"bframes": 3, "pyramid": True, "refs": 3}, {"slices": 4}, {"interlaced": True}, {"open_gop": True, "bframes": 2}],
    ids=str,
)
def test_nothing_is_missing_from_a_whole_stream(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    found = read(make_clip(tmp_path / f"a.{suffix}", 40, 64, 48, gop=12, **options))
    assert len(found) == 40 and not any(gap for gap, _ in found)


@pytest.mark.parametrize("bframes", [0, 2])
def test_a_missing_reference_is_seen_at_the_next_picture_and_others_are_not_missed(tmp_path: Path, bframes: int) -> None:
    clip = make_clip(tmp_path / "a.mp4", 40, 64, 48, gop=20, bframes=bframes)
    kinds = [is_reference for _, is_reference in read(clip)]
    for lost in range(3, 12):
        gaps = [gap for gap, _ in read(clip, lost)]
        assert any(gaps) == kinds[lost]
        assert not any(gaps[:lost])
