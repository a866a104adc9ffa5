"""What a dense detector's cells should say of given objects, and how far they are from it.

Which cells answer for an object is told by task alignment (Feng et al., TOOD, ICCV 2021): those in its box whose score and box
come nearest to it. Scores learn by the quality focal loss, sides by the distribution focal loss and by GIoU (Li et al.,
Generalized Focal Loss, NeurIPS 2020). Deviation: the best cell's wanted score is the one given, not the IoU, so that one threshold
means the same to teacher and pupil.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from everyframe.operators.detectors.nanodet import BINS, CLASSES, STRIDES
from everyframe.operators.types import Objects

CELLS = 9
"""That may answer for one object."""


def loss_of(out: Tensor, objects: Sequence[Objects], shapes: Sequence[tuple[int, int]], classes: tuple[int, ...]) -> Tensor:
    """out (n, cells, 124): the net's maps, flat. objects: of each picture, in pixels of the input, ids among `classes`. shapes: rows
    and columns of each level."""
    centres, strides = grid(shapes)
    logits = out[..., list(classes)]
    bins = out[..., CLASSES:].reshape(*out.shape[:2], 4, BINS)
    sides = (bins.softmax(-1) @ torch.arange(float(BINS))) * strides[:, None]
    boxes = torch.cat((centres - sides[..., :2], centres + sides[..., 2:]), -1)
    wanted, target = torch.zeros_like(logits), torch.zeros_like(boxes)
    with torch.no_grad():
        for i, found in enumerate(objects):
            if len(found):
                wanted[i], target[i] = assign(logits[i].sigmoid(), boxes[i], centres, strides, found, classes)
    focus = (wanted - logits.sigmoid()).abs().pow(2).detach()
    total = wanted.sum() + 1
    scores = (focus * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum() / total
    weight = wanted.amax(-1)
    seen = weight > 0
    giou = (1 - _giou(boxes[seen], target[seen])) * weight[seen]
    place = strides.expand(len(out), -1)[seen][:, None]
    middle = centres.expand(len(out), -1, -1)[seen]
    away = torch.cat((middle - target[seen][:, :2], target[seen][:, 2:] - middle), 1) / place
    dfl = _distribution(bins[seen], away.clamp(0, BINS - 1.01)) * weight[seen]
    return scores + (2 * giou.sum() + 0.25 * dfl.sum()) / total


def grid(shapes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Centres (cells, 2) and strides (cells,) in pixels of the input, in the order of the flat maps."""
    centres, strides = [], []
    for stride, (rows, cols) in zip(STRIDES, shapes, strict=True):
        y, x = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(cols)), indexing="ij")
        centres.append(torch.stack((x, y), -1).reshape(-1, 2) * stride + (stride - 1) / 2)
        strides.append(torch.full((rows * cols,), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def assign(
    scores: Tensor, boxes: Tensor, centres: Tensor, strides: Tensor, objects: Objects, classes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Wanted scores (cells, classes) and boxes (cells, 4) of one picture. scores, boxes: as the net gives them."""
    truth = torch.from_numpy(objects.xyxy)
    column = torch.tensor([classes.index(i) for i in objects.class_id.tolist()])
    middle, half = (truth[:, :2] + truth[:, 2:]) / 2, (truth[:, 2:] - truth[:, :2]) / 2
    away = (centres[None] - middle[:, None]).abs()
    # Something smaller than a cell may hold no centre: half a cell beside it counts as inside.
    inside = (away <= torch.maximum(half[:, None], strides[None, :, None] / 2 * (strides[None, :, None] == STRIDES[0]))).all(-1)
    near = torch.exp(-(away / (half[:, None] + strides[None, :, None] / 2)).pow(2).sum(-1))
    reach = ((half * 2).amax(1)[:, None] <= strides[None] * 2 * (BINS - 1)).float()
    fits = (scores[:, column].T + 0.01) * (_iou(truth[:, None], boxes[None]) + 0.05).pow(6) * (0.1 + near) * inside * reach
    top = fits.topk(min(CELLS, fits.shape[1]), 1)
    chosen = torch.zeros_like(fits).scatter(1, top.indices, top.values)
    chosen = chosen / chosen.amax(1, keepdim=True).clamp(min=1e-20) * torch.from_numpy(objects.score)[:, None]
    best, owner = chosen.max(0)
    wanted, target = torch.zeros_like(scores), torch.zeros_like(boxes)
    cells = torch.nonzero(best > 0.01).flatten()
    wanted[cells, column[owner[cells]]] = best[cells]
    target[cells] = truth[owner[cells]]
    return wanted, target


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes (..., 4), shapes broadcast."""
    side = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    both = side.prod(-1)
    return both / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both + 1e-6)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU (Rezatofighi et al., CVPR 2019) of boxes (n, 4), row by row."""
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
    side = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    both = side.prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - both
    return both / (union + 1e-6) - (around - union) / (around + 1e-6)


def _distribution(bins: Tensor, away: Tensor) -> Tensor:
    """Distribution focal loss (n,): bins (n, 4, 11) logits, away (n, 4) wanted distances in strides."""
    low = away.floor()
    part = away - low
    logs = bins.log_softmax(-1)
    lower = logs.gather(2, low.long()[..., None])[..., 0]
    upper = logs.gather(2, low.long()[..., None] + 1)[..., 0]
    return -(lower * (1 - part) + upper * part).sum(1)
