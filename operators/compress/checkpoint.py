"""What a training keeps on its way, so that it goes on where it was cut off."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

UNLIKE = (RuntimeError, KeyError, ValueError, EOFError, OSError)
"""What reading a file, or taking its values into a net, raises where it is no checkpoint of a like net."""


def save(path: Path, values: Mapping[str, Any]) -> None:
    """The file is there whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    part = path.with_suffix(".part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)


def load(path: Path | None) -> Mapping[str, Any]:
    """What `save` kept; empty where there is no file. Raises one of `UNLIKE` where it is something else."""
    if path is None or not path.is_file():
        return {}
    found: Mapping[str, Any] = torch.load(path, weights_only=True)
    return found
