"""Key frames decoded ahead of their turn: the same pictures, and a decoder that goes on from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import make_clip
from reading import differences, full_decode

from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.scout import Scout
from everyframe.pipeline.records import Slot
from everyframe.pipeline.sources.file import FileSource

CLIPS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "plain.mkv": {},
    "b2.mp4": {"bframes": 2},
    "open.mkv": {"bframes": 3, "refs": 2, "open_gop": True},
    "open.ts": {"bframes": 3, "refs": 2, "open_gop": True},
    "slices.ts": {"slices": 3, "cabac": False},
    "turned.mp4": {"rotation": 90},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "hevc.mp4": {"codec": "libx265", "bframes": 3, "open_gop": True},
    "vp9.webm": {"codec": "libvpx-vp9"},
}
FRAMES, GOP = 40, 8


def pushed(path: Path, skips: bool) -> tuple[list[Slot], int]:
    """Slots where every key packet is decoded ahead, and how many of them the decoder went on from. skips: leaves every
    other group of pictures out."""
    slots: list[Slot] = []
    gone_on = 0
    with FileSource(path) as source:
        decoder = Decoder(source)
        scout = Scout(decoder, source.another_context)
        is_left = False
        for packet in source.packets():
            ahead = None
            if packet.facts.is_key:
                is_left = skips and not is_left
                found = scout.key(packet)
                assert found is not None
                ahead, frame = found
                assert frame.pts == packet.pts
            mine = None if ahead is None else ahead.context
            slots += decoder.push(packet, not is_left or ahead is not None, ahead)
            if ahead is not None:
                gone_on += mine is not None and ahead.context is not mine
                scout.done(ahead)
        slots += decoder.finish()
        assert scout.spent() > 0 and scout.spent() == 0
    return slots, gone_on


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("name", CLIPS)
def test_decoding_goes_on_from_a_key_frame_seen_ahead(tmp_path: Path, name: str, skips: bool) -> None:
    path = make_clip(tmp_path / name, frames=FRAMES, gop=GOP, **CLIPS[name])
    slots, gone_on = pushed(path, skips)
    assert differences(slots, full_decode(path)) == []
    if not skips:
        assert all(slot.frame is not None for slot in slots)
    if name.startswith(("plain", "slices", "turned")):
        assert gone_on == FRAMES / GOP  # where frames come out at once


@pytest.mark.parametrize("name", ["plain.mp4", "b2.mp4", "open.ts"])
def test_the_last_of_some_packets(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, frames=FRAMES, gop=GOP, **CLIPS[name])
    shown = {slot.pts: slot.frame.picture() for slot in pushed(path, False)[0] if slot.frame is not None}
    with FileSource(path) as source:
        scout = Scout(Decoder(source), source.another_context)
        group = list(source.packets())[:GOP]
        for count in (1, 3, GOP):
            frame = scout.last(group[:count])
            assert frame is not None and frame.pts == group[count - 1].pts
            assert np.array_equal(frame.picture(), shown[frame.pts])


def test_a_packet_that_is_no_key_packet_gives_nothing(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", frames=FRAMES, gop=GOP)
    with FileSource(path) as source:
        scout = Scout(Decoder(source), source.another_context)
        first, second = list(source.packets())[:2]
        assert scout.key(second) is None
        assert scout.key(first) is not None  # in a codec that is as new
