"""Motion fields come back bit for bit, or rounded where they are too many values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.pipeline.traces.packing import COARSE, NOISE, pack, pack_luma, steady, unpack, unpack_luma


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 3.0, 7.0])
)
def test_round_trip(frames: int, rows: int, cols: int, seed: int, distance: float) -> None:
    rng = np.random.default_rng(seed)
    motion = (rng.integers(-200, 200, (frames, rows, cols, 2)) / np.float32(4 * distance)).astype(np.float32)
    known = rng.random((frames, rows, cols)) < 0.8
    data, exact = pack(motion, known)
    again, mask = unpack(data)
    assert exact
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, motion)
    np.testing.assert_array_equal(mask, known)


def test_too_many_values_are_rounded() -> None:
    motion = np.random.default_rng(0).normal(0, 3, (4, 120, 160, 2)).astype(np.float32)
    data, exact = pack(motion, np.ones(motion.shape[:3], np.bool_))
    assert not exact
    assert np.abs(unpack(data)[0] - motion).max() <= 0.5 / COARSE + 1e-6


def test_damage_is_told() -> None:
    data, _ = pack(np.zeros((1, 4, 4, 2), np.float32), np.ones((1, 4, 4), np.bool_))
    with pytest.raises(ValueError, match="motion of a trace"):
        unpack(data[:-4])
    with pytest.raises(ValueError, match="motion of a trace"):
        unpack(b"\xff" * 40)


def test_luma_round_trip_and_noise() -> None:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 250, (9, 11), np.uint8)
    noisy = [(still + rng.integers(0, 3, still.shape)).astype(np.uint8) for _ in range(5)]
    kept = [noisy[0]]
    for luma in noisy[1:]:
        kept.append(steady(luma, kept[-1]))
        assert np.abs(kept[-1].astype(int) - luma).max() <= NOISE
    np.testing.assert_array_equal(kept[-1], kept[0])
    moved = steady(rng.integers(0, 250, still.shape, np.uint8), kept[-1])
    block = np.stack([*kept, moved])
    np.testing.assert_array_equal(unpack_luma(pack_luma(block)), block)
    with pytest.raises(ValueError, match="luma of a trace"):
        unpack_luma(b"\xff" * 40)
