"""`everyframe search`: the best detector for a camera's pictures within a time per look."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError

if TYPE_CHECKING:
    from everyframe.pipeline.compression.search import Found, Outcome


def search(
    *video: Annotated[str, Parameter(help="Videos of the cameras that the model is for; globs are expanded.")],
    out: Annotated[str, Parameter(help="File for the model. [default: chosen.safetensors]", group=o.OUTPUT)] = "chosen.safetensors",
    model: Annotated[str, Parameter(help="What to cut from: full, a .safetensors file of NanoDet-g, or one of compress --recipe slim. [default: full]", group=o.MODEL)] = "full",
    budget_ms: Annotated[float | None, Parameter(help="CPU ms of a look here, at most.", group=o.MODEL)] = None,
    speedup: Annotated[float | None, Parameter(help="How many times faster than the full model a look is to be here. [default: 8]", group=o.MODEL)] = None,
    minutes: Annotated[float, Parameter(help="For all of it. [default: 30]", group=o.MODEL)] = 30.0,
    check: Annotated[list[str] | None, Parameter(help="Videos for the report. [default: the second half of the others, which is then not learned from]", group=o.MODEL)] = None,
    classes: o.ClassesOption = None,
    settle: Annotated[int, Parameter(help="Steps of learning of each design before it is judged. [default: 0]", group=o.MODEL)] = 0,
    steps: Annotated[int, Parameter(help="Steps of learning of the chosen design, at most; 0 for none. [default: 1000]", group=o.MODEL)] = 1000,
    generations: Annotated[int, Parameter(help="At most. [default: 100]", group=o.MODEL)] = 100,
    population: Annotated[int, Parameter(help="Designs of a generation. [default: 16]", group=o.MODEL)] = 16,
    float32: Annotated[bool, o.flag("Leave weights and activations in floating point.", o.MODEL)] = False,
    imgsz: o.ImgszOption = None,
    threads: Annotated[int | None, Parameter(help="To learn with. [default: all]", group=o.MODEL)] = None,
    seed: o.SeedOption = None,
    plot: Annotated[str | None, Parameter(help="Picture file to draw what was tried into, .png or .svg.", group=o.OUTPUT)] = None,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
    json: o.JsonFlag = False,
) -> int:
    """Search input size, widths, depth, kernels and precision for the best detector within a time per look.

    Times are measured on this machine; accuracy is F1 against the full model on pictures that no weights come from. Ctrl-C prints what
    was found so far; the same call goes on from there.
    """  # fmt: skip
    from everyframe.pipeline.compression.plotting import plot_search
    from everyframe.pipeline.compression.search import Goal, Interrupted
    from everyframe.pipeline.compression.search import search as searched
    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.runs.inputs import expand
    from everyframe.pipeline.runs.progress import make_progress

    if not video:
        raise UsageError("no VIDEO given: name some of the camera, as in everyframe search gate.mp4 --speedup 8")
    if budget_ms is not None and speedup is not None:
        raise UsageError("--budget-ms and --speedup say the same twice: leave one out")
    if budget_ms is not None and not budget_ms > 0:
        raise UsageError(f"--budget-ms: give more than 0, not {budget_ms:g}")
    chosen = make_settings(o.given(classes=classes, imgsz=imgsz, seed=seed))
    goal = Goal(tuple(expand(list(video))), out, model, budget_ms, speedup or 8.0, tuple(expand(o.split(check))), chosen.classes, minutes, generations,
                population, settle, steps, float32, chosen.imgsz, chosen.seed, threads or len(os.sched_getaffinity(0)))  # fmt: skip
    try:
        with make_progress(quiet) as progress:
            outcome = searched(goal, progress.note)
    except Interrupted as stop:
        _show(stop.judged, json)
        if plot is not None and stop.judged:
            plot_search(stop.judged, stop.budget_ms, plot)
        raise
    if plot is not None:
        plot_search(outcome.judged, outcome.budget_ms, plot)
    _show(outcome.judged, json, outcome)
    return 0


def _show(judged: Sequence[Found], as_json: bool, outcome: Outcome | None = None) -> None:
    """The front, and what came of it."""
    import orjson
    from rich.console import Console
    from rich.table import Table

    from everyframe.pipeline.compression.search import front

    rows = [{"imgsz": f.design.imgsz, "net": str(f.design.subnet), "precision": f.design.precision, "ms": f.ms, "f1": f.f1} for f in front(judged)]
    if as_json:
        said: dict[str, object] = {"front": rows, "judged": len(judged), "finished": outcome is not None}
        if outcome is not None:
            verdict = {name: getattr(outcome.later, name) for name in outcome.later.__slots__} | {"speedup": outcome.later.speedup}
            said |= {"budget_ms": outcome.budget_ms, "full_ms": outcome.full_ms, "chosen": str(outcome.chosen.design), "ms": outcome.chosen.ms,
                     "f1": outcome.chosen.f1, "steps": outcome.steps, "minutes": outcome.minutes, "later": verdict}  # fmt: skip
        print(orjson.dumps(said).decode())
        return
    table = Table("picture", "net", "precision", "CPU ms a look", "F1 before learning", title=f"{len(judged)} designs tried", title_justify="left")
    for row in rows:
        table.add_row(f"{row['imgsz']}", f"{row['net']}", f"{row['precision']}", f"{row['ms']:.2f}", f"{row['f1']:.3f}")
    Console().print(table)
    if outcome is None:
        print("Interrupted: the same call goes on from here.")
        return
    later = outcome.later
    print(f"{later.model}: {outcome.chosen.design}; {outcome.steps} steps of learning, {outcome.minutes:.1f} minutes in all, {later.bytes / 1e6:.1f} MB")
    print(f"  pictures that nothing was chosen by: F1 {later.f1:.3f} against the full model ({later.frames} pictures, {later.objects} objects)")
    print(f"  {later.cpu_ms:.2f} ms a look here, {later.speedup:.1f} x faster than {later.full_ms:.1f} ms; asked for {outcome.budget_ms:.2f} ms")
    print(f"Use it:  everyframe run VIDEO --model {later.model}")
