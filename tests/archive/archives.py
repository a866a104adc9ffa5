"""Small archives for tests: real clips, drawn and encoded on the spot, labelled by the real CNN at a small size."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from tests.media import make_clip

from everyframe.pipeline.archive.engine import Crew, LocalCrew
from everyframe.pipeline.archive.labeller import ShardLabeller
from everyframe.pipeline.archive.plan import find_sources
from everyframe.pipeline.archive.progress import View
from everyframe.pipeline.archive.session import BatchOptions, BatchResult, label_archive
from everyframe.pipeline.settings import RunSettings

SHARD = 30
SETTINGS = RunSettings(policy="stride:10", imgsz=192, runtime="torch", precision="f32", redis="none")
OPTIONS = ("--policy", "stride:10", "--imgsz", "192", "--runtime", "torch", "--precision", "f32", "--shard-frames", str(SHARD))


def make_recordings(folder: Path, frames: tuple[int, ...] = (120, 90)) -> Path:
    """Clips of one camera each."""
    for i, count in enumerate(frames):
        camera = folder / f"cam{i}"
        camera.mkdir(parents=True)
        make_clip(camera / f"clip{i}.mp4", frames=count, width=192, height=128, gop=15)
    return folder


def label(
    sources: Path | list[str], out: Path, settings: RunSettings = SETTINGS, crew: Crew | None = None, **options: object
) -> BatchResult:
    """Runs `label_archive` in this process unless a crew is given."""
    specs = find_sources([str(sources)] if isinstance(sources, Path) else sources)
    told = BatchOptions(out, shard_frames=SHARD, **options)  # type: ignore[arg-type]
    view = View(io.StringIO())
    return label_archive(specs, settings, told, lambda: crew or LocalCrew(ShardLabeller(SHARD)), view)


def digests(out: Path) -> dict[str, str]:
    """Of all files that must be the same after every run of the same archive."""
    files = [path for kind in ("labels", "files") for path in sorted((out / kind).rglob("*")) if path.is_file()]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
