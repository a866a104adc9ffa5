"""What a unit of each measure is worth: learned by `everyframe train-flow`, shipped, and checked when it is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from everyframe.operators.errors import WeightsError
from everyframe.operators.types import F32

CELL_MEASURES = ("age",)
BLOB_MEASURES = ("size", "unusual")
TRACK_MEASURES = ("age", "in_doubt", "touching", "moved", "unreliable")
_SHIPPED = "quality.safetensors"
MEASURES = {"cells": CELL_MEASURES, "blobs": BLOB_MEASURES, "tracks": TRACK_MEASURES}


@dataclass(frozen=True, slots=True)
class Weights:
    """Wrong labels for one unit of each measure, float32 and not negative: cells (1,), blobs (2,), tracks (5,)."""

    cells: F32
    blobs: F32
    tracks: F32


FIRST = Weights(
    np.array([0.005], np.float32),
    np.array([0.1, 0.1], np.float32),
    np.array([0.6, 0.5, 0.2, 0.1, 0.3], np.float32),
)
"""A guess by hand: what steers while the first measures for learning are gathered."""


def load_weights(path: str | None = None) -> Weights:
    """Those of a safetensors file; without a path of the one that EVERYFRAME_FLOW_WEIGHTS names, else the shipped ones.

    Raises `WeightsError`.
    """
    path = path or os.environ.get("EVERYFRAME_FLOW_WEIGHTS") or None
    if path is None:
        with as_file(files("everyframe.operators.flow") / "data" / _SHIPPED) as shipped:
            return _load(shipped)
    return _load(Path(path))


def save_weights(weights: Weights, path: str) -> None:
    """Writes a safetensors file, whole or not at all. Raises `WeightsError` where that is not possible."""
    try:
        part = Path(f"{path}.part")
        part.write_bytes(save({name: getattr(weights, name) for name in MEASURES}))
        part.replace(path)
    except OSError as error:
        reason = (error.strerror or "write error").lower()
        raise WeightsError(f"Cannot write the weights {path}: {reason}; name another file.") from error


def _load(path: Path) -> Weights:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "read error").lower()
        raise WeightsError(f"Cannot read the weights {path}: {reason}; give a file of train-flow.") from error
    try:
        state = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"The weights {path} are damaged or not in safetensors format; train them again."
        ) from error
    for name, measures in MEASURES.items():
        values = state.get(name)
        if values is None or values.shape != (len(measures),) or values.dtype != np.float32:
            raise WeightsError(
                f"The weights {path} have no {len(measures)} float32 values {name}; give a file of train-flow."
            )
        if not np.isfinite(values).all() or (values < 0).any():
            raise WeightsError(f"The weights {path} hold negative or infinite values in {name}; train them again.")
    return Weights(state["cells"], state["blobs"], state["tracks"])
