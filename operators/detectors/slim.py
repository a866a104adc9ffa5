"""One set of weights that holds a net in several widths, and the file that it lies in.

Yu et al., Slimmable Neural Networks (ICLR 2019): width w of the net is made of the first channels of every layer. Channels lie in
the order of their importance within what goes together; where a layer's input is several outputs side by side (a concatenation),
the first channels of each of these are taken. The net has no normalisation left to switch, as it was folded into the
convolutions, so each narrower width has a gain and a bias of its own for each output channel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from everyframe.operators.detectors import weights
from everyframe.operators.detectors.nanodet import NanoDet, Quantized, convolutions
from everyframe.operators.errors import WeightsError

SLIM = "slim"
"""Key of the metadata of files with several widths."""
VECTOR = 8
"""Channels are kept in multiples of it."""


@dataclass(frozen=True, slots=True)
class Slim:
    """net: all channels, in order. inputs: by convolution, how many channels each of its inputs has, side by side; convolutions
    that are not named take all. whole: those that give all outputs at any width. widths: shares of the channels, from 1 down.
    own: of each width below 1, by convolution, gain and bias (outputs,) float32. levels: scale (outputs,) of the weights of each convolution
    where they are whole multiples of it in 8 bits, ranges: of each width, as in `Quantized`; both empty for float weights.
    """

    net: NanoDet
    inputs: Mapping[str, tuple[int, ...]]
    whole: frozenset[str]
    widths: tuple[float, ...]
    own: Mapping[float, Mapping[str, tuple[Tensor, Tensor]]]
    levels: Mapping[str, Tensor] = field(default_factory=dict)
    ranges: Mapping[float, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


def kept(channels: int, width: float) -> int:
    """How many channels a layer of `channels` has at a width: to the nearest multiple of 8, and 8 at least."""
    return min(channels, max(VECTOR, int(channels * width / VECTOR + 0.5) * VECTOR))


def part(slim: Slim, name: str, weight: Tensor, width: float) -> Tensor:
    """What a width takes of a convolution's weights (o, i, h, w), without its gain: a view, or views side by side."""
    out = weight if name in slim.whole else weight[: kept(len(weight), width)]
    segments = slim.inputs.get(name)
    if segments is None or width == 1:
        return out
    if len(segments) == 1:
        return out[:, : kept(segments[0], width)]
    return torch.cat([piece[:, : kept(piece.shape[1], width)] for piece in torch.split(out, list(segments), 1)], 1)


def state_at(slim: Slim, width: float) -> dict[str, Tensor]:
    """Weights and biases of the net at a width, by the names of its state; gradients pass through to the shared ones."""
    state: dict[str, Tensor] = {}
    for name, conv in convolutions(slim.net):
        shared = part(slim, name, conv.weight, width)
        if width == 1:
            assert conv.bias is not None
            state |= {f"{name}.weight": shared, f"{name}.bias": conv.bias}
        else:
            gain, bias = slim.own[width][name]
            state |= {f"{name}.weight": shared * gain.view(-1, 1, 1, 1), f"{name}.bias": bias}
    return state


def narrow(slim: Slim, width: float) -> NanoDet:
    """The net at one of the widths, on its own, in inference mode. Raises `WeightsError` for another width."""
    if width not in slim.widths:
        raise WeightsError(f"There is no width {width:g}: choose one of {', '.join(f'{w:g}' for w in slim.widths)}.")
    state = {key: value.detach().clone().contiguous() for key, value in state_at(slim, width).items()}
    made = NanoDet()
    weights.fit_channels(made, {key.replace("heads.", "head."): value for key, value in state.items()})
    made.load_state_dict(state, assign=True)
    if slim.levels:
        scales = {}
        for name, scale in slim.levels.items():
            own = scale if name in slim.whole else scale[: kept(len(scale), width)]
            scales[name] = own if width == 1 else own * slim.own[width][name][0]
        made.quantized = Quantized(scales, dict(slim.ranges[width]))
    return made.requires_grad_(False).eval()


def split_name(model: str) -> tuple[str, float | None]:
    """FILE@WIDTH apart; no width where there is none, or where a file of that whole name is there."""
    path, at, text = model.rpartition("@")
    if not at or Path(model).exists():
        return model, None
    try:
        return path, float(text)
    except ValueError:
        return model, None


