"""Shards cover a file once, and decode to what the whole file decodes to."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import field_coded, make_clip, remux
from reading import differences, full_decode, gates, read

from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.records import Slot
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import Shard, plan_shards, scan


def shard_slots(path: Path, shards: list[Shard], gate: str) -> list[Slot]:
    """The slots of all shards; checks each one's first frame and its lead-out."""
    slots: list[Slot] = []
    for shard in shards:
        found, _ = read(path, gates(shard.index)[gate], shard.start_pts, shard.end_pts)
        if shard.start_pts is not None:
            assert found[0].pts == shard.start_pts
            assert found[0].frame is not None
        end = shard.end_pts
        inside = [slot for slot in found if end is None or (slot.pts is not None and slot.pts < end)]
        assert [slot.pts for slot in found[len(inside) :]] == ([] if end is None else [end])
        slots += inside
    return slots


CLIPS = {
    "open.mp4": {"bframes": 3, "open_gop": True, "pyramid": True, "refs": 4},
    "open.mkv": {"bframes": 3, "open_gop": True, "pyramid": True, "refs": 4},
    "open.ts": {"bframes": 3, "open_gop": True, "pyramid": True, "refs": 4, "first_pts": 777},
    "closed.mp4": {"bframes": 2},
    "plain.avi": {},
    "plain.mov": {"audio": True},
    "mpeg4.avi": {"codec": "mpeg4", "bframes": 2},
    "hevc.mp4": {"codec": "libx265", "bframes": 3, "open_gop": True},
    "vp9.webm": {"codec": "libvpx-vp9"},
}


@pytest.mark.parametrize("name", CLIPS)
def test_shards_give_the_frames_of_the_whole(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, frames=63, gop=12, **CLIPS[name])  # type: ignore[arg-type]
    shards = plan_shards(str(path), 20)
    assert [shard.frames_estimate for shard in shards] == [24, 39] or len(shards) == 3, shards
    whole = full_decode(path)
    for gate in ("all", "random", "none", "keys"):
        assert differences(shard_slots(path, shards, gate), whole) == []


def test_seeking_in_a_long_transport_stream(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "long.ts", frames=1200, gop=50, bframes=3, open_gop=True, refs=2, rate=25, audio=True)
    shards = plan_shards(str(path), 100)
    assert len(shards) == 12
    whole = full_decode(path)
    for shard in shards[::4]:
        slots = shard_slots(path, [shard], "keys")
        first = whole.pts.index(slots[0].pts)
        assert [slot.pts for slot in slots] == whole.pts[first : first + shard.frames_estimate]


def test_a_container_that_cannot_seek_is_read_through(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(clip.read_bytes()[:-200])  # the index at the end is lost
    shards = plan_shards(str(clip), 20)
    with FileSource(cut, shards[1].start_pts, shards[1].end_pts) as source:
        assert next(source.packets()).pts == shards[1].start_pts


def test_a_start_that_is_no_key_frame_is_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=30)
    with FileSource(path, 5 * 1024, None) as source, pytest.raises(SourceError, match="no key frame at pts 5120"):
        list(source.packets())


@pytest.mark.parametrize("suffix", ["264", "ts"])
def test_a_stream_to_decode_whole_is_one_shard(tmp_path: Path, suffix: str) -> None:
    raw = field_coded(tmp_path / "fields.264", 20)
    path = raw if suffix == "264" else remux(raw, tmp_path / "f.ts", [(i, i) for i in range(40)], 50)
    assert plan_shards(str(path), 5) == [Shard(0, None, None, 40)]


def test_plans_are_the_same_each_time_and_cover_all_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=100, gop=7, bframes=2, open_gop=True)
    for size in (1, 10, 30, 99, 1000):
        shards = plan_shards(str(path), size)
        assert shards == plan_shards(str(path), size)
        assert sum(shard.frames_estimate for shard in shards) == 100
        assert [s.end_pts for s in shards[:-1]] == [s.start_pts for s in shards[1:]]
        assert (shards[0].start_pts, shards[-1].end_pts) == (None, None)


def test_scan_finds_what_a_progress_bar_needs(tmp_path: Path) -> None:
    found = scan(str(make_clip(tmp_path / "a.ts", frames=50, gop=10, bframes=2)))
    assert found.frames == 50
    assert len(found.keys) == 4  # the first is the file's start
    assert found.times == sorted(found.times)
    assert found.broken is None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("pets_s2l1/pets_s2l1_b3.mp4", 300),
        ("walkway/walkway.mp4", 100),
        ("idle/one_by_one_person.mp4", 500),
        ("freeway720/freeway720.mp4", 200),
        ("street/street.mp4", 300),
    ],
)
def test_real_clips(data_dir: Path, name: str, size: int) -> None:
    path = data_dir / name
    shards = plan_shards(str(path), size)
    slots = shard_slots(path, shards, "keys")
    times = scan(str(path)).times
    assert [slot.pts for slot in slots] == times
    assert sum(slot.frame is not None for slot in slots) >= len(shards)
