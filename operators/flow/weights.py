"""What a unit of each measure is worth: learned by `everyframe train-flow`, shipped, and checked when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from everyframe.operators.errors import WeightsError
from everyframe.operators.types import F32

CELL_MEASURES = ("age", "border_age", "anew_unusual", "stray_unusual")
BLOB_MEASURES = ("there", "age", "size", "unusual")
TRACK_MEASURES = ("age", "weak_age", "in_doubt", "touching", "moved", "unreliable")
_SHIPPED = "quality.safetensors"
_KINDS = {"cells": CELL_MEASURES, "blobs": BLOB_MEASURES, "tracks": TRACK_MEASURES}


@dataclass(frozen=True, slots=True)
class Weights:
    """Wrong labels for one unit of each measure, float32 and not negative: cells (4,), blobs (4,), tracks (6,)."""

    cells: F32
    blobs: F32
    tracks: F32


FIRST = Weights(
    np.array([0.005, 0.01, 0.02, 0.05], np.float32),
    np.array([0.1, 0.1, 0.1, 0.1], np.float32),
    np.array([0.6, 0.3, 0.5, 0.2, 0.1, 0.3], np.float32),
)
"""A guess by hand: what steers while the first measures for learning are gathered."""


def load_weights(path: str | None = None) -> Weights:
    """The shipped weights, or those of a safetensors file. Raises `WeightsError`."""
    if path is None:
        with as_file(files("everyframe.operators.flow") / "data" / _SHIPPED) as shipped:
            return _load(shipped)
    return _load(Path(path))


def save_weights(weights: Weights, path: str) -> None:
    """Writes a safetensors file. Raises `WeightsError` where that is not possible."""
    try:
        Path(path).write_bytes(save({name: getattr(weights, name) for name in _KINDS}))
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
    for name, measures in _KINDS.items():
        values = state.get(name)
        if values is None or values.shape != (len(measures),) or values.dtype != np.float32:
            raise WeightsError(
                f"The weights {path} have no {len(measures)} float32 values {name}; give a file of train-flow."
            )
        if not np.isfinite(values).all() or (values < 0).any():
            raise WeightsError(f"The weights {path} hold negative or infinite values in {name}; train them again.")
    return Weights(state["cells"], state["blobs"], state["tracks"])
