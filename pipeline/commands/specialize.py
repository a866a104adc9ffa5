"""`everyframe specialize`: a model for one camera, from its own video."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError


def specialize(
    *video: Annotated[str, Parameter(help="Videos of one fixed camera; globs are expanded. Minutes of it, busy ones.")],
    out: Annotated[str, Parameter(help="File for the model. [default: camera.safetensors]", group=o.OUTPUT)] = "camera.safetensors",
    classes: o.ClassesOption = None,
    speedup: Annotated[float, Parameter(help="How many times faster a look is to be here. [default: 8]", group=o.MODEL)] = 8.0,
    target_f1: Annotated[float, Parameter(help="F1 against the full model at which learning stops. [default: 0.95]", group=o.MODEL)] = 0.95,
    steps: Annotated[int, Parameter(help="Steps of learning at most, 100 or more; a step is 8 pictures. [default: 1200]", group=o.MODEL)] = 1200,
    teacher: Annotated[str, Parameter(help="What to learn from: full, or a .safetensors file. [default: full]", group=o.MODEL)] = "full",
    imgsz: o.ImgszOption = None,
    threads: Annotated[int | None, Parameter(help="To learn with. [default: all]", group=o.MODEL)] = None,
    seed: o.SeedOption = None,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
    json: o.JsonFlag = False,
) -> int:
    """Make a small model for a camera from its own unlabelled video.

    The first half of the video is learned from, the second tells how good the model is later. A run with it has the full model
    look now and then, and goes back to that where the two no longer agree (night, snow, a camera that was turned).
    """
    import orjson

    from everyframe.pipeline.compression.specialize import ROUND, Wish
    from everyframe.pipeline.compression.specialize import specialize as made_for
    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.runs.inputs import expand
    from everyframe.pipeline.runs.progress import make_progress

    if not video:
        raise UsageError("no VIDEO given: name some of one camera, as in everyframe specialize gate.mp4 --classes person")
    if steps < ROUND:
        raise UsageError(f"--steps: give {ROUND} or more, not {steps}")
    if not 0 < target_f1 <= 1 or speedup < 1:
        raise UsageError("--target-f1 is more than 0 and at most 1, --speedup at least 1")
    chosen = make_settings(o.given(classes=classes, imgsz=imgsz, seed=seed))
    wish = Wish(tuple(expand(list(video))), out, chosen.classes, speedup, target_f1, steps, chosen.imgsz, chosen.seed, teacher,
                threads or len(os.sched_getaffinity(0)))  # fmt: skip
    with make_progress(quiet) as progress:
        made = made_for(wish, progress.note)
    later = made.later
    if json:
        row = {name: getattr(later, name) for name in later.__slots__} | {"speedup": later.speedup}
        shape = {"share": made.shape.share, "imgsz": made.shape.imgsz}
        print(orjson.dumps({**shape, "steps": made.steps, "rounds": made.rounds, "stopped_f1": made.stopped_f1, **row, "minutes": made.minutes}).decode())
        return 0
    print(f"{out}: {made.shape}, {made.steps} steps in {made.minutes:.1f} minutes, {later.bytes / 1e6:.1f} MB")
    print(f"  later video of the camera: F1 {later.f1:.3f} against the full model ({later.frames} pictures, {later.objects} objects)")
    print(f"  {later.cpu_ms:.1f} ms a look here, {later.speedup:.1f} x faster than {later.full_ms:.1f} ms")
    if not later.f1 >= target_f1 - 0.05:
        print("  Don't trust it yet: give more video of different hours, a smaller --speedup, or more --steps.")
    print(f"Use it:  everyframe run VIDEO --model {out}   (for this camera only)")
    return 0
