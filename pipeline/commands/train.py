"""`everyframe train`: the policy `learned` from recorded traces."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError
from everyframe.policies.base import Mode

MODES: tuple[Mode, ...] = ("causal", "lookahead")


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
    weight: Annotated[
        list[str] | None,
        Parameter(
            help="PATTERN=SHARE: how likely traces of such names are drawn, beside 1, as in '*_copy=0.5'; may be repeated.",
            group=o.LABELS,
            negative=(),
        ),
    ] = None,
    minutes: Annotated[
        float, Parameter(help="Most wall time of all trainings together, tables not counted. [default: 60]", group=o.ENGINE)
    ] = 60.0,
    steps: Annotated[int, Parameter(help="Gradient steps of each fit. [default: 200]", group=o.ENGINE)] = 200,
    imitation: Annotated[
        int, Parameter(help="Steps that imitate the optimum in hindsight, in place of the fit. [default: 0]", group=o.ENGINE)
    ] = 0,
    reinforcement: Annotated[
        int, Parameter(help="Further steps, in which the gate learns to sleep. [default: 0]", group=o.ENGINE)
    ] = 0,
    seeds: Annotated[int, Parameter(help="Trainings for each mode, of which the best is kept. [default: 5]", group=o.ENGINE)] = 5,
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
    _check(minutes, steps, imitation, reinforcement, seeds, seed, mode, out)

    from everyframe.pipeline.config import make_settings
    from everyframe.pipeline.training.learned import Plan, train_learned

    wanted = make_settings(o.given(classes=classes)).classes
    plan = Plan(
        traces=tuple(traces), validation=tuple(judge or ()), classes=wanted,
        weights=tuple(_share(text) for text in weight or ()), minutes=minutes, steps=steps, imitation=imitation,
        reinforcement=reinforcement, seeds=seeds, seed=seed,
        modes=MODES if mode == "both" else tuple(m for m in MODES if m == mode),
    )  # fmt: skip
    train_learned(plan, out, log_dir, resume, None if quiet else _tell)
    print(f"weights in {out}")
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _share(text: str) -> tuple[str, float]:
    pattern, _, share = text.rpartition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not pattern or not 0 < value <= 1000:
        raise UsageError(f"--weight: write PATTERN=SHARE with a share above 0, as in '*_copy=0.5', not {text[:60]!r}")
    return pattern, value


def _check(
    minutes: float, steps: int, imitation: int, reinforcement: int, seeds: int, seed: int, mode: str, out: str
) -> None:
    if not 0 < minutes <= 1440:
        raise UsageError(f"--minutes: give more than 0 and at most 1440, not {minutes:g}")
    if not 1 <= steps <= 1_000_000:
        raise UsageError(f"--steps: give 1 to 1000000, not {steps}")
    for name, value in (("imitation", imitation), ("reinforcement", reinforcement)):
        if not 0 <= value <= 1_000_000:
            raise UsageError(f"--{name}: give 0 to 1000000, not {value}")
    if not 1 <= seeds <= 100:
        raise UsageError(f"--seeds: give 1 to 100, not {seeds}")
    if seed < 0:
        raise UsageError(f"--seed: give 0 or more, not {seed}")
    if mode not in ("causal", "lookahead", "both"):
        raise UsageError(f"--mode: write causal, lookahead or both, not {mode[:40]!r}")
    if not out.endswith(".safetensors"):
        raise UsageError(f"--out: name a file that ends in .safetensors, not {out!r}")
