"""Tables kept beside their traces: made once, found again by all that they are a function of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from everyframe.pipeline.errors import SourceError
from everyframe.pipeline.traces import format as tf
from everyframe.pipeline.traces.tables import Told, build
from everyframe.policies.features import HORIZON
from everyframe.policies.simulation.table import Between, Carried, ClipTable, Costs

FORMAT = 3
_PARTS: dict[str, Any] = {"costs": Costs, "carried": Carried, "between": Between}


def table_of(
    path: str | os.PathLike[str],
    classes: Sequence[str] = (),
    horizon: int = HORIZON,
    both_sides: bool = True,
    told: Told | None = None,
) -> ClipTable:
    """The table of the trace at `path`: loaded if it was made before, else made (see `tables.build`) and kept beside it.

    Raises SourceError: no usable trace.
    """
    file = _table_path(Path(path), classes, horizon, both_sides)
    known = _load(file)
    if known is not None:
        return known
    table = build(tf.load(path), classes, horizon, both_sides, told)
    tf.save_arrays(_flat(table), file)
    return table


def _table_path(path: Path, classes: Sequence[str], horizon: int, both_sides: bool) -> Path:
    try:
        digest = blake2b(path.read_bytes(), digest_size=8)
    except OSError as e:
        raise SourceError(f"Cannot read the trace {path}: {e.strerror or e}; make one with everyframe record.") from e
    digest.update(repr((FORMAT, sorted(classes), horizon, both_sides)).encode())
    return path.with_name(f"{path.name.removesuffix(tf.SUFFIX)}.{digest.hexdigest()}.table.npz")


def _flat(table: ClipTable) -> dict[str, Any]:
    """Arrays by dotted names; None is left out."""
    arrays: dict[str, Any] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if field.name in _PARTS:
            if value is not None:
                arrays |= {f"{field.name}.{key}": part for key, part in asdict(value).items()}
        else:
            arrays[field.name] = value
    return arrays


def _load(file: Path) -> ClipTable | None:
    """None where there is nothing usable."""
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        parts: dict[str, Any] = {}
        for name, kind in _PARTS.items():
            found = {key.partition(".")[2]: _plain(v) for key, v in arrays.items() if key.startswith(f"{name}.")}
            parts[name] = kind(**found) if found else None
        rest = {key: _plain(value) for key, value in arrays.items() if "." not in key}
        return ClipTable(**rest, **parts)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _plain(value: Any) -> Any:
    return value if value.ndim else value.item()
