"""Weights files: safetensors only, checked before they are used."""

from __future__ import annotations

import hashlib
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from everyframe.operators.detectors.nanodet import NanoDet
from everyframe.operators.errors import WeightsError

SHIPPED = "nanodet-g"
_SHIPPED_FILE = "nanodet_g_coco.safetensors"


def read(model: str) -> bytes:
    """Bytes of the shipped weights ("nanodet-g") or of a file. Raises `WeightsError`."""
    if model == SHIPPED:
        with as_file(files("everyframe.operators.detectors") / "data" / _SHIPPED_FILE) as path:
            return _read(path)
    path = Path(model)
    if not path.exists():
        raise WeightsError(
            f'No model "{model}": it is neither "{SHIPPED}" nor a file; give "{SHIPPED}" or the path of '
            "NanoDet-g weights in safetensors format."
        )
    return _read(path)


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
    """The net with the weights in `data`, float32, in inference mode.

    name: how messages call the file. Raises `WeightsError` if the data are truncated, of another
    architecture, or hold NaN or infinite values.
    """
    try:
        state = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"The weights {name} are damaged or not in safetensors format; fetch or export the file again."
        ) from error
    with torch.device("meta"):
        net = NanoDet()
    # The files say "head" for what the net calls "heads", as its `head` is a method.
    own_names = {key.replace("heads.", "head."): key for key in net.state_dict()}
    _check(state, {key: tuple(net.state_dict()[own].shape) for key, own in own_names.items()}, name)
    net.load_state_dict({own_names[key]: tensor.float() for key, tensor in state.items()}, assign=True)
    return net.requires_grad_(False).eval()


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
