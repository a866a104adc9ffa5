"""What the benchmarks share: the clips, results that outlive a run, long files, tables in docs/results.md."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import av
import cv2

from everyframe.operators.detectors import coco
from everyframe.operators.types import Objects
from everyframe.pipeline.costs.machine import cpu_name
from everyframe.pipeline.engines.base import Chunk, Engine, Finished, RunStats
from everyframe.pipeline.settings import LabelSettings, ModelSettings

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "docs" / "results.md"

PERSON = ("person",)
TRAFFIC = tuple(
    name for name, group in zip(coco.NAMES, coco.SUPERCATEGORY, strict=True) if group in ("person", "vehicle")
)
"""People and vehicles: what the clips show, and what their ground truth labels."""


@dataclass(frozen=True, slots=True)
class Clip:
    """file: below `DATA`. truth: a MOT file there. labelled: its labelled frames where rows alone don't say."""

    file: str
    truth: str | None = None
    labelled: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return Path(self.file).stem

    @property
    def path(self) -> Path:
        return DATA / self.file

    @property
    def truth_path(self) -> str | None:
        return None if self.truth is None else str(DATA / self.truth)


CLIPS = {
    clip.name: clip
    for clip in (
        Clip("pets_s2l1/pets_s2l1_ip.mp4", "pets_s2l1/gt.txt", (1, 795)),
        Clip("highway/highway_ip.mp4", "highway/gt.txt", (470, 1000)),
        Clip("idle/one_by_one_person.mp4"),
        Clip("office/office_ip.mp4", "office/gt.txt", (120, 1600)),
        Clip("street/street.mp4"),
        Clip("parking/parking.mp4"),
        Clip("freeway/freeway_ip.mp4"),
        Clip("adl_rundle6/adl_rundle6_ip.mp4", "adl_rundle6/gt.txt", (1, 525)),
        Clip("walkway/walkway.mp4"),
        Clip("crossing/crossing.mp4"),
        Clip("room/room.mp4"),
        Clip("fall/fall_ip.mp4"),  # its truth leaves out the parked cars, which every detector reports
        Clip("pets_s2l1/pets_s2l1_b3.mp4", "pets_s2l1/gt.txt", (1, 795)),
        Clip("valley_webcam/valley_webcam.mp4"),
        Clip("plaza/plaza.mp4"),
        Clip("freeway720/freeway720.mp4"),
        Clip("motorway_webcam/motorway_webcam.mp4"),
        Clip("adl_rundle6/adl_rundle6_b3.mp4", "adl_rundle6/gt.txt", (1, 525)),
        Clip("office/office_b3.mp4", "office/gt.txt", (120, 1600)),
        Clip("traffic_jitter/traffic_jitter_ip.mp4", "traffic_jitter/gt.txt", (500, 1170)),
        Clip("idle/car_detection.mp4"),
        Clip("moving/dashcam.mp4"),
        Clip("moving/dashcam_day.mp4"),
        Clip("moving/dashcam_dusk.mp4"),
    )
}
TWELVE = (
    "pets_s2l1_ip", "highway_ip", "one_by_one_person", "office_ip", "street", "parking", "freeway_ip",
    "adl_rundle6_ip", "walkway", "crossing", "room", "fall_ip",
)  # fmt: skip
"""The clips that means are taken over."""
VALIDATION = ("fall_ip", "freeway720", "plaza", "room", "valley_webcam", "one_by_one_person", "dashcam_dusk")
"""Cameras that nothing is fitted to."""
LONG = ("pets_s2l1_ip", "highway_ip", "office_ip", "street", "crossing", "fall_ip", "one_by_one_person")
"""Some of 500 frames and more."""