def pack(slim: Slim, about: Mapping[str, str]) -> bytes:
    """All widths as one safetensors file: shared weights once, as float16 or int8 levels; gains, biases and ranges of each width."""
    state: dict[str, Tensor] = {}
    for name, conv in convolutions(slim.net):
        assert conv.bias is not None
        state[f"{name}.bias"] = conv.bias.detach().float().clone()
        scale = slim.levels.get(name)
        if scale is None:
            state[f"{name}.weight"] = conv.weight.detach().half().contiguous()
        else:
            levels = torch.round(conv.weight.detach() / scale.view(-1, 1, 1, 1)).clamp(-127, 127)
            state |= {f"{name}.weight": levels.to(torch.int8).contiguous(), f"{name}.scale": scale.float().clone()}
        for width, own in slim.own.items():
            gain, bias = own[name]
            state |= {f"{width}/{name}.gain": gain.detach().float().clone(), f"{width}/{name}.bias": bias.detach().float().clone()}
    for width, ranges in slim.ranges.items():
        state |= {f"{width}/range/{node}": torch.tensor(ends) for node, ends in ranges.items()}
    shape = {"version": 1, "widths": slim.widths, "inputs": dict(slim.inputs), "whole": sorted(slim.whole)}
    return save(state, {**about, SLIM: json.dumps(shape)})


def unpack(data: bytes, name: str) -> Slim:
    """What `pack` wrote. name: how messages call the file. Raises `WeightsError`."""
    try:
        shape = json.loads(weights.metadata(data)[SLIM])
        if shape["version"] != 1:
            raise WeightsError(f"The model {name} is of a later format ({shape['version']}): update everyframe.")
        return _built(load(data), shape)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"The model {name} with several widths is damaged: fetch or make the file again.") from error


def _built(state: dict[str, Tensor], shape: Mapping[str, Any]) -> Slim:
    if not all(bool(torch.isfinite(tensor.float()).all()) for tensor in state.values()):
        raise ValueError("not finite")
    net, levels = NanoDet(), {}
    for name, conv in convolutions(net):
        weight = state[f"{name}.weight"].float()
        if f"{name}.scale" in state:
            levels[name] = state[f"{name}.scale"]
            weight = weight * levels[name].view(-1, 1, 1, 1)
        conv.load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})
    widths = tuple(float(width) for width in shape["widths"])
    own = {
        width: {name: (state[f"{width}/{name}.gain"], state[f"{width}/{name}.bias"]) for name, _ in convolutions(net)}
        for width in widths if width != 1
    }  # fmt: skip
    ranges: dict[float, dict[str, tuple[float, float]]] = {}
    for width in widths if levels else ():
        head = f"{width}/range/"
        ranges[width] = {k.removeprefix(head): (float(v[0]), float(v[1])) for k, v in state.items() if k.startswith(head)}
    inputs = {name: tuple(map(int, sizes)) for name, sizes in dict(shape["inputs"]).items()}
    whole = frozenset(str(name) for name in shape["whole"])
    return Slim(net.requires_grad_(False).eval(), inputs, whole, widths, own, levels, ranges)


def load_slim(model: str) -> Slim | None:
    """All widths of a file of several; None for any other model. Raises `WeightsError`."""
    name, width = split_name(model)
    try:
        data = Path(name).read_bytes() if width is None else b""
    except OSError:
        return None  # a model that ships, or what `weights.read` tells of
    return _unpacked(data, name) if SLIM in weights.metadata(data) else None


@lru_cache(maxsize=1)
def _unpacked(data: bytes, name: str) -> Slim:
    """Widths of one file that are used together are taken from one copy of its weights."""
    return unpack(data, name)


@lru_cache(maxsize=4)  # asked several times of a file that is opened, and of each width that is
def extract(data: bytes, width: float | None, name: str) -> bytes:
    """One width of a file of several as a model file of its own, with what the file says of that width. None: the widest.
    Raises `WeightsError`."""
    slim = _unpacked(data, name)
    chosen = slim.widths[0] if width is None else width
    said = weights.metadata(data)
    about = {key: value for key, value in said.items() if "@" not in key and key != SLIM}
    about |= {key.partition("@")[0]: value for key, value in said.items() if key.endswith(f"@{chosen:g}")}
    about["recipe"] = f"width {chosen:g} of: {said.get('recipe', 'slim')}"
    try:
        return weights.pack(narrow(slim, chosen), about)
    except WeightsError as error:
        raise WeightsError(f"{name}: {error}") from error
