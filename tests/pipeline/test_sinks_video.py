"""The annotated video and the contact sheet, on real files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from everyframe.operators.types import Objects, Origin
from everyframe.pipeline.errors import SinkError, UsageError
from everyframe.pipeline.pictures.drawing import contact_sheet
from everyframe.pipeline.pictures.overlay import STYLES, draw_labels
from everyframe.pipeline.records import FrameLabels, SourceInfo
from everyframe.pipeline.sinks import make_sinks

NAMES = ("person", "bicycle", "car")
GREY = 96


def encode(
    path: Path, pts: list[int], size: tuple[int, int] = (160, 96), rotation: int = 0, time_base: int = 1000
) -> None:
    """Grey H.264 with a white corner (top left of the coded picture) that the upright picture is told by."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1", "bf": "0", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.codec_context.time_base = Fraction(1, time_base)
        if rotation:
            stream.set_display_rotation(rotation)
        for at in pts:
            picture = np.full((height, width, 3), GREY, np.uint8)
            picture[: height // 4, : width // 4] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = at, Fraction(1, time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frames_of(path: str | Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def info_of(path: Path, rotation: int = 0) -> SourceInfo:
    with av.open(str(path)) as container:
        s = container.streams.video[0]
        size = (s.height, s.width) if rotation % 180 else (s.width, s.height)
        return SourceInfo("clip", str(path), "h264", *size, rotation, s.time_base, s.average_rate, None, None)


def labels_for(path: Path, info: SourceInfo, boxes: Any = ((20, 20, 60, 60),), origin: Origin = Origin.DETECTED) -> Any:
    n = len(boxes)
    objects = Objects.of(boxes, [0.9] * n, [0] * n, list(range(n)), origin)
    return [
        FrameLabels(
            "clip", i, f.pts, info.time_base, float((f.pts or 0) * info.time_base), info.width, info.height, "P",
            origin, 0, "dense", "always", objects,
        )
        for i, f in enumerate(frames_of(path))
    ]  # fmt: skip


def annotate(folder: Path, info: SourceInfo, labels: list[FrameLabels]) -> Path:
    (sink,) = make_sinks(["video"], folder / "out", info, NAMES)
    with sink:
        for start in range(0, len(labels), 4):
            sink.write(labels[start : start + 4])
    return Path(sink.location)


def has_colour(picture: Any, origin: Origin) -> bool:
    """Whether some pixels are near the colour of an origin, as far as lossy coding allows."""
    return bool((np.abs(picture.astype(int) - STYLES[origin].colour).max(-1) < 40).sum() > 20)


def test_times_and_rate_are_the_sources_own(tmp_path: Path) -> None:
    pts = [40, 80, 100, 240, 250, 400, 1000]  # uneven, and not from zero
    encode(tmp_path / "clip.mp4", pts)
    info = info_of(tmp_path / "clip.mp4")
    path = annotate(tmp_path, info, labels_for(tmp_path / "clip.mp4", info))
    source, drawn = frames_of(tmp_path / "clip.mp4"), frames_of(path)
    assert [f.time for f in drawn] == pytest.approx([f.time for f in source], abs=1e-3)
    assert all(has_colour(f.to_ndarray(format="bgr24"), Origin.DETECTED) for f in drawn)
    assert (drawn[0].width, drawn[0].height) == (160, 96)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_sources_come_out_upright(tmp_path: Path, rotation: int) -> None:
    encode(tmp_path / "clip.mp4", [0, 40, 80], rotation=rotation)
    source = frames_of(tmp_path / "clip.mp4")[0]
    assert source.rotation % 360 == rotation
    info = info_of(tmp_path / "clip.mp4", rotation)
    path = annotate(tmp_path, info, labels_for(tmp_path / "clip.mp4", info, ((60, 40, 90, 70),)))
    picture = frames_of(path)[0].to_ndarray(format="bgr24")
    assert picture.shape[:2] == (info.height, info.width)
    corners = {90: (-1, 0), 180: (-1, -1), 270: (0, -1)}  # counter-clockwise: the white corner goes down first
    row, column = corners[rotation]
    assert picture[row, column].min() > 200
    assert picture[-1 - row, -1 - column].max() < 150


def test_odd_sizes_are_padded_by_one(tmp_path: Path) -> None:
    encode(tmp_path / "clip.mp4", [0, 40], size=(97, 65))
    info = info_of(tmp_path / "clip.mp4")
    (first, _) = frames_of(annotate(tmp_path, info, labels_for(tmp_path / "clip.mp4", info)))
    assert (first.width, first.height) == (98, 66)


def test_a_frame_without_a_record_shifts_no_other(tmp_path: Path) -> None:
    encode(tmp_path / "clip.mp4", [0, 40, 80, 120, 160])
    info = info_of(tmp_path / "clip.mp4")
    labels = labels_for(tmp_path / "clip.mp4", info)
    drawn = frames_of(annotate(tmp_path, info, labels[:1] + labels[3:]))
    assert [round(f.time, 3) for f in drawn] == [0.0, 0.12, 0.16]


def test_frames_without_pts_are_taken_in_order(tmp_path: Path, data_dir: Path) -> None:
    source = min(path for path in (data_dir / "conformance").glob("*.264") if "sps_subsetsps" not in path.name)
    frames = frames_of(source)[:12]
    info = SourceInfo("raw", str(source), "h264", frames[0].width, frames[0].height, 0, Fraction(1, 1200000),
                      Fraction(25), None, None)  # fmt: skip
    labels = [
        FrameLabels("raw", i, None, info.time_base, i / 25, info.width, info.height, "P", Origin.HELD, 0, "dense", "",
                    Objects.empty()) for i in range(len(frames))
    ]  # fmt: skip
    drawn = frames_of(annotate(tmp_path, info, labels))
    assert [f.time for f in drawn] == pytest.approx([i / 25 for i in range(len(frames))], abs=1e-3)


def test_a_picture_size_that_changes_is_scaled(tmp_path: Path) -> None:
    for name, size in (("a", (160, 96)), ("b", (80, 48))):
        with av.open(str(tmp_path / f"{name}.h264"), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25, options={"threads": "1", "bf": "0"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for _ in range(3):
                picture = np.full((size[1], size[0], 3), GREY, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            container.mux(stream.encode(None))
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    sizes = [(f.width, f.height) for f in frames_of(both)]
    assert set(sizes) == {(160, 96), (80, 48)}
    info = SourceInfo("both", str(both), "h264", 160, 96, 0, Fraction(1, 25), Fraction(25), None, None)
    box = Objects.of([[10, 10, 30, 30]], [0.9], [0])
    labels = [
        FrameLabels("both", i, None, info.time_base, i / 25, w, h, "P", Origin.DETECTED, 0, "dense", "", box)
        for i, (w, h) in enumerate(sizes)
    ]
    drawn = frames_of(annotate(tmp_path, info, labels))
    assert [(f.width, f.height) for f in drawn] == [(160, 96)] * len(sizes)


def test_a_source_that_is_gone_says_so(tmp_path: Path, source_info: SourceInfo) -> None:
    (sink,) = make_sinks(["video"], tmp_path, source_info, NAMES)
    with pytest.raises(SinkError, match=r"cannot read clip\.mp4 again to draw its labels"), sink:
        raise AssertionError("not reached")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("origin", list(Origin))
def test_lines_tell_the_origins_apart(origin: Origin) -> None:
    """Solid, long and short dashes, dotted and dash-dot cover falling shares of the same box's border."""
    picture = np.full((400, 600, 3), GREY, np.uint8)
    objects = Objects.of([[100, 100, 500, 300]], [0.5], [0], [1], origin)
    draw_labels(
        picture,
        FrameLabels("", 0, 0, Fraction(1, 25), 0.0, 600, 400, "P", origin, 0, "", "", objects),
        NAMES,
    )
    row = (picture[300, 110:490] == STYLES[origin].colour).all(-1)
    starts = int((row[1:] & ~row[:-1]).sum())
    share = float(row.mean())
    expected = {
        Origin.DETECTED: (0, 0.99, 1.0), Origin.PROPAGATED: (15, 0.4, 0.9), Origin.INTERPOLATED: (40, 0.2, 0.9),
        Origin.HELD: (15, 0.3, 0.9), Origin.REGION: (5, 0.7, 0.97), Origin.RESIDUAL: (0, 0.99, 1.0),
        Origin.FLOW: (15, 0.5, 0.95),
    }[origin]  # fmt: skip
    assert starts >= expected[0] and expected[1] <= share <= expected[2], (starts, share)


def test_boxes_at_and_beyond_the_border_are_drawn(tmp_path: Path) -> None:
    picture = np.full((96, 160, 3), GREY, np.uint8)
    boxes = [[-50, -50, 30, 30], [150, 80, 400, 400], [0, 0, 160, 96], [-1e6, -1e6, 1e6, 1e6], [500, 500, 600, 600]]
    for origin in Origin:
        objects = Objects.of(boxes, [0.5] * 5, [0, 1, 2, 9, 0], [-1, 1, 2, 3, 4], origin)
        record = FrameLabels("", 0, 0, Fraction(1, 25), 0.0, 160, 96, "P", origin, 0, "", "", objects)
        draw_labels(picture, record, NAMES)
    assert (picture != GREY).any()


def test_the_contact_sheet_shows_each_origin(tmp_path: Path, data_dir: Path) -> None:
    source = data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4"
    info = info_of(source)
    labels = []
    with av.open(str(source)) as container:
        for i, frame in zip(range(60), container.decode(video=0), strict=False):
            origin = Origin.DETECTED if i % 10 == 0 else Origin.PROPAGATED if i % 2 else Origin.INTERPOLATED
            box = Objects.of([[300 + i, 200, 360 + i, 330]], [0.7], [0], [1], origin)
            labels.append(
                FrameLabels("pets", i, frame.pts, info.time_base, i / 10, 768, 576, "P", origin, i % 10, "p", "r", box)
            )
    (sink,) = make_sinks(["jsonl"], tmp_path, info, NAMES)
    with sink:
        sink.write(labels)
    contact_sheet(source, sink.location, tmp_path / "sheets" / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheets" / "sheet.png"))
    assert sheet.shape[1] > 1500 and sheet.shape[0] > 800
    for origin in (Origin.DETECTED, Origin.PROPAGATED, Origin.INTERPOLATED):
        below_the_legend = sheet[80:]
        assert (below_the_legend == STYLES[origin].colour).all(-1).sum() > 500
    assert [p.name for p in (tmp_path / "sheets").iterdir()] == ["sheet.png"]


def test_a_contact_sheet_of_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "clip.labels.jsonl").write_bytes(b"")
    with pytest.raises(UsageError, match="at least one labelled frame"):
        contact_sheet(tmp_path / "clip.mp4", tmp_path / "clip.labels.jsonl", tmp_path / "sheet.png")
