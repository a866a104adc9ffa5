"""`everyframe replay`: what policies would have cost and missed on what was recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.commands.evaluate import Ticker, labelled_frames, show
from everyframe.pipeline.errors import UsageError


def replay(
    trace: Annotated[str, Parameter(help="A trace that everyframe record made.")],
    /,
    *,
    policy: Annotated[
        list[str] | None,
        Parameter(
            help="A policy to replay; give it several times. As for run, but none that looks at parts of pictures. "
            "[default: motion]",
            group=o.LABELS,
            negative=(),
        ),
    ] = None,
    mode: o.ModeOptions = o.MODE,
    truth: o.TruthOption = None,
    labelled: o.LabelledOption = None,
    classes: o.ClassesOption = None,
    limit: o.LimitOption = None,
    seed: o.SeedOption = None,
    costs: Annotated[
        str | None,
        Parameter(help="What everyframe costs --json printed on another machine: its CNN in place of this one's.", group=o.ENGINE),
    ] = None,
    detect_ms: Annotated[
        float | None, Parameter(help="CPU ms of the CNN, in place of what the trace says.", group=o.ENGINE)
    ] = None,
    decode_ms: Annotated[
        float | None,
        Parameter(help="CPU ms of decoding a frame, in place of what the trace says; other steps in proportion.", group=o.ENGINE),
    ] = None,
    capacities: o.CapacitiesOption = None,
    plot: o.PlotOption = None,
    json: o.JsonFlag = False,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
) -> int:
    """Replay policies on a recorded clip, on this machine's costs or another's: seconds, nothing is decoded."""
    from everyframe.pipeline.config import make_settings

    options = o.given(mode, classes=classes, limit=limit, seed=seed, capacities=capacities)
    settings = make_settings(options).label_settings()
    between = labelled_frames(labelled)
    _check(costs, detect_ms, decode_ms)

    from everyframe.pipeline.traces.format import load
    from everyframe.pipeline.traces.replay import Machine, machine_from
    from everyframe.pipeline.traces.replay import replay as play
    from everyframe.pipeline.traces.second import load_second, second_path
    from everyframe.pipeline.truth import load_truth

    recorded = load(trace)
    machine = Machine(detect_ms, decode_ms) if costs is None else machine_from(costs, recorded, decode_ms)
    known = None if truth is None else load_truth(truth, between)
    seconds = [load_second(second_path(trace, capacity.name), recorded) for capacity in settings.capacities]
    costs_now = machine.costs(recorded)
    full_ms = costs_now["detect"] + costs_now["prepare"]
    settings = replace(settings, capacities=tuple(second.capacity(full_ms) for second in seconds))
    progress = None if quiet else Ticker()
    rows = play(recorded, policy or ["motion"], settings, machine, known, progress, seconds)
    return show(rows, plot, json)


def _check(costs: str | None, detect_ms: float | None, decode_ms: float | None) -> None:
    if costs is not None and detect_ms is not None:
        raise UsageError("--costs and --detect-ms both say what the CNN costs: give one of them")
    for name, value in (("--detect-ms", detect_ms), ("--decode-ms", decode_ms)):
        if value is not None and not 0 < value < 1e6:
            raise UsageError(f"{name}: write milliseconds above 0, not {value:g}")
