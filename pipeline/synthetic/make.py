"""Synthetic cameras as files: video, ground truth beside it, and all that was drawn in `cameras.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import orjson

from everyframe.operators.types import U8
from everyframe.pipeline.errors import SinkError
from everyframe.pipeline.synthetic.camera import Camera, draw_camera
from everyframe.pipeline.synthetic.encode import encode
from everyframe.pipeline.synthetic.film import film
from everyframe.pipeline.synthetic.scenery import make_scenery
from everyframe.pipeline.synthetic.traffic import Traffic
from everyframe.pipeline.synthetic.truth import SceneTruth, write_truth
from everyframe.pipeline.synthetic.wardrobe import Wardrobe

if TYPE_CHECKING:
    from everyframe.pipeline.synthetic.borrow import Lent

INDEX = "cameras.json"
FORMAT = 1
TRUTH_SUFFIX = ".gt.txt"

Done = Callable[[str, int, int], None]
"""Told the name of a camera that is finished, how many are, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. size, rate: of all cameras, None where drawn. sources: videos that lend their backgrounds and
    objects to the cameras, in turn."""

    cameras: int
    seconds: float
    seed: int
    size: tuple[int, int] | None = None
    rate: int | None = None
    sources: tuple[str, ...] = ()


def make_camera(camera: Camera, folder: Path, lent: Lent | None = None) -> SceneTruth:
    """Renders and codes one camera into `folder`/NAME.mp4 with its truth in NAME.gt.txt. lent: background and sprites of a
    real video. Raises SinkError."""
    cv2.setNumThreads(1)
    scenery = make_scenery(camera) if lent is None else lent.at(camera)[1]
    traffic = Traffic(camera, Wardrobe(camera, () if lent is None else lent.sprites))
    rows: list[tuple[float, ...]] = []

    def pictures() -> Iterator[U8]:
        for index, (planes, truth) in enumerate(film(camera, scenery, traffic)):
            rows.extend((index, *row) for row in truth)
            yield planes

    count = encode(
        folder / f"{camera.name}.mp4", pictures(), camera.width, camera.height, camera.rate, camera.coding
    )
    truth = SceneTruth.of(rows, count, camera.width, camera.height, camera.rate)
    write_truth(folder / f"{camera.name}{TRUTH_SUFFIX}", truth)
    return truth


def make_cameras(order: Order, folder: Path, jobs: int = 1, done: Done | None = None) -> list[Path]:
    """Makes all cameras of an order and writes `cameras.json`; returns the videos. jobs: processes, 1 for this one.

    Equal orders give equal truth and equal pictures, whatever `jobs` is. Raises SinkError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SinkError(f"cannot make the folder {folder} ({e.strerror or e}): name another one.") from e
    cameras = [
        draw_camera(order.seed, i, order.seconds, order.size, order.rate) for i in range(order.cameras)
    ]
    lent = _borrowed(order.sources)
    lenders = [lent[i % len(lent)] if lent else None for i in range(len(cameras))]
    cameras = [
        camera if lender is None else lender.at(camera)[0]
        for camera, lender in zip(cameras, lenders, strict=True)
    ]
    for count, name in enumerate(_made(cameras, lenders, folder, jobs), 1):
        if done is not None:
            done(name, count, len(cameras))
    _write_index(folder, order, cameras)
    return [folder / f"{camera.name}.mp4" for camera in cameras]


def _borrowed(sources: Sequence[str]) -> list[Lent]:
    if not sources:
        return []
    from everyframe.pipeline.synthetic.borrow import borrow  # with it comes the CNN

    return [borrow(source) for source in sources]


def _made(
    cameras: Sequence[Camera], lenders: Sequence[Lent | None], folder: Path, jobs: int
) -> Iterator[str]:
    if jobs == 1:
        for camera, lender in zip(cameras, lenders, strict=True):
            make_camera(camera, folder, lender)
            yield camera.name
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        made = pool.map(make_camera, cameras, [folder] * len(cameras), lenders)
        for camera, _ in zip(cameras, made, strict=True):
            yield camera.name


def _write_index(folder: Path, order: Order, cameras: Sequence[Camera]) -> None:
    text = {"format": FORMAT, "order": asdict(order), "cameras": [described(camera) for camera in cameras]}
    try:
        (folder / INDEX).write_bytes(orjson.dumps(text, option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as e:
        raise SinkError(f"cannot write {folder / INDEX} ({e.strerror or e}): free space.") from e


def described(camera: Camera) -> dict[str, Any]:
    """A camera as it stands in `cameras.json`."""
    return {"video": f"{camera.name}.mp4", "truth": f"{camera.name}{TRUTH_SUFFIX}", **asdict(camera)}
