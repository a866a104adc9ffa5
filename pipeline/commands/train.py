"""`everyframe train`: the policy `learned` from recorded traces."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError


def train(
    traces: Annotated[list[str], Parameter(help="Traces to train on, that everyframe record made.")],
    /,
    *,
    out: Annotated[str, Parameter(help="The weights: a .safetensors file.", group=o.OUTPUT)],
    judge: Annotated[
        list[str] | None,
        Parameter(
            name="--validation",
            help="A trace to choose by, of a camera that is not trained on; may be repeated. [default: every fifth of TRACES]",
            group=o.LABELS,
            negative=(),
        ),
    ] = None,
    classes: o.ClassesOption = None,
    minutes: Annotated[
        float, Parameter(help="Wall time of all trainings together, tables not counted. [default: 20]", group=o.ENGINE)
    ] = 20.0,
    steps: Annotated[int, Parameter(help="Gradient steps of each training. [default: 300]", group=o.ENGINE)] = 300,
    imitation: Annotated[
        int, Parameter(help="Of the steps, those at first that imitate the optimum in hindsight. [default: 0]", group=o.ENGINE)
    ] = 0,
    seeds: Annotated[int, Parameter(help="Trainings for each mode, of which the best is kept. [default: 1]", group=o.ENGINE)] = 1,
    seed: Annotated[int, Parameter(help="Seed of the first. [default: 0]", group=o.ENGINE)] = 0,
    mode: Annotated[
        str, Parameter(help="causal, lookahead or both. [default: both]", group=o.LABELS)
    ] = "both",
    log_dir: Annotated[
        str | None,
        Parameter(help="Folder for checkpoints and logs. [default: beside --out]", group=o.OUTPUT),
    ] = None,
    resume: Annotated[
        bool, o.flag("Go on from the checkpoints in the log folder, as after a kill.", o.ENGINE)
    ] = False,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
) -> int:
    """Train the policy learned on recorded traces: one set of weights for all budgets and machines."""
    _check(minutes, steps, imitation, seeds, seed, mode, out)

    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.training.learned import Plan, train_learned

    wanted = make_settings(o.given(classes=classes)).classes
    plan = Plan(
        traces=tuple(traces), validation=tuple(judge or ()), classes=wanted, minutes=minutes, steps=steps, imitation=imitation,
        seeds=seeds, seed=seed, modes=("causal", "lookahead") if mode == "both" else (mode,),
    )  # fmt: skip
    train_learned(plan, out, log_dir, resume, None if quiet else _tell)
    print(f"weights in {out}")
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _check(minutes: float, steps: int, imitation: int, seeds: int, seed: int, mode: str, out: str) -> None:
    if not 0 < minutes <= 1440:
        raise UsageError(f"--minutes: give more than 0 and at most 1440, not {minutes:g}")
    if not 1 <= steps <= 1_000_000:
        raise UsageError(f"--steps: give 1 to 1000000, not {steps}")
    if imitation < 0:
        raise UsageError(f"--imitation: give 0 or more, not {imitation}")
    if not 1 <= seeds <= 100:
        raise UsageError(f"--seeds: give 1 to 100, not {seeds}")
    if seed < 0:
        raise UsageError(f"--seed: give 0 or more, not {seed}")
    if mode not in ("causal", "lookahead", "both"):
        raise UsageError(f"--mode: write causal, lookahead or both, not {mode[:40]!r}")
    if not out.endswith(".safetensors"):
        raise UsageError(f"--out: name a file that ends in .safetensors, not {out!r}")
