"""Bad input ends in one sentence that says what, where and what to do; what came before a break is kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from media import make_audio, make_clip, remux
from reading import differences, full_decode, gates

from everyframe.pipeline.errors import SourceBroken, SourceError
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.records import Slot
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import plan_shards, scan


def refused(path: Path | str) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(SourceError) as caught:
        FileSource(path)
    assert not isinstance(caught.value, SourceBroken)
    return one_sentence(caught.value, str(path))


def one_sentence(error: SourceError, path: str) -> str:
    text = str(error)
    assert path in text and text.endswith(".") and "\n" not in text
    assert re.search(r"[:;] \w", text), "says what to do"
    assert "Errno" not in text and "Traceback" not in text
    return text


def without_frames(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height = 64, 48
        output.start_encoding()
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda d: d / "nope.mp4", "does not exist"),
    "folder": (lambda d: d, "is a folder"),
    "empty": (lambda d: written(d / "a.mp4", b""), "is empty"),
    "text as mp4": (lambda d: written(d / "a.mp4", b"hello world\n" * 99), "is not a video"),
    "text as txt": (lambda d: written(d / "a.txt", b"hello world\n" * 99), "holds text"),
    "text as raw": (lambda d: written(d / "a.264", b"hello world\n" * 99), "is not a video"),
    "noise": (lambda d: written(d / "a.mkv", bytes(range(256)) * 40), "is not a video"),
    "zeros": (lambda d: written(d / "a.ts", bytes(9000)), "is not a video"),
    "sound": (lambda d: make_audio(d / "a.mp4"), "has no video (only audio)"),
    "sound in mkv": (lambda d: make_audio(d / "a.mkv"), "has no video (only audio)"),
    "mp4 without frames": (lambda d: without_frames(d / "a.mp4"), "has no video"),
    "mkv without frames": (lambda d: without_frames(d / "a.mkv"), "has no frames"),
    "lost index": (
        lambda d: written(d / "a.mp4", make_clip(d / "b.mp4").read_bytes()[:3000]),
        "has lost its index (the moov box)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(tmp_path: Path, name: str) -> None:
    make, expected = BAD[name]
    assert expected in refused(make(tmp_path))


def test_the_unreadable_conformance_stream(data_dir: Path) -> None:
    assert "no frame that can be decoded" in refused(data_dir / "conformance" / "sps_subsetsps_bothVUI.264")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=2)
    path.chmod(0)
    assert "permissions" in refused(path)


def test_passwords_are_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        FileSource("rtsp://admin:hunter2@127.0.0.1:1/stream?token=abc")
    assert "hunter2" not in str(caught.value) and "abc" not in str(caught.value)
    assert "rtsp://***@127.0.0.1:1/stream" in str(caught.value)


def run(path: Path, gate_name: str) -> tuple[list[Slot], SourceBroken | None]:
    slots: list[Slot] = []
    broken = None
    gate = gates()[gate_name]
    with FileSource(path) as source:
        decoder = Decoder(source)
        try:
            for packet in source.packets():
                slots += decoder.push(packet, gate(packet))
        except SourceBroken as error:
            broken = error
        slots += decoder.finish()
    return slots, broken


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "avi", "264"])
def test_cut_at_many_places(tmp_path: Path, suffix: str) -> None:
    """Each cut is refused, or gives the frames that a full decode of it gives, and says that it is cut."""
    made = make_clip(tmp_path / f"made.{'mkv' if suffix == 'mp4' else suffix}", frames=40, gop=8, bframes=2)
    whole = remux(made, tmp_path / "whole.mp4", options={"movflags": "faststart"}) if suffix == "mp4" else made
    data, frames = whole.read_bytes(), len(full_decode(whole).pts)
    path = tmp_path / f"cut.{suffix}"
    outcomes = {"refused": 0, "broken": 0, "whole": 0, "unnoticed": 0}
    for size in [1, 7, 40, *range(200, len(data), len(data) // 23), len(data) - 40, len(data) - 1]:
        path.write_bytes(data[:size])
        try:
            slots, broken = run(path, "random")
        except SourceError as error:
            one_sentence(error, str(path))
            outcomes["refused"] += 1
            continue
        assert differences(slots, full_decode(path), sound=False) == []
        if broken is not None:
            assert re.search("cut short|no picture", one_sentence(broken, str(path)))
        outcomes["broken" if broken else "whole" if len(slots) == frames else "unnoticed"] += 1
    if suffix in ("mkv", "mp4", "ts", "avi"):
        assert outcomes["unnoticed"] == 0, outcomes
        assert outcomes["broken"] > (0 if suffix == "avi" else 5), outcomes


def test_a_break_says_where(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", frames=60)
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    slots, broken = run(path, "none")
    assert broken is not None
    found = re.search(r"breaks off at ([\d.]+) s, after (\d+) frames", str(broken))
    assert found is not None
    assert int(found[2]) == len(slots)
    assert float(found[1]) == pytest.approx(len(slots) / 10)


def test_a_packet_that_is_cut_is_no_frame(tmp_path: Path) -> None:
    whole = remux(make_clip(tmp_path / "a.mkv", frames=60), tmp_path / "whole.mp4", options={"movflags": "faststart"})
    data = whole.read_bytes()
    path = tmp_path / "cut.mp4"
    for size in range(len(data) * 2 // 3, len(data) * 2 // 3 + 200, 20):
        path.write_bytes(data[:size])
        slots, broken = run(path, "none")
        found = re.search(r"after (\d+) frames", str(broken))
        assert found is not None
        assert len(slots) - 1 <= int(found[1]) <= len(slots)


def test_an_index_lost_at_the_end_breaks_nothing(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", frames=30)
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[:-20])
    slots, broken = run(path, "all")
    assert (len(slots), broken) == (30, None)


def test_a_file_that_ends_in_zeros_breaks_there(tmp_path: Path) -> None:
    """As a download does that reserved its space and stopped."""
    made = make_clip(tmp_path / "a.mkv", frames=60, gop=10)
    whole = remux(made, tmp_path / "whole.mp4", options={"movflags": "faststart"})
    data = whole.read_bytes()
    path = tmp_path / "zeros.mp4"
    path.write_bytes(data[: len(data) * 2 // 3] + bytes(len(data) // 3 + 1))
    slots, broken = run(path, "keys")
    assert broken is not None and "hold no pictures" in one_sentence(broken, str(path))
    assert differences(slots, full_decode(path), sound=False) == []


def test_damage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    data = bytearray(make_clip(tmp_path / "a.ts", frames=60, gop=10, width=160, height=120).read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 188 * 4] = bytes(188 * 4)
    path = written(tmp_path / "damaged.ts", bytes(data))
    whole = full_decode(path)
    slots, broken = run(path, "all")
    assert broken is None
    assert differences(slots, whole) == []
    skipped, broken = run(path, "none")  # cannot know which of the skipped frames would have come to nothing
    assert broken is None
    assert {slot.pts for slot in skipped} >= set(whole.pts)


def test_scanning_and_planning_a_cut_file(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", frames=60)
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    found = scan(str(path))
    assert found.broken is not None and 0 < found.frames < 60
    shards = plan_shards(str(path), 12)
    assert sum(shard.frames_estimate for shard in shards) == found.frames
    with FileSource(path, shards[-1].start_pts, None) as source, pytest.raises(SourceBroken):
        list(source.packets())


def test_8k(tmp_path: Path) -> None:
    def flat(index: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), 90, np.uint8)

    path = make_clip(tmp_path / "a.mp4", frames=1, width=7680, height=4320, draw=flat)
    slots, broken = run(path, "none")
    assert broken is None and len(slots) == 1
    assert slots[0].frame is not None and slots[0].frame.picture().shape == (4320, 7680, 3)
