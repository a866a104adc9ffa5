"""From a torch module to an OpenVINO model, for nets of plain convolutions.

OpenVINO's own converter is not used: it reports each conversion to its makers over the network, leans on a part of
torch that is to be removed, and takes over a second where this takes a few hundredths. Importing this module without
OpenVINO raises `ImportError`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from everyframe.operators.detectors.nanodet import Quantized


def _import_openvino() -> ModuleType:
    """OpenVINO, kept from telling its makers that it was imported, which it does by itself where its telemetry package
    is found."""
    hidden = "openvino_telemetry"
    if "openvino" in sys.modules or hidden in sys.modules:
        return import_module("openvino")
    sys.modules[hidden] = None  # type: ignore[assignment]  # Python's way to say: not to be found
    try:
        return import_module("openvino")
    finally:
        del sys.modules[hidden]


openvino = _import_openvino()
ops: ModuleType = openvino.opset13


@lru_cache(maxsize=1)
def core() -> Any:
    """The process's one OpenVINO core, which lives as long as the process.

    Each core sets a stack for signal handlers and puts back at its end what was there before it; of several that end in
    another order, the last leaves one that is gone, and the next Ctrl-C is a segmentation fault.
    """
    return openvino.Core()


def to_openvino(module: nn.Module, shapes: Sequence[Sequence[int]], quantized: Quantized | None = None) -> Any:
    """An `openvino.Model` that computes `module` on inputs of these shapes (-1: any). Nodes are called as `torch.fx` calls them.

    quantized: where values and weights are rounded to 8 bits; OpenVINO then computes in int8 what lies between.

    module: what `torch.fx` can trace, built of Conv2d, leaky_relu, max_pool2d, interpolate (bilinear), cat, add and
    permute. Raises `NotImplementedError` for anything else.
    """
    parameters = [ops.parameter(list(shape), np.float32) for shape in shapes]
    traced = fx.symbolic_trace(module)
    waiting = iter(parameters)
    values: dict[fx.Node, Any] = {}

    def value(argument: Any) -> Any:
        return fx.map_arg(argument, values.__getitem__)

    ranges = {} if quantized is None else quantized.ranges
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(waiting)
        elif node.op == "output":
            return openvino.Model(list(value(node.args[0])), parameters)
        elif node.op == "call_module":
            scale = None if quantized is None else quantized.scales.get(node.target.removeprefix("net."))
            values[node] = _conv(traced.get_submodule(node.target), value(node.args[0]), node.name, scale)
        elif node.target in _OPS:
            values[node] = _OPS[node.target](*value(node.args), **value(node.kwargs))
        else:
            raise NotImplementedError(f"no OpenVINO counterpart of {node.target}")
        made = values[node]
        at = made.get_node() if hasattr(made, "get_node") else made
        at.set_friendly_name(node.name + "/bias" if node.op == "call_module" else node.name)
        if node.name in ranges:
            values[node] = _rounded(made, *ranges[node.name])
    raise NotImplementedError("the traced module has no output")


def _rounded(x: Any, low: Any, high: Any, levels: int = 256) -> Any:
    ends = [ops.constant(np.asarray(end, np.float32)) for end in (low, high)]
    return ops.fake_quantize(x, *ends, *ends, levels)


def _conv(conv: nn.Module, x: Any, name: str, scale: torch.Tensor | None = None) -> Any:
    if not isinstance(conv, nn.Conv2d) or conv.bias is None or isinstance(conv.padding, str):
        raise NotImplementedError(f"no OpenVINO counterpart of {conv}")
    weight, bias = (t.detach().float().contiguous().numpy() for t in (conv.weight, conv.bias))
    padding = list(conv.padding)
    # Groups are a dimension of their own, as NNCF wants them for a scale of each output channel.
    split = (conv.groups, conv.out_channels // conv.groups) if conv.groups > 1 else (conv.out_channels,)
    filters = ops.constant(weight.reshape(*split, *weight.shape[1:]))
    if scale is not None:
        high = 127 * scale.view(*split, 1, 1, 1).numpy()
        filters = _rounded(filters, -high, high, 255)
    convolve = ops.group_convolution if conv.groups > 1 else ops.convolution
    y = convolve(x, filters, list(conv.stride), padding, padding, list(conv.dilation))
    y.set_friendly_name(name)
    return ops.add(y, ops.constant(bias.reshape(1, -1, 1, 1)))


def _leaky_relu(x: Any, negative_slope: float, inplace: bool = False) -> Any:
    return ops.prelu(x, ops.constant(np.array([negative_slope], np.float32)))


def _max_pool(x: Any, kernel_size: int, stride: int, padding: int, **_: Any) -> Any:
    return ops.max_pool(x, [stride] * 2, [1, 1], [padding] * 2, [padding] * 2, [kernel_size] * 2).output(0)


def _interpolate(x: Any, scale_factor: float, mode: str, align_corners: bool, **_: Any) -> Any:
    if mode != "bilinear" or align_corners:
        raise NotImplementedError("no OpenVINO counterpart of this interpolation")
    scales, axes = np.array([scale_factor] * 2, np.float32), np.array([2, 3], np.int64)
    return ops.interpolate(x, scales, "linear_onnx", "scales", axes=axes)


_OPS: dict[Any, Callable[..., Any]] = {
    F.leaky_relu: _leaky_relu,
    F.max_pool2d: _max_pool,
    F.interpolate: _interpolate,
    torch.cat: lambda parts, axis: ops.concat(list(parts), axis),
    operator.add: ops.add,
    "permute": lambda x, *order: ops.transpose(x, np.array(order, np.int64)),
}
