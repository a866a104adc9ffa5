"""Moments found in labels and cut out of real videos."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranges import serving
from reading import full_decode

from everyframe.operators.types import Objects
from everyframe.pipeline.archive.clip import join
from everyframe.pipeline.archive.tables import write_labels, write_sources
from everyframe.pipeline.archive.types import SourceRow
from everyframe.pipeline.cli import call
from everyframe.pipeline.errors import SinkError, SourceError
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.sources.clipping import cut

CLIPS = {
    "no B frames": "pets_s2l1/pets_s2l1_ip.mp4",
    "B frames": "pets_s2l1/pets_s2l1_b3.mp4",
    "an edit list that hides frames": "parking/parking.mp4",
    "uneven times": "crossing/crossing.mp4",
    "one group": "walkway/walkway.mp4",
}


@pytest.mark.parametrize("what", CLIPS)
def test_a_cut_shows_the_same_frames(data_dir: Path, tmp_path: Path, what: str) -> None:
    """Every frame from the key frame on, bit for bit, with the source's distances in time, from zero."""
    path = data_dir / CLIPS[what]
    with av.open(str(path)) as container:
        base = float(container.streams.video[0].time_base)
    whole = full_decode(path)
    start, end = 4.0, 6.5
    piece = cut(str(path), start, end, tmp_path / "c.mp4")
    got = full_decode(piece.path)
    times = [pts * base for pts in whole.pts if pts is not None]
    first = min(range(len(times)), key=lambda i: abs(times[i] - piece.start_s))
    assert times[first] == pytest.approx(piece.start_s) and piece.start_s <= start
    asked = max(i for i, t in enumerate(times) if t < end - base / 2)
    last = first + len(got.pictures) - 1
    assert asked <= last <= asked + 4  # B frames may need a frame after the end
    assert got.pictures == whole.pictures[first : last + 1]
    assert piece.frames == len(got.pictures)
    with av.open(piece.path) as container:
        made = float(container.streams.video[0].time_base)
    gone = [round(pts * made, 3) for pts in got.pts if pts is not None]
    assert gone == pytest.approx([t - times[first] for t in times[first : last + 1]], abs=2e-3)
    assert gone[0] == 0.0


def test_cuts_begin_with_the_nearest_key_frame(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / CLIPS["no B frames"]  # 10 frames a second, a key frame every 20
    piece = cut(str(path), 5.0, 7.0, tmp_path / "c.mp4")
    assert (piece.start_s, piece.end_s) == (pytest.approx(4.0), pytest.approx(7.0))
    assert piece.size < path.stat().st_size / 10
    assert cut(str(path), 0.0, 1e6, tmp_path / "all.mp4").frames == 795


def test_cuts_that_cannot_be_made(data_dir: Path, tmp_path: Path) -> None:
    path = str(data_dir / CLIPS["no B frames"])
    with pytest.raises(SourceError, match="does not exist"):
        cut("gone.mp4", 0, 1, tmp_path / "a.mp4")
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        cut(path, 0, 1, tmp_path / "file" / "a.mp4")
    assert [p.name for p in tmp_path.rglob("*")] == ["file"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(0, 100)), max_size=50),
    st.floats(0, 5),
    st.floats(0, 5),
)
@settings(deadline=None)
def test_moments_cover_all_and_do_not_touch(frames: list[tuple[str, str, float]], gap: float, pad: float) -> None:
    frames = sorted(frames)
    moments = list(join(frames, gap, pad))
    assert sum(m.matches for m in moments) == len(frames)
    for camera, source, at in frames:
        inside = [m for m in moments if (m.camera, m.source) == (camera, source) and m.start_s <= at <= m.end_s]
        assert len(inside) == 1
    for before, after in pairwise(moments):
        if (before.camera, before.source) == (after.camera, after.source):
            assert before.end_s <= after.start_s + 1e-9


@pytest.fixture
def archive(tmp_path: Path, data_dir: Path, make_labels: Callable[..., list[FrameLabels]]) -> Path:
    """A person in the picture from 10 to 12 s and from 40 to 41 s, of 79 s at 10 frames a second."""
    folder = tmp_path / "out"
    labels = []
    for record in make_labels(795):
        at = record.frame_index / 10
        seen = [[10, 10, 50, 90]] if 10 <= at <= 12 or 40 <= at <= 41 else []
        labels.append(replace(record, time_s=at, objects=Objects.of(seen, [0.9] * len(seen), [0] * len(seen), [1] * len(seen))))
    write_labels(folder, "gate", "pets", None, labels)
    write_sources(folder, [SourceRow("gate", "pets", str(data_dir / CLIPS["no B frames"]))])
    return folder


def manifest(out: Path) -> list[dict[str, str]]:
    with open(out / "clips.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_cuts_what_matches(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clips"
    assert call(["clip", str(archive), "--where", "label = 'person' -- always", "--out", str(out)]) == 0
    names = capsys.readouterr().out.split()
    assert names == ["gate_pets_000009.000.mp4", "gate_pets_000039.000.mp4"]
    rows = manifest(out)
    assert [row["clip"] for row in rows] == names
    assert [(float(row["start_s"]), float(row["end_s"]), row["matches"]) for row in rows] == [
        (8.0, 13.0, "21"), (38.0, 42.0, "11"),
    ]  # fmt: skip
    assert len(full_decode(out / names[0]).pts) == 50 == int(rows[0]["frames"])
    assert sorted(path.name for path in out.iterdir()) == ["clips.csv", *names]


def test_a_dry_run_cuts_nothing(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["clip", str(archive), "--where", "true", "--out", str(tmp_path / "c"), "--join", "60", "--dry-run"]) == 0
    assert "9.00 - 42.00 s, 32 frames" in capsys.readouterr().out
    assert not (tmp_path / "c").exists()


def test_sources_that_moved(archive: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sources(archive, [SourceRow("gate", "pets", "/gone/pets_s2l1_ip.mp4")])
    out = tmp_path / "clips"
    arguments = ["clip", str(archive), "--where", "score > 0.5", "--out", str(out), "--limit", "1"]
    assert call(arguments) == 1
    assert "--sources" in capsys.readouterr().err and "not there any more" in manifest(out)[0]["trouble"]
    assert call([*arguments, "--sources", str(data_dir)]) == 0
    assert manifest(out)[0]["clip"] == "gate_pets_000009.000.mp4"


def test_remote_sources_are_cut_by_range(archive: Path, data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir / "pets_s2l1") as server:
        write_sources(archive, [SourceRow("gate", "pets", f"{server.url}/pets_s2l1_ip.mp4")])
        assert call(["clip", str(archive), "--where", "true", "--out", str(tmp_path / "c"), "--limit", "1"]) == 0
    assert manifest(tmp_path / "c")[0]["frames"] == "50"


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--where", "label = 'person'; DROP VIEW labels"], "semicolon"),
        (["--where", "nope > 1"], "nope"),
        (["--where", "1) UNION SELECT 'a', content, 1 FROM read_text('/etc/passwd') --"], "cannot be run"),
        (["--where", "true", "--pad", "-1"], "--pad"),
        (["--where", "true", "--limit", "0"], "--limit"),
    ],
)
def test_misuse_is_one_line(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert call(["clip", str(archive), *arguments, "--out", str(tmp_path / "c")]) == 2
    told = capsys.readouterr().err
    assert says in told and len(told.splitlines()) == 1
    assert not (tmp_path / "c").exists()