def parser(description: str) -> argparse.ArgumentParser:
    """Options that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--limit", type=int, help="frames of each clip, for a quick look")
    made.add_argument("--runtime", default="torch", choices=("auto", "torch", "openvino"))
    made.add_argument("--precision", default="f32", choices=("auto", "f32", "bf16"))
    made.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    return made


def add_clips(made: argparse.ArgumentParser, default: str) -> None:
    """The option --clip, which may be repeated. default: in words, which clips are taken without it."""
    made.add_argument(
        "--clip", action="append", choices=sorted(CLIPS), help=f"may be repeated; default: {default}"
    )


def model_of(options: argparse.Namespace) -> ModelSettings:
    return ModelSettings(runtime=options.runtime, precision=options.precision)


def need_data() -> None:
    """Ends the script where the clips are not there."""
    if not DATA.is_dir():
        sys.exit(f"benchmarks need the clips in {DATA}")


def command_line() -> str:
    """How this run was started, for the reader of a table."""
    script = Path(sys.argv[0]).resolve().relative_to(ROOT)
    return shlex.join(["python", str(script), *(a for a in sys.argv[1:] if a != "--write")])


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


APART = (
    "cli.py",
    "demo.py",
    "doctor.py",
    "progress.py",
    "summary.py",
    "commands",
    "sinks",
    "drawing.py",
    "overlay.py",
)
"""Parts of `pipeline/` that no figure depends on."""


def code_digest() -> str:
    """Hash of all code that figures depend on: results of other code are not taken up again."""
    digest = blake2b(digest_size=8)
    for folder in ("operators", "policies", "pipeline"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            if folder != "pipeline" or inside.parts[0] not in APART:
                digest.update(path.read_bytes())
    return digest.hexdigest()


class Store:
    """Results as JSON lines, so that a run that was cut off goes on where it stopped.

    Known by the settings and the code that made them; `again` measures anew. code: a digest of it, by default of all.
    """

    def __init__(self, path: Path, again: bool = False, code: str | None = None) -> None:
        self._path = path
        self._rows: dict[str, dict[str, Any]] = {}
        self._again = again
        self._code = code_digest() if code is None else code
        if path.is_file():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self._rows[entry["key"]] = entry["row"]

    def get(self, key: Sequence[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of a key, made where it is not there."""
        name = json.dumps([*key, self._code])
        if self._again or name not in self._rows:
            self._rows[name] = make()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps({"key": name, "row": self._rows[name]}) + "\n")
        return self._rows[name]


def verdict(good: bool) -> str:
    """Whether a figure is reached, in a table."""
    return "yes" if good else "**no**"


def number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def publish(section: str, text: str, write: bool) -> None:
    """Prints a section and, if asked to, puts it between its markers in docs/results.md."""
    body = f"`{command_line()}` on {cpu_name()}\n\n{text}\n"
    print(f"\n## {section}\n{body}")
    if not write:
        return
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    page = RESULTS.read_text()
    head, found, rest = page.partition(begin)
    _, ended, tail = rest.partition(end)
    if not found or not ended:
        sys.exit(f"{RESULTS} has no markers {begin} ... {end}")
    RESULTS.write_text(f"{head}{begin}\n{body}{end}{tail}")


def labelled(engine: Engine, video: Path, settings: LabelSettings) -> tuple[list[Objects], RunStats]:
    """A run's objects, one for each frame, and its counts. Raises what ended the run early."""
    found: list[Objects] = []
    for event in engine.run([str(video)], settings):
        if isinstance(event, Chunk):
            found += [record.objects for record in event.labels]
        elif isinstance(event, Finished):
            if event.error is not None:
                raise event.error
            return found, event.stats
    raise AssertionError("a run ends with Finished")


def concatenate(source: Path, frames: int, target: Path) -> Path:
    """A file of at least `frames` frames: the clip's packets over and over, not coded anew."""
    written = 0
    with av.open(str(target), "w") as output:
        stream = None
        while written < frames:
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video)
                    step = int(1 / (video.average_rate * video.time_base))
                shift = written * step
                for packet in container.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    output.mux(packet)
                    written += 1
    return target


def one_thread() -> None:
    """All steps on one thread, as a worker has it."""
    cv2.setNumThreads(1)
