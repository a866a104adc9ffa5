"""What an archive is made from: files, folders, globs, URLs and manifests become sources, each with a fingerprint."""

from __future__ import annotations

import csv
import glob
import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from everyframe.operators.base import Prices
from everyframe.pipeline.archive.types import SourceSpec
from everyframe.pipeline.errors import EveryframeError, UsageError, mask_secrets
from everyframe.pipeline.settings import Capacity, Goal, LabelSettings, ModelSettings, RunSettings
from everyframe.pipeline.sources import remote
from everyframe.pipeline.sources.opening import RAW_SUFFIXES

VIDEO_SUFFIXES = RAW_SUFFIXES | {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".m2ts", ".mts", ".avi", ".flv", ".mpg", ".mpeg"}
"""What is taken from a folder; a file named by itself may have any ending."""
_ENDS = 64 << 10
_COLUMNS = ("path", "camera", "start_time")
GONE = "gone"


def find_sources(arguments: Sequence[str], manifest: str | None = None) -> list[SourceSpec]:
    """Sources in a fixed order: those of the arguments, sorted within each folder and glob, then those of the manifest. A path
    named twice counts once. Raises UsageError, SourceError."""
    specs: dict[str, SourceSpec] = {}
    for argument in arguments:
        for path in _expanded(argument):
            specs.setdefault(path, SourceSpec(path, camera_of(path)))
    if manifest is not None:
        for spec in read_manifest(Path(manifest)):
            specs[spec.path] = spec
    if not specs:
        raise UsageError("no SOURCE given: name files, folders, globs or --manifest, as in everyframe batch recordings/ --out labels")
    return list(specs.values())


def _expanded(argument: str) -> list[str]:
    if "://" in argument:
        return remote.expand(argument) or [argument] if glob.has_magic(argument.partition("?")[0]) else [argument]
    if os.path.isdir(argument):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(argument) for name in names]
        found = [path for path in found if Path(path).suffix.lower() in VIDEO_SUFFIXES]
        if not found:
            raise UsageError(f"{argument} holds no video files: name files, or a folder with mp4, mkv, ts, avi or the like")
    elif glob.has_magic(argument) and not os.path.exists(argument):
        found = [path for path in glob.glob(argument, recursive=True) if not os.path.isdir(path)] or [argument]
    else:
        found = [argument]
    return sorted(os.path.abspath(path) for path in found)


def camera_of(path: str) -> str:
    """The name of the folder that a file lies in: recordings are mostly kept by camera."""
    inside = path.split("?")[0].partition("://")[2] or path
    return Path(inside).parent.name or "camera"


def read_manifest(path: Path) -> list[SourceSpec]:
    """Sources of a CSV or Parquet table with the columns path, camera (may be empty) and start_time (ISO 8601, may be empty). Paths
    are relative to the table. Raises UsageError with the line that is wrong."""
    try:
        rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as e:
        raise UsageError(f"--manifest {path} cannot be read ({e}): name a CSV or Parquet file with a column path") from e
    return [_spec(path, number, row) for number, row in enumerate(rows, 2)]


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    rows: list[dict[str, Any]] = table.select([name for name in _COLUMNS if name in table.column_names]).to_pylist()
    return rows


def _spec(manifest: Path, number: int, row: dict[str, Any]) -> SourceSpec:
    where = str(row.get("path") or "").strip()
    if not where:
        raise UsageError(f"--manifest {manifest}, line {number}: no path; write path,camera,start_time in its first line")
    if "://" not in where:
        where = os.path.abspath(manifest.parent / where)
    moment: datetime | None = None
    said: object = row.get("start_time") or None
    if isinstance(said, datetime):
        moment = said
    elif said is not None:
        try:
            moment = datetime.fromisoformat(str(said).strip())
        except ValueError as e:
            raise UsageError(
                f"--manifest {manifest}, line {number}: start_time {str(said)[:40]!r} is not a time such as 2026-05-01T08:00:00Z"
            ) from e
    return SourceSpec(where, str(row.get("camera") or "").strip() or camera_of(where), moment)


