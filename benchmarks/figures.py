"""Which of the accuracy and speed targets are met, and what every clip gives.

Each figure comes from the evaluation that `everyframe evaluate` prints: policy and dense detector on the same decoded
clip, in one process, on one runtime. Results are kept in build/figures.jsonl: a run that was cut off goes on.
    python benchmarks/figures.py --write
    python benchmarks/figures.py --runtime auto --precision auto --write
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import common
from common import CLIPS, PERSON, TRAFFIC, TWELVE, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.settings import LabelSettings, Mode

Row = dict[str, Any]
Look = Callable[..., Row]


@dataclass(frozen=True, slots=True)
class Check:
    """A target. value, target: both sides. is_most: the value may not be above the target."""

    what: str
    value: float
    target: float
    is_most: bool = False

    @property
    def is_met(self) -> bool:
        return self.value <= self.target if self.is_most else self.value >= self.target

    def cells(self) -> tuple[str, ...]:
        sign = "≤" if self.is_most else "≥"
        return self.what, f"{self.value:.3f}", f"{sign} {self.target:.3f}", "yes" if self.is_met else "**no**"


class Figures:
    """Rows of evaluations, each measured once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._store = common.Store(common.ROOT / "build" / "figures.jsonl", options.again)

    def row(
        self,
        clip: str,
        policy: str,
        mode: Mode = "lookahead",
        classes: Sequence[str] = TRAFFIC,
        measure: bool = True,
    ) -> Row:
        """One policy on one clip."""
        options = self._options
        key = (clip, policy, mode, list(classes), options.runtime, options.precision, options.limit, measure)
        return self._store.get(key, lambda: self._make(clip, policy, mode, tuple(classes), measure))

    def _make(self, name: str, policy: str, mode: Mode, classes: tuple[str, ...], measure: bool) -> Row:
        common.tell(f"{name} {policy} {mode}")
        clip, options = CLIPS[name], self._options
        settings = LabelSettings(
            mode=mode, classes=classes, limit=options.limit, model=common.model_of(options)
        )
        truth = clip.truth_path if options.limit is None else None
        [row] = evaluation.evaluate(
            str(clip.path), [policy], settings, truth=truth, labelled=clip.labelled, measure=measure
        )
        return row.as_json()


def checks(look: Look, has_truth: bool) -> list[Check]:
    """Every target, with both sides."""
    made: list[Check] = []

    def add(what: str, value: float, target: float, is_most: bool = False) -> None:
        made.append(Check(what, value, target, is_most))

    ip = "pets_s2l1_ip"
    causal, ahead = (look(ip, "stride:10", mode, PERSON) for mode in ("causal", "lookahead"))
    add(f"{ip}, stride:10, person, causal: f1_dense", causal["f1_dense"], 0.92)
    add(f"{ip}, stride:10, person, causal: speedup", causal["speedup"], 6)
    add(f"{ip}, stride:10, person, lookahead: f1_dense", ahead["f1_dense"], 0.945)
    if has_truth:
        five = look(ip, "stride:5", "lookahead", PERSON)
        for what, row, slack in (
            ("stride:10, person, causal", causal, 0.06),
            ("stride:10, person, lookahead", ahead, 0.035),
            ("stride:5, person, lookahead", five, 0.01),
        ):
            target = row["dense_f1_truth"] - slack
            add(f"{ip}, {what}: f1_truth, against dense_f1_truth - {slack}", row["f1_truth"], target)
    add(f"{ip}, stride:20, lookahead: f1_dense", look(ip, "stride:20")["f1_dense"], 0.88)
    keys, linear = look(ip, "iframes"), look(ip, "peer:iframes-linear")
    add(f"{ip}, iframes, lookahead: f1_dense", keys["f1_dense"], 0.75)
    add(f"{ip}, iframes: decode_fraction", keys["decode_fraction"], 0.06, is_most=True)
    add(f"{ip}, iframes: f1_dense, against peer:iframes-linear", keys["f1_dense"], linear["f1_dense"])
    for mode in ("causal", "lookahead"):
        target = look(ip, "stride:10", mode)["f1_dense"] - 0.02
        value = look("pets_s2l1_b3", "stride:10", mode)["f1_dense"]
        add(f"pets_s2l1_b3, stride:10, {mode}: f1_dense, against pets_s2l1_ip - .02", value, target)
    for mode, target in (("causal", 0.85), ("lookahead", 0.91)):
        value = mean(look(clip, "stride:10", mode)["f1_dense"] for clip in TWELVE)
        add(f"mean of twelve clips, stride:10, {mode}: f1_dense", value, target)
    for clip, f1, speedup in (
        ("one_by_one_person", 0.93, 15),
        ("office_ip", 0.92, 12),
        ("parking", 0.88, 10),
    ):
        row = look(clip, "motion")
        add(f"{clip}, motion, lookahead: f1_dense", row["f1_dense"], f1)
        add(f"{clip}, motion, lookahead: speedup", row["speedup"], speedup)
    return made


COLUMNS = ("f1_dense", "f1_truth", "dense_f1_truth", "class_accuracy", "count_error", "delay_frames")


def table(rows: Sequence[Row]) -> str:
    """Rows of one policy and mode, a line for each clip, the mean below."""
    heads = ("clip", *COLUMNS, "CPU ms", "dense CPU ms", "speedup", "decoded", "CNN")
    lines = [
        (
            row["video"].removesuffix(".mp4"),
            *(number(row[column]) for column in COLUMNS),
            number(row["cpu_ms_per_frame"], ".2f"),
            number(row["dense_cpu_ms_per_frame"], ".2f"),
            number(row["speedup"], ".1f"),
            number(row["decode_fraction"], ".1%"),
            number(row["cnn_fraction"], ".1%"),
        )
        for row in rows
    ]
    average = number(mean(row["f1_dense"] for row in rows))
    return common.markdown(heads, [*lines, ("**mean**", average, *[""] * (len(heads) - 2))])


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--again", action="store_true", help="measure also what is known from an earlier run")
    made.add_argument("--only-checks", action="store_true", help="no tables for each clip")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    figures = Figures(options)
    suffix = f"{options.runtime} {options.precision}"
    found = checks(figures.row, has_truth=options.limit is None)
    heads = ("clip, policy: figure", "value", "must reach", "met")
    common.publish(f"targets {suffix}", common.markdown(heads, [c.cells() for c in found]), options.write)
    if options.only_checks:
        return
    clips = [name for name, clip in CLIPS.items() if clip.path.is_file()]
    parts = []
    for policy, mode in (("stride:10", "causal"), ("stride:10", "lookahead"), ("motion", "lookahead")):
        rows = [figures.row(clip, policy, mode) for clip in clips]
        parts.append(f"{policy}, {mode}\n\n{table(rows)}")
    every = [
        (mode, number(mean(figures.row(c, "stride:10", mode, (), measure=False)["f1_dense"] for c in TWELVE)))
        for mode in ("causal", "lookahead")
    ]
    parts.append(
        "All 80 classes, mean of twelve clips, stride:10\n\n" + common.markdown(("mode", "f1_dense"), every)
    )
    common.publish(f"clips {suffix}", "\n\n".join(parts), options.write)


if __name__ == "__main__":
    main()
