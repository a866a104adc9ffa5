"""The policy `learned` trained from traces: tables, trainings one after the other, the best one's weights with their curve."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from everyframe.pipeline.errors import SinkError, UsageError
from everyframe.pipeline.settings import Mode
from everyframe.pipeline.traces.format import SUFFIX
from everyframe.pipeline.traces.store import table_of
from everyframe.pipeline.training.curves import with_curve
from everyframe.policies.brain import Brain, save
from everyframe.policies.simulation.table import ClipTable
from everyframe.policies.train import Settings, Trainer
from everyframe.policies.training.judge import Judge

Told = Callable[[str], None]
STEPS = Settings().estimation
JUDGED = 40
"""Steps from one judgement to the next."""


@dataclass(frozen=True, slots=True)
class Plan:
    """traces: to train on; validation: to choose by, empty for every fifth of traces. classes: counted, empty for all.
    weights: pattern of names (as of files in a shell) and share: how likely a clip that fits is drawn, beside 1 for those
    that fit none; of several patterns that fit their product. minutes: wall time of all trainings, after which what is best
    is taken: give more than they need, or the weights depend on the clock. steps: of the fit. imitation: steps that imitate
    the optimum in hindsight, in its place. reinforcement: steps after either, in which the gate learns to put streams to
    sleep. modes: "causal", "lookahead"."""

    traces: tuple[str, ...]
    validation: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()
    minutes: float = 60.0
    steps: int = STEPS
    imitation: int = 0
    reinforcement: int = 0
    seeds: int = 5
    seed: int = 0
    modes: tuple[Mode, ...] = ("causal", "lookahead")


def train_learned(plan: Plan, out: str, log_dir: str | None, resume: bool, told: Told | None = None) -> dict[str, Any]:
    """Writes the weights to `out`, checkpoints and logs to log_dir (a folder beside it if None); returns what is written
    into them of each training. Raises SourceError: no usable trace; UsageError: too few, another training's checkpoint;
    SinkError."""
    import torch

    torch.set_num_threads(1)
    tell = told or (lambda text: None)
    folder = Path(log_dir) if log_dir is not None else Path(f"{out}.training")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SinkError(f"Cannot make the folder {folder}: {e.strerror or e}; name another with --log-dir.") from e
    clips, judged = _tables(plan, tell)
    weights = clip_weights([t.name for t in clips], plan.weights)
    share = plan.minutes * 60 / (len(plan.modes) * plan.seeds)
    brains: dict[str, Brain] = {}
    about: dict[str, Any] = {"plan": asdict(plan), "clips": dict(zip((t.name for t in clips), weights, strict=True)), "trainings": []}
    for mode in plan.modes:
        tell(f"{mode}: strides and optimum of {len(judged)} validation clips")
        judge = Judge(judged, mode == "lookahead")
        best = float("inf")
        for seed in range(plan.seed, plan.seed + plan.seeds):
            settings = _settings(plan, mode == "lookahead", seed)
            trainer, brain = _train_one(clips, weights, judge, settings, folder, resume, share, tell)
            score = trainer.state.best_score
            about["trainings"].append({"mode": mode, "seed": seed, "ratio": score, "history": trainer.state.history})
            if mode not in brains or score < best:
                best, brains[mode] = score, brain
    for mode in plan.modes:
        tell(f"{mode}: what prices come to")
        brains[mode] = with_curve(brains[mode], plan.validation or plan.traces[4::5], mode, plan.classes, folder)
    try:
        save(brains, out, about)
    except OSError as e:
        raise SinkError(f"Cannot write {out}: {e.strerror or e}; name a file that can be written with --out.") from e
    return about


def clip_weights(names: Sequence[str], wanted: Sequence[tuple[str, float]]) -> tuple[float, ...]:
    """How likely each clip is drawn, beside 1. Raises UsageError: a pattern that fits none."""
    for pattern, _ in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"--weight {pattern}: no trace to train on has that name; they are {', '.join(names[:20])}.")
    return tuple(math.prod(share for pattern, share in wanted if fnmatchcase(name, pattern)) for name in names)


def _settings(plan: Plan, lookahead: bool, seed: int) -> Settings:
    fit = 0 if plan.imitation else plan.steps
    total = fit + plan.imitation + plan.reinforcement
    return Settings(
        lookahead, total, fit, plan.imitation, sleeps=total > fit, judge_every=min(JUDGED, total), seed=seed
    )


def _tables(plan: Plan, tell: Told) -> tuple[list[ClipTable], list[ClipTable]]:
    chosen = plan.traces[4::5] if not plan.validation else ()
    both_sides = "lookahead" in plan.modes
    clips: list[ClipTable] = []
    judged: list[ClipTable] = []
    for path in (*plan.traces, *plan.validation):
        table = replace(table_of(path, plan.classes, both_sides=both_sides), name=Path(path).name.removesuffix(SUFFIX))
        tell(f"{table.name}: {len(table)} frames")
        (judged if path in plan.validation or path in chosen else clips).append(table)
    if not clips or not judged:
        raise UsageError("Training needs traces of several cameras: five, or one and another with --validation.")
    return clips, judged


def _train_one(
    clips: Sequence[ClipTable], weights: Sequence[float], judge: Judge, settings: Settings, folder: Path, resume: bool,
    seconds: float, tell: Told,
) -> tuple[Trainer, Brain]:
    name = f"{'lookahead' if settings.lookahead else 'causal'}-{settings.seed}"
    trainer = Trainer(clips, judge, settings, weights)
    checkpoint = folder / f"{name}.ckpt"
    if resume:
        try:
            if trainer.resume(checkpoint):
                tell(f"{name}: goes on after step {trainer.state.step}")
        except ValueError as e:
            raise UsageError(str(e)) from e
    else:
        checkpoint.unlink(missing_ok=True)
    log = _Log(folder, name, tell)
    brain = trainer.run(time.monotonic() + seconds, log, checkpoint)
    log.close()
    return trainer, brain


class _Log:
    """JSON lines, and TensorBoard where it is installed."""

    def __init__(self, folder: Path, name: str, tell: Told) -> None:
        self._path = folder / f"{name}.jsonl"
        self._name, self._tell = name, tell
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(folder / name))

    def __call__(self, news: Mapping[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(news) + "\n")
        shown = ", ".join(f"{key} {value:.3f}" for key, value in news.items() if isinstance(value, float))
        self._tell(f"{self._name}: step {news['step']}, {shown}")
        if self._board is not None:
            for key, value in news.items():
                if isinstance(value, float):
                    self._board.add_scalar(key, value, news["step"])

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

