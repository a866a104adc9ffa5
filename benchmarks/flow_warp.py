"""Do heads on warped features do better than boxes that move? Deep feature flow as in its paper, and its learned parts.

    python benchmarks/flow_warp.py --write

The features of the last key frame, ten frames apart, are resampled once along the composed motion vectors; the heads run on
all of them. Scale correction: a gain and a shift for each channel and level, so that they come nearest to fresh features
(least squares on training clips). Aggregation: the same, of the last two key frames together. Frames between key frames only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import common
import cv2
import numpy as np
import torch
from common import CLIPS, TRAFFIC, Clip, number
from flow import EVERY, NAMES
from torch import Tensor

from everyframe.operators.detectors import NanoDetDetector, coco, load_detector
from everyframe.operators.detectors.letterbox import Letterbox
from everyframe.operators.detectors.nanodet import NECK, STRIDES
from everyframe.operators.flow.displacement import Displacement
from everyframe.operators.propagate import Propagate
from everyframe.operators.types import F32, Objects, View
from everyframe.pipeline import metrics
from everyframe.pipeline.evaluation.dense import dense
from everyframe.pipeline.frames.fields import field_slots
from everyframe.pipeline.sources.file import FileSource

TRAIN = ("pets_s2l1_ip", "highway_ip", "street", "adl_rundle6_ip", "crossing", "walkway")
TRAIN_FRAMES, FRAMES = 60, 200
RIDGE = 1e-3

Levels = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A frame between key frames: key features warped to it, the last key frame's and the one's before; its picture."""

    index: int
    view: View
    box: Letterbox
    last: Levels
    before: Levels


