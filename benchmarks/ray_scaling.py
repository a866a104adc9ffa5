"""Do two workers halve the time of two long files, for the same CPU? Start-up of either engine aside.

Targets: CPU at most 1.2 times and wall time at most .65 times that of the local engine. Each engine labels the same files
in a process of its own; time counts from the first source that is open to the last record.
    python benchmarks/ray_scaling.py --write
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
from common import CLIPS

from everyframe.pipeline.engines.base import Chunk, Finished, Started
from everyframe.pipeline.runs.engine_choice import Choice, make_engine
from everyframe.pipeline.settings import RunSettings

MOST_CPU, MOST_WALL = 1.2, 0.65


def measure(engine_name: str, paths: list[str], settings: RunSettings) -> dict[str, Any]:
    """Labels the files; CPU ms as the workers count it, wall seconds without start-up."""
    engine = make_engine(Choice("ray" if engine_name == "ray" else "local", "benchmark"), settings)
    began: float | None = None
    cpu_ms, frames = 0.0, 0
    try:
        for event in engine.run(paths, settings.label_settings()):
            if isinstance(event, Started) and began is None:
                began = time.monotonic()
            elif isinstance(event, Chunk):
                frames += len(event.labels)
            elif isinstance(event, Finished):
                if event.error is not None:
                    raise event.error
                cpu_ms += event.stats.total_cpu_ms
    finally:
        engine.close()
    return {"wall_s": time.monotonic() - (began or 0.0), "cpu_ms": cpu_ms, "frames": frames}


def apart(engine: str, paths: list[str], arguments: list[str]) -> dict[str, Any]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--engine", engine, "--paths", *paths, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--frames", type=int, default=4000, help="of each of the two files, at least")
    made.add_argument("--clip", default="pets_s2l1_ip", choices=sorted(CLIPS))
    made.add_argument("--policy", default="stride:10")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--engine", choices=("local", "ray"), help="only this engine, on --paths")
    made.add_argument("--paths", nargs="+", default=[])
    options = made.parse_args()
    settings = RunSettings(
        policy=options.policy, runtime=options.runtime, precision=options.precision, limit=options.limit,
        workers=options.workers if options.engine == "ray" else None,
    )  # fmt: skip
    if options.engine:
        print(json.dumps(measure(options.engine, options.paths, settings)))
        return
    common.need_data()
    arguments = ["--policy", options.policy, "--workers", str(options.workers),
                 "--runtime", options.runtime, "--precision", options.precision]  # fmt: skip
    arguments += [] if options.limit is None else ["--limit", str(options.limit)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            str(common.concatenate(CLIPS[options.clip].path, options.frames, Path(folder) / f"{name}.mp4"))
            for name in ("one", "two")
        ]
        local, ray = (apart(engine, paths, arguments) for engine in ("local", "ray"))
    cpu, wall = ray["cpu_ms"] / local["cpu_ms"], ray["wall_s"] / local["wall_s"]
    heads = ("", "frames", "ray", "local", "ratio", "at most", "met")
    lines = [
        ("CPU, s", str(ray["frames"]), f"{ray['cpu_ms'] / 1e3:.1f}", f"{local['cpu_ms'] / 1e3:.1f}",
         f"{cpu:.3f}", str(MOST_CPU), "yes" if cpu <= MOST_CPU else "**no**"),
        ("wall, s", str(ray["frames"]), f"{ray['wall_s']:.1f}", f"{local['wall_s']:.1f}",
         f"{wall:.3f}", str(MOST_WALL), "yes" if wall <= MOST_WALL else "**no**"),
    ]  # fmt: skip
    common.publish("ray", common.markdown(heads, lines), options.write)


if __name__ == "__main__":
    main()
