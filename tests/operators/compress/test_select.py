"""Pictures that teach most: spread over what there is, or those of which the teacher is least sure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.operators.compress.select import CHOICES, k_center, select, survey
from everyframe.operators.detectors import weights
from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import OperatorError


@pytest.fixture(scope="module")
def net() -> NanoDet:
    return weights.load_nanodet(weights.read("full"), "full")


def inputs() -> list[np.ndarray]:
    """Nine nearly equal pictures and one that differs."""
    rng = np.random.default_rng(0)
    same = rng.normal(0, 1, (1, 64, 96, 3)).astype(np.float32)
    almost = [same + rng.normal(0, 0.01, same.shape).astype(np.float32) for _ in range(9)]
    return [*almost[:6], rng.normal(1, 2, same.shape).astype(np.float32), *almost[6:]]


def test_the_core_set_holds_the_picture_that_differs(net: NanoDet) -> None:
    assert all(6 in select(net, inputs(), 2, "coreset", seed) for seed in range(3))


def test_uncertain_ones_are_those_of_most_entropy(net: NanoDet) -> None:
    _, entropy = survey(net, inputs())
    chosen = select(net, inputs(), 3, "uncertain")
    rest = np.setdiff1d(np.arange(10), chosen)
    assert entropy[chosen].min() >= entropy[rest].max()


@pytest.mark.parametrize("choice", CHOICES)
def test_as_many_as_asked_each_once_and_the_same_again(choice: str, net: NanoDet) -> None:
    first, again = (select(net, inputs(), 4, choice, 5) for _ in range(2))  # type: ignore[arg-type]
    assert len(set(first.tolist())) == 4 and first.tolist() == sorted(again.tolist())
    assert select(net, inputs(), 99, choice).tolist() == list(range(10))  # type: ignore[arg-type]


@given(st.integers(0, 10**6), st.integers(2, 12))
@settings(deadline=None, max_examples=30)
def test_k_center_leaves_no_point_farther_than_its_last_step(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 1, (30, 3)).astype(np.float32)
    taken = k_center(points, count, 0)
    scaled = (points - points.mean(0)) / points.std(0)
    away = np.linalg.norm(scaled[:, None] - scaled[taken][None], axis=2)
    last = np.linalg.norm(scaled[taken[-1]] - scaled[taken[:-1]], axis=1).min()
    assert away.min(1).max() <= last + 1e-5
    assert len(set(taken.tolist())) == count


def test_equal_points_are_taken_once_each() -> None:
    assert sorted(k_center(np.zeros((4, 2), np.float32), 4, 2).tolist()) == [0, 1, 2, 3]


def test_misuse_is_one_sentence(net: NanoDet) -> None:
    with pytest.raises(OperatorError, match="1 or more"):
        select(net, inputs(), 0, "random")
    with pytest.raises(OperatorError, match="coreset, uncertain, random"):
        select(net, inputs(), 2, "best")  # type: ignore[arg-type]
