"""Weights files: safetensors only, checked before they are used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from everyframe.operators.detectors import bits
from everyframe.operators.detectors.nanodet import BLOCKS, NanoDet, Quantized
from everyframe.operators.errors import WeightsError

SHIPPED = "nanodet-g"
FILES = {
    SHIPPED: "nanodet_g_coco.safetensors",
    "full": "nanodet_g_coco.safetensors",
    "fast": "nanodet_g_fast.safetensors",
}
"""Shipped models by name."""
COMPRESSED = "everyframe-compressed"
"""Key of a file's metadata: its value is the version of the format of compressed models."""
QUANTIZED = "quantized"
"""Key of the metadata of models that can be computed in int8."""
_VERSION = "1"
_LOW_BIT = "2"
"""Version of files with weights of fewer than 8 bits."""
_UNFIT = "The model {} has layers that do not fit together: fetch or export it again."
_SCALE, _RANGE, _FORM = ".weight_scale", "range/", ".weight_form"


def read(model: str) -> bytes:
    """Bytes of shipped weights (a name in `FILES`) or of a file; of one with several widths those of the widest, or of
    the one that FILE@WIDTH names. Raises `WeightsError`."""
    if model in FILES:
        with as_file(files("everyframe.operators.detectors") / "data" / FILES[model]) as path:
            return _read(path)
    from everyframe.operators.detectors import slim  # it builds upon this module

    name, width = slim.split_name(model)
    path = Path(name)
    if not path.exists():
        raise WeightsError(
            f'No model "{model}": it is neither "{SHIPPED}" nor a file; give "{SHIPPED}", "fast" or the path of '
            "NanoDet-g weights in safetensors format."
        )
    data = _read(path)
    if slim.SLIM in metadata(data):
        return slim.extract(data, width, name)
    if width is not None:
        raise WeightsError(f"The model {name} has one width only: leave @{width:g} out.")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "read error").lower()
        raise WeightsError(
            f"Cannot read the weights {path}: {reason}; give a readable safetensors file."
        ) from error


def digest(data: bytes) -> str:
    """Short content hash: tells models apart in caches."""
    return hashlib.sha256(data).hexdigest()[:16]


def load_nanodet(data: bytes, name: str) -> NanoDet:
    """The net with the weights in `data`, float32, in inference mode. A compressed model may have fewer channels, and knows how
    it is to be quantized.

    name: how messages call the file. Raises `WeightsError` if the data are truncated, of another
    architecture, or hold NaN or infinite values.
    """
    try:
        state = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"The weights {name} are damaged or not in safetensors format; fetch or export the file again."
        ) from error
    is_compressed = metadata(data).get(COMPRESSED) is not None
    with torch.device("meta"):
        net = NanoDet()
    quantized = None
    if is_compressed:
        state, quantized = _unpacked(state, metadata(data), name)
        with torch.device("meta"):
            net = NanoDet(_blocks(state))
        try:
            fit_channels(net, state)
        except (ValueError, ZeroDivisionError) as error:  # channels that no number of groups goes with
            raise WeightsError(_UNFIT.format(name)) from error
    # The files say "head" for what the net calls "heads", as its `head` is a method.
    own_names = {key.replace("heads.", "head."): key for key in net.state_dict()}
    _check(state, {key: tuple(net.state_dict()[own].shape) for key, own in own_names.items()}, name)
    net.load_state_dict({own_names[key]: tensor.float() for key, tensor in state.items()}, assign=True)
    net.quantized = quantized
    if is_compressed:
        _try(net, name)
    return net.requires_grad_(False).eval()


