"""Stretches that stay undecoded: complete records, what is gained, what is lost, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import make_clip

from everyframe.operators.base import Prices
from everyframe.operators.types import U8, Objects, Origin
from everyframe.pipeline import metrics
from everyframe.pipeline.errors import SourceBroken
from everyframe.pipeline.labelling import leaps
from everyframe.pipeline.labelling.worker import StreamWorker
from everyframe.pipeline.records import FrameLabels
from everyframe.pipeline.runs.digest import LabelDigest
from everyframe.pipeline.settings import Goal, LabelSettings
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.shards import plan_shards

DEAR = Prices({"detect": 10.0, "decode": 5.0, "plain": 4.0, "frame": 0.1})
"""Of a machine on which decoding is worth avoiding."""
QUIET = 400  # frames: ten stretches


class Square:
    """Finds a bright square in drawn pictures, by its colour. looks: how often it was asked."""

    names = ("person", "car")
    supercategory = ("person", "vehicle")
    runtime = precision = ""

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, picture: U8) -> Objects:
        self.looks += 1
        ys, xs = np.nonzero(picture[..., 2] > 200)
        if len(xs) < 20:
            return Objects.empty()
        return Objects.of([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], [0.9], [0])

    def prepare(self, picture: U8) -> U8:
        return picture

    def infer(self, prepared: U8) -> Objects:
        return self.detect(prepared)


def scene(index: int, width: int, height: int) -> np.ndarray:
    """A still ground; a square crosses it in frames 130 to 159, and rests there from 300 on."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([(x * 3 + y) % 97 + 40, (x + y * 2) % 83 + 60, (x * y // 7) % 61 + 50], -1).astype(np.uint8)
    left = (index - 130) * 3 if 130 <= index < 160 else 40 if index >= 300 else None
    if left is not None:
        picture[16:40, left : left + 24] = (90, 90, 255)
    return picture


def quiet(path: Path, **options: Any) -> Path:
    return make_clip(path, frames=QUIET, width=128, height=64, gop=options.pop("gop", 40), draw=scene, **options)


def run(path: Path, prices: Prices = DEAR, **settings: Any) -> tuple[list[FrameLabels], StreamWorker, Square]:
    given = LabelSettings(prices=prices, **{"policy": "motion", **settings})
    square = Square()
    with FileSource(path) as source:
        worker = StreamWorker(source, square, given)
        labels = [record for chunk in worker.chunks() for record in chunk]
    return labels, worker, square


def full_decode(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0)]


def f1(labels: Sequence[FrameLabels]) -> float:
    truth = [Square().detect(scene(i, 128, 64)) for i in range(len(labels))]
    groups = np.arange(2, dtype=np.int32)
    return metrics.agree([r.objects for r in labels], truth, groups).f1


CLIPS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "short.mp4": {"gop": 10},
    "b2.mkv": {"bframes": 2},
    "open.ts": {"bframes": 3, "refs": 2, "open_gop": True},
    "short_open.mp4": {"bframes": 3, "refs": 4, "pyramid": True, "open_gop": True, "gop": 10},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "hevc.mp4": {"codec": "libx265", "bframes": 3, "open_gop": True},
    "late.ts": {"first_pts": 777},
}


@pytest.mark.parametrize("policy", ["motion", "learned"])
@pytest.mark.parametrize("name", CLIPS)
def test_records_are_complete_and_little_is_decoded(tmp_path: Path, name: str, policy: str) -> None:
    path = quiet(tmp_path / name, **CLIPS[name])
    labels, worker, square = run(path, policy=policy)
    assert [r.pts for r in labels] == full_decode(path)
    assert [r.frame_index for r in labels] == list(range(QUIET))
    assert all((r.key_age == 0) == (r.origin == Origin.DETECTED) for r in labels)
    assert worker.stats.decoded < 0.75 * QUIET
    assert worker.stats.cnn_frames == sum(r.origin == Origin.DETECTED for r in labels) <= square.looks
    assert f1(labels) > 0.85


def test_where_nothing_is_known_of_costs_everything_is_as_it_was(tmp_path: Path) -> None:
    labels, worker, _ = run(quiet(tmp_path / "a.mp4"), Prices())
    assert all(r.reason != "looked ahead" for r in labels) and worker.stats.decoded == len(labels)
    causal, _, _ = run(tmp_path / "a.mp4", mode="causal")
    assert all(r.reason != "looked ahead" for r in causal)


def test_where_the_cnn_is_dear_nothing_is_risked_to_save_decoding(tmp_path: Path) -> None:
    dear = replace(DEAR, rungs={**DEAR.rungs, "detect": 2000.0})
    labels, worker, _ = run(quiet(tmp_path / "a.mp4"), dear)
    assert worker.stats.decoded == len(labels)


def test_equal_runs_and_shards(tmp_path: Path) -> None:
    path = quiet(tmp_path / "a.mp4")
    digests = set()
    for _ in range(2):
        digest = LabelDigest()
        digest.update(run(path, policy="learned", audit=0.05, goal=Goal(0.9))[0])
        digests.add(digest.hexdigest())
    assert len(digests) == 1
    pts: list[int | None] = []
    for shard in plan_shards(str(path), 120):
        with FileSource(path, shard.start_pts, shard.end_pts) as source:
            worker = StreamWorker(source, Square(), LabelSettings(prices=DEAR))
            records = [r for chunk in worker.chunks() for r in chunk]
        assert len(records) == shard.frames_estimate and worker.first is not None
        assert (worker.last is None) == (shard.end_pts is None)
        pts += [r.pts for r in records]
    assert pts == full_decode(path)


def test_a_limit(tmp_path: Path) -> None:
    labels, _, _ = run(quiet(tmp_path / "a.mp4"), limit=230)
    assert [r.frame_index for r in labels] == list(range(230))


def test_a_file_that_breaks_keeps_what_came_before(tmp_path: Path) -> None:
    whole = quiet(tmp_path / "a.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) * 3 // 4 + 77])
    given = LabelSettings(prices=DEAR)
    labels: list[FrameLabels] = []
    with FileSource(tmp_path / "cut.ts") as source:
        worker = StreamWorker(source, Square(), given)
        try:
            for chunk in worker.chunks():
                labels += chunk
        except SourceBroken:
            pass
    assert [r.pts for r in labels] == full_decode(tmp_path / "cut.ts")


def test_few_packets_are_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of pictures that is too long is followed as it comes."""
    monkeypatch.setattr(leaps, "MOST_PACKETS", 50)
    labels, _, _ = run(quiet(tmp_path / "a.mp4", gop=200))
    assert len(labels) == QUIET and f1(labels) > 0.9


def test_audits_see_what_is_left_out_and_change_no_label(tmp_path: Path) -> None:
    path = quiet(tmp_path / "a.mp4")
    plain, _, _ = run(path)
    audited, worker, _ = run(path, audit=1.0)
    sums = worker.stats.audits
    assert [r.objects.xyxy.tolist() for r in audited] == [r.objects.xyxy.tolist() for r in plain]
    left = sum(r.origin in (Origin.HELD, Origin.INTERPOLATED) for r in audited)
    assert left > 100 and left / 16 < sums.looked - (sums.open - left) < left / 4
    assert abs(sums.n - sums.open) < 0.5 * sums.open  # each of them stands for eight


def test_an_object_that_rests_is_left_out_too(tmp_path: Path) -> None:
    labels, _, _ = run(quiet(tmp_path / "a.mp4", gop=10))
    resting = [r for r in labels[320:] if r.origin == Origin.INTERPOLATED]
    assert resting and all(len(r.objects) == 1 for r in resting)
