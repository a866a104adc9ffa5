"""The layers that `flow` keeps: what is renewed equals what the net computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from everyframe.operators.detectors import load_detector
from everyframe.operators.flow.memory import GRID, Memory

ROWS, COLS = 5, 7


@pytest.fixture(scope="module")
def net():
    return load_detector(imgsz=224).net


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (1, ROWS * GRID, COLS * GRID, 3)).astype(np.float32)


def cut(x: np.ndarray, rect) -> np.ndarray:
    left, top, right, bottom = (side * GRID for side in rect)
    return np.ascontiguousarray(x[:, top:bottom, left:right])


@torch.inference_mode()
def whole(net, x: np.ndarray) -> list[np.ndarray]:
    return [m[0].numpy() for m in net(torch.from_numpy(x).permute(0, 3, 1, 2))]


def test_the_whole_equals_the_net(net):
    memory = Memory(net, ROWS, COLS)
    x = pixels(0)
    memory.update(x, memory.whole)
    for ours, theirs in zip(memory.head(memory.whole), whole(net, x), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("rect", [(0, 0, 3, 2), (2, 1, 6, 4), (4, 3, 7, 5), (0, 0, 7, 3), (0, 2, 7, 5)])
def test_renewing_a_part_of_the_same_picture_changes_nothing(net, rect):
    memory = Memory(net, ROWS, COLS)
    x = pixels(1)
    memory.update(x, memory.whole)
    memory.update(cut(x, rect), rect)
    for ours, theirs in zip(memory.head(memory.whole), whole(net, x), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4


def test_a_look_at_the_whole_leaves_nothing_of_earlier_ones(net):
    memory = Memory(net, ROWS, COLS)
    memory.update(pixels(2), memory.whole)
    memory.update(cut(pixels(3), (1, 1, 4, 4)), (1, 1, 4, 4))
    x = pixels(4)
    memory.update(x, memory.whole)
    for ours, theirs in zip(memory.head(memory.whole), whole(net, x), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4


def test_surroundings_that_are_kept_bring_a_part_nearer_to_the_whole_than_a_cut_out_is(net):
    """Where only the rectangle changed, its inner part is nearly what the whole net computes."""
    rect = (2, 1, 6, 4)
    x, changed = pixels(5), pixels(5)
    left, top, right, bottom = (side * GRID for side in rect)
    changed[:, top + 32 : bottom - 32, left + 32 : right - 32] += 0.5
    memory, empty = Memory(net, ROWS, COLS), Memory(net, ROWS, COLS)
    memory.update(x, memory.whole)
    for m in (memory, empty):
        m.update(cut(changed, rect), rect)
    for level, true in enumerate(whole(net, changed)):
        k = GRID // (8, 16, 32)[level]
        part = true[rect[1] * k : rect[3] * k, rect[0] * k : rect[2] * k]
        kept = np.abs(memory.head(rect)[level] - part).mean()
        alone = np.abs(empty.head(rect)[level] - part).mean()
        assert kept < 0.5 * alone
