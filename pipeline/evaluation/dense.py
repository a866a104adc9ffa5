"""The dense side of a comparison: the detector on every frame, its detections cached, its cost measured each time."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from everyframe.operators.types import U8, Objects
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.errors import SourceBroken, SourceError, mask_secrets
from everyframe.pipeline.frames.decoder import Decoder
from everyframe.pipeline.meter import Meter
from everyframe.pipeline.models import LoadedDetector
from everyframe.pipeline.records import Slot
from everyframe.pipeline.sources.file import FileSource

FORMAT = 1
SAMPLES = 120
"""Frames on which the CNN's cost is measured where the detections are in the cache."""

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, frames done, and frames expected or None."""


@dataclass(frozen=True, slots=True)
class Dense:
    """The detector on every frame of a clip.

    frames: objects of each frame, scores from the detector's lowest up. pictures (n,) uint64: `picture_key` of each
    that the CNN saw, else 0. cpu_ms: CPU ms per frame for opening, demuxing, plain decoding, converting and the CNN,
    None where not measured.
    """

    frames: list[Objects]
    pictures: NDArray[np.uint64]
    cpu_ms: float | None


def picture_key(picture: U8) -> int:
    """64-bit hash of a picture's pixels."""
    return int.from_bytes(blake2b(np.ascontiguousarray(picture).data, digest_size=8).digest(), "little")


def dense(
    video: str,
    detector: LoadedDetector,
    limit: int | None = None,
    measure: bool = True,
    progress: Progress | None = None,
) -> Dense:
    """Detections on every frame of a clip, or its first `limit`; from the cache where they are there.

    measure: decode the clip also if it is in the cache, with the CNN on `SAMPLES` spread frames, for the cost.
    Raises SourceError where the clip cannot be read to its end.
    """
    path = _cache_path(video, detector)
    known = _load(path, limit)
    if known is not None and not measure:
        return known
    n = len(known.frames) if known is not None else None
    looked = None if n is None else set(np.linspace(0, n - 1, min(n, SAMPLES)).round().astype(int).tolist())
    fresh = _run(video, detector, limit, looked, progress)
    if known is not None:
        return Dense(known.frames, known.pictures, fresh.cpu_ms)
    _store(path if limit is None else path.with_suffix(f".{len(fresh.frames)}.npz"), fresh)
    return fresh


def _run(
    video: str,
    detector: LoadedDetector,
    limit: int | None,
    looked: set[int] | None,
    progress: Progress | None,
) -> Dense:
    """Decodes all frames; the CNN sees those in `looked`, None for all."""
    frames: list[Objects] = []
    keys: list[int] = []
    meter = Meter()
    seen = 0
    start = process_time()
    with FileSource(video) as source:
        meter.add("decode", (process_time() - start) * 1e3)
        # The runtime makes its buffers, or compiles, at the first picture of a size.
        detector.detect(np.zeros((source.info.height, source.info.width, 3), np.uint8))
        expected = source.info.frames if limit is None else min(limit, source.info.frames or limit)
        for index, slot in enumerate(_slots(source, limit)):
            meter.add("decode", slot.demux_ms + slot.decode_ms)
            objects, key = Objects.empty(), 0
            if slot.frame is not None and (looked is None or index in looked):
                with meter.step("cnn"):
                    picture = slot.frame.picture()
                    objects = detector.detect(picture)
                seen += 1
                key = picture_key(picture)
            frames.append(objects)
            keys.append(key)
            if progress is not None:
                progress("dense", index + 1, expected)
    if not frames:
        raise SourceError(f"{source.info.path} has no frames to evaluate: name another video.")
    total = meter.total
    cost = total.get("decode", 0.0) / len(frames) + total.get("cnn", 0.0) / max(seen, 1)
    return Dense(frames, np.array(keys, np.uint64), cost)


def plain_slots(video: str, limit: int | None = None) -> Iterator[Slot]:
    """All frames of a clip, decoded as one would who wants pictures only. Raises SourceError."""
    with FileSource(video) as source:
        yield from _slots(source, limit)


def _slots(source: FileSource, limit: int | None) -> Iterator[Slot]:
    """All frames, decoded as one would who wants pictures only."""
    decoder = Decoder(source, vectors=False)
    count = 0
    try:
        for packet in source.packets():
            for slot in decoder.push(packet, True):
                yield slot
                count += 1
                if count == limit:
                    return
    except SourceBroken as e:
        raise SourceError(f"{e} Evaluate the part before the break with --limit.") from e
    yield from decoder.finish()[: None if limit is None else limit - count]


def video_digest(video: str) -> blake2b:
    """128-bit hash of a file's bytes, to which more may be added. Raises SourceError."""
    digest = blake2b(digest_size=16)
    try:
        with open(video, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as e:
        raise SourceError(f"Cannot read {mask_secrets(video)}: {e.strerror or e}; name a video file.") from e
    return digest


def _cache_path(video: str, detector: LoadedDetector) -> Path:
    """Named by all that the detections are a function of."""
    digest = video_digest(video)
    settings = [
        FORMAT,
        detector.digest,
        detector.imgsz,
        detector.runtime,
        detector.precision,
        detector.min_score,
    ]
    digest.update(json.dumps(settings).encode())
    return cache_dir() / "detections" / f"{digest.hexdigest()}.npz"


def _load(path: Path, limit: int | None) -> Dense | None:
    """None where there is nothing usable: a damaged file is as good as none."""
    paths = [path] if limit is None else [path, path.with_suffix(f".{limit}.npz")]
    for candidate in paths:
        try:
            with np.load(candidate, allow_pickle=False) as data:
                bounds = np.cumsum(data["counts"])[:-1]
                parts = [np.split(data[name], bounds) for name in ("xyxy", "score", "class_id")]
                frames = [Objects.of(*row) for row in zip(*parts, strict=True)][:limit]
                return Dense(frames, data["pictures"][:limit], None)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue
    return None


def _store(path: Path, fresh: Dense) -> None:
    """Keeps the detections; a cache that cannot be written costs time, nothing else."""
    whole = Objects.concat(fresh.frames)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
            np.savez_compressed(
                file,
                counts=np.array([len(objects) for objects in fresh.frames], np.int64),
                xyxy=whole.xyxy,
                score=whole.score,
                class_id=whole.class_id,
                pictures=fresh.pictures,
            )
        os.replace(part, path)
    except OSError:
        if part is not None:
            part.unlink(missing_ok=True)
