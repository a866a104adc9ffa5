"""`everyframe simulate`: synthetic cameras with exact ground truth."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError


def simulate(
    *,
    out: Annotated[
        str, Parameter(help="Folder for the videos, their truth and cameras.json.", group=o.OUTPUT)
    ],
    cameras: Annotated[int, Parameter(help="How many. [default: 20]", group=o.LABELS)] = 20,
    seconds: Annotated[float, Parameter(help="Length of each video. [default: 60]", group=o.LABELS)] = 60.0,
    seed: Annotated[int, Parameter(help="Equal seeds give equal cameras. [default: 0]", group=o.LABELS)] = 0,
    size: Annotated[
        str | None, Parameter(help="Picture size of all, as in 640x360. [default: drawn]", group=o.LABELS)
    ] = None,
    rate: Annotated[
        int | None, Parameter(help="Frames a second of all. [default: drawn, 5 to 30]", group=o.LABELS)
    ] = None,
    source: Annotated[
        list[str] | None,
        Parameter(
            name="--from",
            help="A real video that lends its background and its objects; may be repeated. [default: drawn ones]",
            group=o.LABELS,
            negative=(),
        ),
    ] = None,
    jobs: Annotated[int, Parameter(help="Processes. [default: 1]", group=o.ENGINE)] = 1,
    json: o.JsonFlag = False,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
) -> int:
    """Make videos of procedural scenes, coded as cameras code them, with exact ground truth."""
    _check(cameras, seconds, seed, rate, jobs)
    wanted = None if size is None else _size(size)

    from pathlib import Path

    from everyframe.pipeline.synthetic.make import INDEX, Order, make_cameras

    order = Order(cameras, seconds, seed, wanted, rate, tuple(source or ()))
    made = make_cameras(order, Path(out), jobs, None if quiet else _tell)
    if json:
        import orjson

        print(
            orjson.dumps({"cameras": str(Path(out) / INDEX), "videos": [str(path) for path in made]}).decode()
        )
    else:
        print(f"{len(made)} cameras in {out}; all that was drawn is in {Path(out) / INDEX}")
    return 0


def _tell(name: str, done: int, count: int) -> None:
    print(f"{name}: {done} of {count} cameras", file=sys.stderr, flush=True)


def _check(cameras: int, seconds: float, seed: int, rate: int | None, jobs: int) -> None:
    if not 1 <= cameras <= 10_000:
        raise UsageError(f"--cameras: give 1 to 10000, not {cameras}")
    if not 0 < seconds <= 86_400:
        raise UsageError(f"--seconds: give more than 0 and at most 86400, not {seconds:g}")
    if seed < 0:
        raise UsageError(f"--seed: give 0 or more, not {seed}")
    if rate is not None and not 1 <= rate <= 60:
        raise UsageError(f"--rate: give 1 to 60 frames a second, not {rate}")
    if not 1 <= jobs <= 256:
        raise UsageError(f"--jobs: give 1 to 256, not {jobs}")


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isdecimal() and len(part) <= 4 for part in parts):
        width, height = int(parts[0]), int(parts[1])
        if 64 <= width <= 4096 and 64 <= height <= 4096 and width % 2 == height % 2 == 0:
            return width, height
    raise UsageError(
        f"--size: write width x height, even, 64 to 4096 pixels, as in 640x360, not {text[:40]!r}"
    )