def warp(maps: Levels, where: Displacement, box: Letterbox) -> Levels:
    """Maps (1, 128, rows, cols) of a key frame, resampled to where their content is now; bilinear."""
    out = []
    sx, sy = box.scale
    for stride, level in zip(STRIDES, maps, strict=True):
        rows, cols = level.shape[2:]
        xs = (np.arange(cols, dtype=np.float32) * stride + (stride - 1) / 2) * sx
        ys = (np.arange(rows, dtype=np.float32) * stride + (stride - 1) / 2) * sy
        at = np.meshgrid((xs / where.cell - 0.5).astype(np.float32), (ys / where.cell - 0.5).astype(np.float32))
        shift = cv2.remap(where.shift, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        x = np.arange(cols)[None, :] - shift[..., 0] / (stride * sx)
        y = np.arange(rows)[:, None] - shift[..., 1] / (stride * sy)
        grid = np.stack(((2 * x + 1) / cols - 1, (2 * y + 1) / rows - 1), -1).astype(np.float32)
        out.append(
            torch.nn.functional.grid_sample(
                level, torch.from_numpy(grid)[None], padding_mode="border", align_corners=False
            )
        )
    return tuple(out)


def steps(clip: Clip, detector: NanoDetDetector, limit: int) -> Iterator[Step]:
    """The frames between key frames, from the second key frame on."""
    last: Levels | None = None
    before: Levels | None = None
    with FileSource(str(clip.path)) as source:
        since_last = since_before = Displacement.none(source.info.width, source.info.height)
        for index, item in zip(range(limit), field_slots(source), strict=False):
            assert item.slot.frame is not None and item.field is not None
            picture = item.slot.frame.picture()
            field = item.field
            if index:
                since_last, since_before = since_last.then(field), since_before.then(field)
            if index % EVERY == 0:
                prepared = detector.prepare(picture)
                before, since_before = last, since_last
                last, since_last = tuple(detector.features(prepared)), Displacement.none(field.width, field.height, field.cell)
            elif last is not None and before is not None:
                box = detector.prepare(picture).box
                view = View(field.width, field.height, field, lambda picture=picture: picture)
                yield Step(index, view, box, warp(last, since_last, box), warp(before, since_before, box))


class Fit:
    """Least squares of fresh features by one or two warped ones and a constant, for each channel and level."""

    def __init__(self, inputs: int) -> None:
        self._squares = np.zeros((len(STRIDES), NECK, inputs + 1, inputs + 1))
        self._products = np.zeros((len(STRIDES), NECK, inputs + 1))

    def add(self, inputs: list[Levels], fresh: Levels) -> None:
        for k in range(len(STRIDES)):
            rows = [levels[k][0].reshape(NECK, -1) for levels in inputs]
            x = torch.stack([*rows, torch.ones_like(rows[0])], 1).double()  # (128, inputs + 1, cells)
            self._squares[k] += (x @ x.transpose(1, 2)).numpy() / x.shape[2]
            y = fresh[k][0].reshape(NECK, -1, 1).double()
            self._products[k] += (x @ y)[..., 0].numpy() / x.shape[2]

    def solve(self) -> list[Tensor]:
        """For each level (inputs + 1, 128, 1, 1) float32."""
        size = self._squares.shape[-1]
        ridge = RIDGE * np.eye(size) * np.trace(self._squares, axis1=2, axis2=3)[..., None, None] / size
        prior = np.zeros(size)
        prior[0] = 1  # towards the warped features as they are
        found = np.linalg.solve(self._squares + ridge, (self._products + ridge @ prior)[..., None])[..., 0]
        return [torch.from_numpy(level.T.astype(np.float32))[..., None, None] for level in found]


def combine(inputs: list[Levels], weights: list[Tensor]) -> Levels:
    return tuple(
        sum((w[i] * levels[k] for i, levels in enumerate(inputs)), start=w[-1] * torch.ones_like(inputs[0][k]))
        for k, w in enumerate(weights)
    )


def learn(detector: NanoDetDetector) -> tuple[list[Tensor], list[Tensor]]:
    scale, both = Fit(1), Fit(2)
    for name in TRAIN:
        common.tell(f"learning from {name}")
        for step in steps(CLIPS[name], detector, TRAIN_FRAMES):
            assert step.view.picture is not None
            fresh = detector.features(detector.prepare(step.view.picture()))
            scale.add([step.last], fresh)
            both.add([step.last, step.before], fresh)
    return scale.solve(), both.solve()


def score(found: list[Objects], reference: list[Objects]) -> float:
    wanted = np.array([coco.NAMES.index(name) for name in TRAFFIC], np.int32)
    pick = [[metrics.select(objects, wanted) for objects in side] for side in (found, reference)]
    return metrics.agree(pick[0], pick[1], metrics.group_table(coco.SUPERCATEGORY)).f1


def measure(clip: Clip, detector: NanoDetDetector, learnt: tuple[list[Tensor], list[Tensor]], limit: int) -> list[float]:
    """f1_dense of boxes moved from the last key frame, and of heads on features warped in three ways."""
    seen = dense(str(clip.path), detector, None, measure=False).frames
    found: list[list[Objects]] = [[] for _ in range(4)]
    reference, moved, at = [], Objects.empty(), -1
    for step in steps(clip, detector, limit):
        key = step.index - step.index % EVERY
        moved = seen[key] if at != key else moved
        at = key
        moved = Propagate().apply(step.view, moved)
        reference.append(seen[step.index])
        found[0].append(moved)
        for k, maps in enumerate((step.last, combine([step.last], learnt[0]), combine([step.last, step.before], learnt[1]))):
            found[k + 1].append(detector.head((maps[0], maps[1], maps[2]), step.box))
    return [score(objects, reference) for objects in found]


def main() -> None:
    options = common.parser(__doc__ or "").parse_args()
    common.need_data()
    common.one_thread()
    detector = load_detector()
    with torch.inference_mode():
        learnt = learn(detector)
        rows: list[list[float]] = []
        for name in NAMES:
            common.tell(name)
            rows.append(measure(CLIPS[name], detector, learnt, options.limit or FRAMES))
    shown = [(name, *(number(v) for v in row)) for name, row in zip(NAMES, rows, strict=True)]
    mean: F32 = np.mean(rows, 0)
    shown.append(("mean", *(number(float(v)) for v in mean)))
    heads = ("f1_dense", "boxes moved", "features warped", "+ scale correction", "+ aggregation")
    common.publish("flow warp", common.markdown(heads, shown), options.write)


if __name__ == "__main__":
    main()
