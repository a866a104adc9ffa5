"""Weights and activations in 8 bits, after training, from pictures of the kind that will be seen.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (CVPR 2018): weights
symmetric with a scale for each output channel, activations asymmetric with one range for each tensor. NNCF finds the
ranges and corrects the biases. Deviation: what comes out is not its graph but numbers (scales, ranges, biases) that go into
the weights file, so that every runtime reads one file: OpenVINO computes in int8, torch in float32 with the rounded weights.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import torch

from everyframe.operators.detectors.nanodet import NanoDet, Quantized
from everyframe.operators.detectors.runtimes import Whole
from everyframe.operators.errors import OperatorError
from everyframe.operators.types import F32

LEAST_PICTURES = 16


def quantize(net: NanoDet, inputs: Sequence[F32]) -> NanoDet:
    """A copy of the net that knows how it is computed in int8; its float weights are those that int8 can hold.

    Weights that `low_bit` has put on fewer levels stay on them.
    inputs: prepared pictures (1, h, w, 3) float32, as `NanoDetDetector.prepare` gives them, of any sizes divisible by 32.
    Raises `OperatorError` where there are fewer than 16, or NNCF or OpenVINO is not installed.
    """
    if len(inputs) < LEAST_PICTURES:
        raise OperatorError(f"{len(inputs)} pictures are too few to find ranges from: give {LEAST_PICTURES} or more.")
    graph = _calibrated(net, inputs)
    made = copy.deepcopy(net)
    few = None if net.quantized is None or not net.quantized.states else net.quantized  # these weights have their levels
    convs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    biases: dict[str, torch.Tensor] = {}  # as NNCF corrected them
    ranges: dict[str, tuple[float, float]] = {}
    for op in graph.get_ordered_ops():
        if op.get_type_name() == "FakeQuantize":
            source = op.input_value(0).get_node()
            ranges[_name(source)] = (_number(op.input_value(1)), _number(op.input_value(2)))
        elif op.get_type_name() in ("Convolution", "GroupConvolution"):
            convs[_name(op)] = _filters(op.input_value(1).get_node())
        elif op.get_friendly_name().endswith("/bias"):
            data = np.asarray(op.input_value(1).get_node().get_data(), np.float32)
            biases[_name(op)] = torch.from_numpy(data.reshape(-1).copy())
    scales = {}
    for name, conv in made.named_modules():
        key = "net_" + name.replace(".", "_")
        if key not in convs:
            continue
        assert isinstance(conv, torch.nn.Conv2d) and conv.bias is not None
        levels, scale = convs[key][0].reshape(conv.weight.shape), convs[key][1]
        if few is None:
            conv.weight.data = levels * scale.view(-1, 1, 1, 1)
        conv.bias.data = biases.get(key, conv.bias.data)
        scales[name] = scale
    made.quantized = Quantized(scales, ranges) if few is None else Quantized(few.scales, ranges, few.states)
    return made


def _calibrated(net: NanoDet, inputs: Sequence[F32]) -> Any:
    """NNCF's graph of the net, its weights in int8."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # NNCF has it look for CUDA
    try:
        import nncf

        from everyframe.operators.detectors.graph import core, to_openvino
    except ImportError as error:
        raise OperatorError('Quantizing needs NNCF and OpenVINO: run pip install "everyframe[compress]".') from error
    core()  # before NNCF makes one of its own, which then ends before it
    logging.getLogger("nncf").setLevel(logging.ERROR)
    plain = copy.deepcopy(net)
    plain.quantized = None
    graph = to_openvino(Whole(plain), [(1, -1, -1, 3)])
    data = nncf.Dataset(list(inputs))
    with redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(graph, data, subset_size=len(inputs), preset=nncf.QuantizationPreset.MIXED)


def _name(node: Any) -> str:
    """The name that `torch.fx` has for what a node computes."""
    name: str = node.get_friendly_name()
    return name.split("/")[0]


def _number(output: Any) -> float:
    return float(np.asarray(output.get_node().get_data()).reshape(-1)[0])


def _filters(node: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole levels (o, i, h, w) as float32 and the scale (o,) of a convolution's int8 weights: int8 -> float -> times scale. Of a
    grouped one the levels have a dimension more."""
    scale = node.input_value(1).get_node().get_data()
    levels = node.input_value(0).get_node().input_value(0).get_node().get_data()
    return torch.from_numpy(levels.astype(np.float32)), torch.from_numpy(scale.astype(np.float32).reshape(-1))