def metadata(data: bytes) -> Mapping[str, str]:
    """What a safetensors file says of itself; empty where it says nothing or is none."""
    try:
        size = int.from_bytes(data[:8], "little")
        found = json.loads(data[8 : 8 + size]).get("__metadata__", {}) if size < len(data) else {}
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def pack(net: NanoDet, about: Mapping[str, str]) -> bytes:
    """A compressed model as a safetensors file. about: goes into its metadata (recipe, accuracy, cost), plain text.

    Weights are stored as float16, those of a net that is to be quantized as int8 with a scale for each output channel, or several
    in a byte where they have few levels.
    """
    state: dict[str, torch.Tensor] = {}
    for key, tensor in net.state_dict().items():
        name, kind = key.rsplit(".", 1)
        filed = key.replace("heads.", "head.")
        scale = None if net.quantized is None or kind != "weight" else net.quantized.scales.get(name)
        if scale is None:
            state[filed] = (tensor.half() if kind == "weight" else tensor.float()).contiguous()
        else:
            assert net.quantized is not None
            conv, states = name.replace("heads.", "head."), net.quantized.states.get(name, bits.FULL)
            levels = torch.round(tensor / scale.view(-1, 1, 1, 1)).clamp(-bits.top(states), bits.top(states))
            state[conv + _SCALE] = scale.float()
            if states == bits.FULL:
                state[filed] = levels.to(torch.int8).contiguous()
            else:
                state[filed] = bits.pack(levels, states)
                state[conv + _FORM] = torch.tensor([states, *tensor.shape], dtype=torch.int32)
    said = {**about, COMPRESSED: _VERSION}
    if net.quantized is not None:
        state |= {_RANGE + node: torch.tensor(ends, dtype=torch.float32) for node, ends in net.quantized.ranges.items()}
        said |= {QUANTIZED: "int8"} if net.quantized.ranges else {}
        said |= {COMPRESSED: _LOW_BIT} if net.quantized.states else {}
    return save(state, said)


def _unpacked(
    state: dict[str, torch.Tensor], about: Mapping[str, str], name: str
) -> tuple[dict[str, torch.Tensor], Quantized | None]:
    """Float weights of a compressed file, and how they are quantized."""
    if about[COMPRESSED] not in (_VERSION, _LOW_BIT):
        raise WeightsError(f"The model {name} is of a later format ({about[COMPRESSED][:20]}): update everyframe.")
    scales = {key.removesuffix(_SCALE): state.pop(key).float() for key in list(state) if key.endswith(_SCALE)}
    ranges = {key.removeprefix(_RANGE): state.pop(key) for key in list(state) if key.startswith(_RANGE)}
    states = _of_few_bits(state, name)
    for conv, scale in scales.items():
        weight = state.get(conv + ".weight")
        if weight is None or weight.dtype != torch.int8 or scale.shape != weight.shape[:1]:
            raise WeightsError(f"The model {name} has no int8 weights for the scales of {conv}: fetch or export it again.")
        state[conv + ".weight"] = weight.float() * scale.view(-1, 1, 1, 1)
    bad = [node for node, ends in ranges.items() if ends.shape != (2,) or not bool(torch.isfinite(ends).all())]
    if bad:
        raise WeightsError(f"The model {name} has no usable range of {bad[0]}: fetch or export it again.")
    if not scales:
        return state, None
    own = {conv.replace("head.", "heads."): scale for conv, scale in scales.items()}
    return state, Quantized(own, {node: (float(ends[0]), float(ends[1])) for node, ends in ranges.items()}, states)


def _of_few_bits(state: dict[str, torch.Tensor], name: str) -> dict[str, int]:
    """Brings packed weights to int8, in place; how many levels each has, by the net's names. Raises `WeightsError`."""
    forms = {key.removesuffix(_FORM): state.pop(key) for key in list(state) if key.endswith(_FORM)}
    for conv, form in forms.items():
        try:
            states, *shape = [int(value) for value in form.reshape(-1)[:5]]
            state[conv + ".weight"] = bits.unpack(state[conv + ".weight"], states, shape)
        except (ValueError, KeyError) as error:
            raise WeightsError(f"The model {name} has packed weights of {conv} that cannot be read: fetch or export it again.") from error
    return {conv.replace("head.", "heads."): int(form.reshape(-1)[0]) for conv, form in forms.items()}


