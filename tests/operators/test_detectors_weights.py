"""Weights files, good and bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from everyframe.operators.detectors import load_detector, weights
from everyframe.operators.errors import OperatorError, WeightsError

SHIPPED = Path(weights.__file__).parent / "data" / "nanodet_g_coco.safetensors"
Tensors = dict[str, torch.Tensor]


def _with_nan(t: Tensors) -> None:
    t["stage3.exit.weight"][0, 0, 0, 0] = float("nan")


def _with_infinity(t: Tensors) -> None:
    t["head.8.out.bias"][3] = float("inf")


def _without_one(t: Tensors) -> None:
    del t["stem.bias"]


def _with_one_more(t: Tensors) -> None:
    t["stage9.entry.bias"] = torch.zeros(3)


def _with_other_shape(t: Tensors) -> None:
    t["head.16.out.weight"] = torch.zeros(64, 128, 1, 1)


def _with_integers(t: Tensors) -> None:
    t["stem.bias"] = torch.zeros(32, dtype=torch.int32)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_with_nan, "NaN or infinite values in stage3.exit.weight"),
        (_with_infinity, "NaN or infinite values in head.8.out.bias"),
        (_without_one, "lack stem.bias"),
        (_with_one_more, "hold stage9.entry.bias"),
        (_with_other_shape, "head.16.out.weight of shape (64, 128, 1, 1) instead of (124, 128, 1, 1)"),
        (_with_integers, "stem.bias as torch.int32"),
    ],
)
def test_wrong_tensors_are_named(spoil: Callable[[Tensors], None], says: str, tmp_path: Path) -> None:
    tensors = load_file(SHIPPED)
    spoil(tensors)
    path = tmp_path / "spoilt.safetensors"
    save_file(tensors, path)
    with pytest.raises(WeightsError) as caught:
        load_detector(str(path))
    _is_one_sentence(caught.value)
    assert says in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 5000, 1_000_000, 7_578_343])
def test_a_truncated_file_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(SHIPPED.read_bytes()[:size])
    with pytest.raises(WeightsError, match="damaged or not in safetensors format") as caught:
        load_detector(str(path))
    _is_one_sentence(caught.value)


@pytest.mark.parametrize("content", [b"not weights\n" * 100, b"\x80\x04\x95" + bytes(100)])
def test_another_format_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="safetensors"):
        load_detector(str(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r'No model ".*gone.safetensors"'):
        load_detector(str(tmp_path / "gone.safetensors"))
    with pytest.raises(WeightsError, match="Cannot read the weights") as caught:
        load_detector(str(tmp_path))
    _is_one_sentence(caught.value)


def test_a_users_own_file_is_used(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file({k: t.float() for k, t in load_file(SHIPPED).items()}, path)  # another dtype, the same values
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    own, shipped = (load_detector(model, 128, min_score=0.01) for model in (str(path), "nanodet-g"))
    assert own.digest != shipped.digest
    np.testing.assert_array_equal(own.detect(picture).score, shipped.detect(picture).score)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"imgsz": 31}, "picture size 31"),
        ({"imgsz": 5000}, "picture size 5000"),
        ({"runtime": "onnx"}, 'runtime "onnx"'),
        ({"precision": "int4"}, 'precision "int4"'),
        ({"threads": 0}, "threads is 0"),
        ({"min_score": 0.0}, "lowest score"),
        ({"device": "tpu"}, 'device "tpu"'),
        ({"device": "meta"}, 'device "meta"'),
        ({"device": "cuda:99"}, 'device "cuda:99"'),
        ({"runtime": "openvino", "device": "cuda"}, "OpenVINO runs on the CPU"),
    ],
)
def test_settings_that_cannot_be_met_say_so(options: dict[str, object], says: str) -> None:
    with pytest.raises(OperatorError) as caught:
        load_detector(**options)  # type: ignore[arg-type]
    _is_one_sentence(caught.value)
    assert says in str(caught.value)


def _is_one_sentence(error: Exception) -> None:
    text = str(error)
    assert text.endswith(".") and "\n" not in text and ". " not in text
