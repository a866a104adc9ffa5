"""Fields of real streams: B frames against the same frames without, turned and changing pictures, other codecs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media import join, make_clip

from everyframe.operators.boxes import iou
from everyframe.operators.propagate import move
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.frames.fields import FieldBuilder, FieldSlot
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.truth import load_truth


def fields_of(path: Path, limit: int = 1 << 30) -> list[FieldSlot]:
    with FileSource(str(path)) as source:
        decoder, builder = Decoder(source), FieldBuilder(source.info)
        out: list[FieldSlot] = []
        for packet in source.packets():
            for slot in decoder.push(packet, True):
                out += builder.push(slot)
            if len(out) >= limit:
                return out[:limit]
        for slot in decoder.finish():
            out += builder.push(slot)
        return out + builder.finish()


def carried_iou(items: list[FieldSlot], boxes_at, every: int = 10) -> float:
    """Mean overlap of true boxes, carried from each `every`-th frame on, with where they truly are."""
    overlaps = []
    for start in range(0, len(items) - every, every):
        first = boxes_at(start)
        rows = np.array(list(first.values()), np.float32).reshape(-1, 4)
        for frame in range(start + 1, start + every):
            rows = move(items[frame].field, rows)
            now = boxes_at(frame)
            for row, name in zip(rows, first, strict=True):
                if name in now:
                    overlaps.append(iou(row[None], np.array([now[name]], np.float32))[0, 0])
    return float(np.mean(overlaps))


def test_b_frames_carry_boxes_nearly_as_well_as_p_frames(data_dir):
    rows = np.loadtxt(data_dir / "pets_s2l1" / "gt.txt", delimiter=",")
    assert load_truth(str(data_dir / "pets_s2l1" / "gt.txt"))

    def boxes_at(frame: int):
        here = rows[(rows[:, 0] == frame + 1) & (rows[:, 6] > 0)]
        return {int(r[1]): (r[2], r[3], r[2] + r[4], r[3] + r[5]) for r in here}

    plain = carried_iou(fields_of(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4", 200), boxes_at)
    hard = carried_iou(fields_of(data_dir / "pets_s2l1" / "pets_s2l1_b3.mp4", 200), boxes_at)
    assert plain > 0.7
    assert hard > plain - 0.06


@pytest.mark.parametrize("options", [{}, {"bframes": 3}, {"rotation": 90}])
def test_every_decoded_frame_has_a_field_of_its_picture(tmp_path, options):
    items = fields_of(make_clip(tmp_path / "clip.mp4", frames=24, **options))
    assert len(items) == 24
    for item in items:
        assert (item.field.width, item.field.height) == (item.slot.frame.width, item.slot.frame.height)
    assert any(np.abs(item.field.motion).max() > 0.5 for item in items)


def test_a_changing_picture_size_changes_the_field(tmp_path):
    small = make_clip(tmp_path / "a.264", frames=6, width=64, height=48)
    large = make_clip(tmp_path / "b.264", frames=6, width=96, height=64)
    items = fields_of(join(tmp_path / "both.264", [small, large]))
    assert [item.field.width for item in items] == [64] * 6 + [96] * 6


def test_codecs_without_vectors_fall_back_on_optical_flow_and_say_so(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=8, width=128, height=96, codec="libx265")
    with FileSource(str(path)) as source:
        assert "optical flow" in FieldBuilder(source.info).note
    items = fields_of(path)
    assert len(items) == 8 and all(item.field.known.all() for item in items[1:])