def _blocks(state: Mapping[str, torch.Tensor]) -> tuple[int, int, int, int]:
    """How many blocks each stage has in a file: those from the first on that are there."""
    counts = [
        sum(any(key.startswith(f"stage{stage}.block{i}.") for key in state) for i in range(most))
        for stage, most in enumerate(BLOCKS, 1)
    ]
    return counts[0], counts[1], counts[2], counts[3]


def fit_channels(net: NanoDet, state: Mapping[str, torch.Tensor]) -> None:
    """Gives each convolution the channels that its weights have, or the chain of convolutions that stands for it."""
    for name, conv in list(net.named_modules()):
        if not isinstance(conv, nn.Conv2d):
            continue
        filed = name.replace("heads.", "head.")
        chain = [state[key] for i in range(4) if (key := f"{filed}.{i}.weight") in state]
        weights = chain or [state[key] for key in (filed + ".weight",) if key in state]
        if not weights or any(weight.dim() != 4 for weight in weights):
            continue
        parent, _, last = name.rpartition(".")
        with torch.device("meta"):
            made = [_like(conv, weight, _inputs(weights, i), not chain) for i, weight in enumerate(weights)]
        if last == "out" and weights[-1].shape[0] != conv.out_channels:
            continue  # told as a wrong shape
        setattr(net.get_submodule(parent), last, nn.Sequential(*made) if chain else made[0])


def _inputs(weights: list[torch.Tensor], at: int) -> int:
    """Channels that go into a link of a chain: those that the link before gives."""
    return weights[at].shape[1] if at == 0 else weights[at - 1].shape[0]


def _like(conv: nn.Conv2d, weight: torch.Tensor, inputs: int, alone: bool) -> nn.Conv2d:
    """The part of a convolution's work that a kernel of this size does; channel by channel where the weights say so. alone: there is no
    other link that does the rest of the striding."""
    assert not isinstance(conv.padding, str)
    wide = [size > 1 for size in weight.shape[2:]] if conv.kernel_size != (1, 1) else [True, True]
    whole = tuple(weight.shape[2:]) == conv.kernel_size
    stride = [s if alone or whole or w else 1 for s, w in zip(conv.stride, wide, strict=True)]
    padding = [p if whole or w else 0 for p, w in zip(conv.padding, wide, strict=True)]
    groups = max(1, inputs // weight.shape[1])
    return nn.Conv2d(
        inputs, weight.shape[0], (weight.shape[2], weight.shape[3]), (stride[0], stride[1]), (padding[0], padding[1]),
        groups=groups,
    )  # fmt: skip


def _try(net: NanoDet, name: str) -> None:
    """Raises `WeightsError` where the channels of a compressed model do not fit together."""
    try:
        with torch.inference_mode():
            net(torch.zeros(1, 3, 64, 64))
    except RuntimeError as error:
        raise WeightsError(_UNFIT.format(name)) from error


def _check(state: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]], name: str) -> None:
    advice = "use weights of NanoDet-g with 80 classes"
    if missing := sorted(shapes.keys() - state.keys()):
        raise WeightsError(
            f"The weights {name} lack {missing[0]} ({len(missing)} tensors missing); {advice}."
        )
    if extra := sorted(state.keys() - shapes.keys()):
        raise WeightsError(f"The weights {name} hold {extra[0]}, which NanoDet-g does not have; {advice}.")
    for key, tensor in state.items():
        if tuple(tensor.shape) != shapes[key]:
            raise WeightsError(
                f"The weights {name} have {key} of shape {tuple(tensor.shape)} instead of {shapes[key]}; {advice}."
            )
        if not tensor.is_floating_point():
            raise WeightsError(f"The weights {name} have {key} as {tensor.dtype}, not as floats; {advice}.")
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"The weights {name} hold NaN or infinite values in {key}; fetch or export the file again."
            )
