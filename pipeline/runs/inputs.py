"""What the user named as sources: globs expanded, doubles dropped, one name for each."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path


def expand(arguments: Sequence[str]) -> list[str]:
    """Paths in the order given. A glob that matches nothing stays as it is, so that its absence is reported."""
    paths: dict[str, str] = {}
    for argument in arguments:
        matches = [argument]
        if glob.has_magic(argument) and not Path(argument).exists():
            found = sorted(glob.glob(argument, recursive=True))
            matches = [path for path in found if not Path(path).is_dir()] or [argument]
        for path in matches:
            paths.setdefault(str(Path(path).resolve()), path)
    return list(paths.values())


def names_for(paths: Sequence[str]) -> list[str]:
    """A name for each path, used for its files and its Redis Stream: the stem where that is unique, else the file
    name, else with the folder before it, else with a number after it."""
    schemes: list[Callable[[Path], str]] = [
        lambda p: p.stem,
        lambda p: p.name,
        lambda p: f"{p.resolve().parent.name}-{p.name}",
    ]
    names: list[str | None] = [None] * len(paths)
    for scheme in schemes:
        tried = [
            scheme(Path(path)) if name is None else name for path, name in zip(paths, names, strict=True)
        ]
        names = [name if tried.count(name) == 1 else None for name in tried]
    used = {name for name in names if name is not None}
    for i, path in enumerate(paths):
        if names[i] is None:
            stem, number = Path(path).stem, 1
            while f"{stem}-{number}" in used:
                number += 1
            names[i] = f"{stem}-{number}"
            used.add(f"{stem}-{number}")
    return [name or "video" for name in names]