def fingerprint(path: str) -> str:
    """Size, time of change, and a digest of a file's head and tail; for a URL its size and etag. `GONE` where it can't be read:
    the reason comes out when it is opened."""
    try:
        if remote.is_remote(path):
            size, tag = remote.fingerprint(path)
            return f"{size}:{tag}"
        facts = os.stat(path)
        return f"{facts.st_size}:{facts.st_mtime_ns}:{_ends_digest(path, facts.st_size)}"
    except (OSError, EveryframeError):
        return GONE


def is_same(path: str, known: str) -> bool:
    """Whether a source is what it was: where size and time of change are the same its bytes aren't read again; a copy with a new
    time but the same ends is the same."""
    if remote.is_remote(path):
        return fingerprint(path) in (known, GONE)
    try:
        facts = os.stat(path)
        size, _, rest = known.partition(":")
        mtime, _, digest = rest.partition(":")
        if str(facts.st_size) != size:
            return False
        return str(facts.st_mtime_ns) == mtime or _ends_digest(path, facts.st_size) == digest
    except OSError:
        return True  # it is gone, which is not a change


def _ends_digest(path: str, size: int) -> str:
    with open(path, "rb") as file:
        digest = hashlib.blake2b(file.read(_ENDS), digest_size=16)
        file.seek(max(size - _ENDS, 0))
        digest.update(file.read(_ENDS))
    return digest.hexdigest()


def names_of(paths: Iterable[str], taken: Iterable[str]) -> list[str]:
    """A name for each new source that no other has: its stem, or with a digest of its path behind. It stays for good."""
    used = set(taken)
    names = []
    for path in paths:
        stem = Path(path.split("?")[0]).stem or "video"
        name = stem if stem not in used else f"{stem}-{hashlib.blake2b(path.encode(), digest_size=4).hexdigest()}"
        used.add(name)
        names.append(name)
    return names


def settings_text(settings: LabelSettings) -> str:
    """Label settings as JSON, keys sorted."""
    values = asdict(settings)
    values["prices"]["crops"] = [[*size, ms] for size, ms in sorted(settings.prices.crops.items())]
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()


def settings_of(text: str) -> LabelSettings:
    """What `settings_text` wrote."""
    values = orjson.loads(text)
    prices = Prices(values["prices"]["rungs"], {(w, h): ms for w, h, ms in values["prices"]["crops"]})
    values |= {"prices": prices, "goal": Goal(**values["goal"]), "model": ModelSettings(**values["model"])}
    others = tuple(_capacity(**row) for row in values["capacities"])
    return LabelSettings(**{**values, "classes": tuple(values["classes"]), "capacities": others})


def _capacity(name: str, model: dict[str, Any], cost: float | None, error: float) -> Capacity:
    return Capacity(name, ModelSettings(**model), math.nan if cost is None else cost, error)


def told(
    settings: RunSettings, model_digest: str, formats: Sequence[str], budget: float | None, shard_frames: int
) -> dict[str, str]:
    """What an archive's labels and files depend on, as the user gave it: by this a rerun is known to be the same."""
    values = asdict(settings.label_settings())
    values.pop("prices")
    values.update({f"goal.{key}": value for key, value in values.pop("goal").items()})
    values.update(values.pop("model"))
    values |= {"weights": model_digest, "formats": ",".join(sorted(formats)), "budget_cpu_hours": budget}
    values |= {"shard_frames": shard_frames, "capacities": settings.capacities}
    return {key: ",".join(value) if isinstance(value, list | tuple) else str(value) for key, value in sorted(values.items())}


def differences(before: dict[str, str], now: dict[str, str]) -> str:
    """What two `told` differ in, as policy motion -> dense; empty where in nothing."""
    keys = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    return ", ".join(mask_secrets(f"{key} {before.get(key, '-')} -> {now.get(key, '-')}") for key in keys)
