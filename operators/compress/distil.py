"""A small net learns from a large one on pictures that nobody has labelled.

Hinton et al., Distilling the Knowledge in a Neural Network (2015), on a dense detector's own outputs: class scores by the
quality focal loss against the teacher's scores, sides by the divergence of their distributions (Zheng et al., Localization
Distillation for Dense Object Detection, CVPR 2022), where the teacher sees something. Pictures are cut, scaled, mirrored and
toned at random.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from everyframe.operators.compress import checkpoint
from everyframe.operators.compress.updates import Grid, on_grid
from everyframe.operators.detectors.letterbox import MEAN, STD
from everyframe.operators.detectors.nanodet import BINS, CLASSES, Maps, NanoDet
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32, U8

SIDE, BATCH = 320, 8
RATE, WARM_STEPS = 1.5e-3, 200
SEEN = 0.15
"""The teacher's score from which a cell's sides count."""
SAVED_EVERY = 500
Run = Callable[[Tensor], Maps]
Progress = Callable[[int, float, float], None]
"""Told the step, the share that is done, and the mean loss."""


@dataclass(frozen=True, slots=True)
class Course:
    """steps: of 8 cuts of pictures each. seed: of the pictures' order and changes. scales: least and most that the longer side of a
    whole picture has in pixels. classes: those that matter, None for all. checkpoint: a file to go on from. until: the step at which to
    pause, None for the end. rate: of learning, at most; less for a net that has little to learn again. update_bits: of gradients and
    weights (`updates`), None for floating point."""

    steps: int = 6000
    seed: int = 0
    scales: tuple[int, int] = (360, 960)
    classes: tuple[int, ...] | None = None
    checkpoint: Path | None = None
    until: int | None = None
    rate: float = RATE
    update_bits: int | None = None


def distil(
    student: NanoDet, teacher: NanoDet, pictures: Sequence[Sequence[U8]], course: Course, tell: Progress | None = None,
    seen_as: Callable[[NanoDet], Run] | None = None,
) -> NanoDet:
    """The student, trained; a copy. pictures: of each video BGR (h, w, 3) uint8; videos are drawn from equally often. seen_as: how
    the student is computed while it learns, None for as it is.

    Steps use bfloat16 where torch thinks it worth while; weights stay float32. Raises `OperatorError`.
    """
    pictures = [video for video in pictures if len(video)]
    if not pictures:
        raise OperatorError("There is no picture to learn from: give a video that can be decoded.")
    net: NanoDet = copy.deepcopy(student).requires_grad_(True).train()
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = copy.deepcopy(teacher).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-4)
    step = _resume(net, optimizer, course.checkpoint)
    run = net if seen_as is None else seen_as(net)
    grid = None if course.update_bits is None else on_grid(net, course.update_bits, course.seed + step)
    rng = np.random.default_rng((course.seed, step))
    weights = _class_weights(course.classes)
    mean = math.nan
    last = min(course.steps, course.until or course.steps)
    while step < last:
        share = step / course.steps
        for group in optimizer.param_groups:
            group["lr"] = course.rate * pace(step, share)
        batch = np.stack([sample(pictures, rng, course.scales) for _ in range(BATCH)])
        x = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        loss = _step(run, teacher, optimizer, x, weights, grid)
        mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
        step += 1
        if not math.isfinite(loss):
            raise OperatorError("Training diverged: start again with another --seed, or from fewer compressed channels.")
        if tell is not None and (step % 20 == 0 or step in (1, course.steps)):
            tell(step, share, mean)
        if course.checkpoint is not None and (step % SAVED_EVERY == 0 or step == last):
            parts = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            checkpoint.save(course.checkpoint, parts)
    net.requires_grad_(False).eval()
    return net


def sample(pictures: Sequence[Sequence[U8]], rng: np.random.Generator, scales: tuple[int, int]) -> F32:
    """A cut of a picture at a random scale, toned and mirrored: (SIDE, SIDE, 3) float32, normalised, padded with 0."""
    video = pictures[int(rng.integers(len(pictures)))]
    picture = video[int(rng.integers(len(video)))]
    height, width = picture.shape[:2]
    scale = math.exp(rng.uniform(math.log(scales[0]), math.log(scales[1]))) / max(height, width)
    w, h = min(width, int(SIDE / scale)), min(height, int(SIDE / scale))
    x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    size = (max(1, min(SIDE, round(w * scale))), max(1, min(SIDE, round(h * scale))))
    part = cv2.resize(picture[y : y + h, x : x + w], size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if rng.random() < 0.5:
        part = part[:, ::-1]
    if rng.random() < 0.7:
        gain, shift = rng.uniform(0.6, 1.4), rng.uniform(-40, 40)
        part = ((part - 128) * gain + 128 + shift).astype(np.float32)
        part = part * np.asarray(rng.uniform(0.85, 1.15, 3), np.float32)
    if rng.random() < 0.2:
        part = part.mean(2, keepdims=True).repeat(3, 2)
    if rng.random() < 0.2:
        part = part + (rng.standard_normal(part.shape, np.float32) * np.float32(rng.uniform(2, 12)))
    out = np.zeros((SIDE, SIDE, 3), np.float32)
    out[: part.shape[0], : part.shape[1]] = (np.clip(part, 0, 255) - np.array(MEAN)) / np.array(STD)
    return out


def loss_of(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """student, teacher (n, cells, 124): outputs; weights (80,): of the classes."""
    wanted, logits = teacher[..., :CLASSES].sigmoid(), student[..., :CLASSES]
    best = (wanted * (weights > 0)).amax(-1)
    focus = (wanted - logits.sigmoid()).abs().pow(1.5).detach() * weights
    scores = (focus * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum() / (best.pow(2).sum() + 1)
    seen = best > SEEN
    weight = best[seen]
    sides = teacher[..., CLASSES:][seen].reshape(-1, 4, BINS).softmax(-1)
    mine = student[..., CLASSES:][seen].reshape(-1, 4, BINS)
    apart = F.kl_div(mine.log_softmax(-1), sides, reduction="none").sum((-1, -2))
    away = ((mine.softmax(-1) - sides) @ torch.arange(float(BINS))).abs().sum(-1)
    return 2 * scores + 0.25 * ((apart + away) * weight).sum() / (weight.sum() + 1)


def _step(
    net: Run, teacher: NanoDet, optimizer: torch.optim.Optimizer, x: Tensor, weights: Tensor, grid: Grid | None = None
) -> float:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
        wanted = flat(teacher(x))
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
        given = flat(net(x))
    loss = loss_of(given, wanted, weights)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 10.0)
    if grid is None:
        optimizer.step()
        return float(loss.detach())
    grid.round_gradients()
    before = grid.values()
    optimizer.step()
    grid.round_updates(before)
    return float(loss.detach())


def has_bf16() -> bool:
    """Without arithmetic for it, bfloat16 is several times slower than float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()


def flat(maps: Sequence[Tensor]) -> Tensor:
    """Maps (n, h, w, c) of all levels as one (n, cells, c), float32."""
    return torch.cat([m.reshape(m.shape[0], -1, m.shape[-1]) for m in maps], 1).float()


def _class_weights(classes: tuple[int, ...] | None) -> Tensor:
    if classes is None:
        return torch.ones(CLASSES)
    weights = torch.zeros(CLASSES)
    weights[list(classes)] = 1.0
    return weights


def pace(step: int, share: float) -> float:
    """Share of the learning rate: linear warm-up, then half a cosine."""
    return min(1.0, step / WARM_STEPS) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def _resume(net: NanoDet, optimizer: torch.optim.Optimizer, path: Path | None) -> int:
    """The step that was reached before; 0 where there is no checkpoint of a like net."""
    try:
        if saved := checkpoint.load(path):
            net.load_state_dict(saved["net"])
            optimizer.load_state_dict(saved["optimizer"])
            return int(saved["step"])
    except checkpoint.UNLIKE:
        pass
    return 0
