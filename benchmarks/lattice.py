"""What does looking between key frames bring in lookahead mode, and at what price? Both sides in one process for each clip.

Costs are measured several times with the policies in turn; a ratio is the median over the turns. What is known of an
earlier run of the same code is taken up again.

    python benchmarks/lattice.py --write
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import mean, median
from typing import Any

import common
from common import CLIPS, TRAFFIC, TWELVE, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.settings import LabelSettings

BASE = "stride:10"
POLICIES = (BASE, "lattice:16", "lattice:26")
MORE = ("stride:26", "motion")
CHIEF = "pets_s2l1_ip"
TURNS = 3
Rows = Sequence[Mapping[str, Any]]


def measured(name: str, policies: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """One row for each policy, as JSON keeps them."""
    settings = LabelSettings(
        mode="lookahead", classes=TRAFFIC, limit=options.limit, model=common.model_of(options)
    )
    rows = evaluation.evaluate(str(CLIPS[name].path), policies, settings)
    return {"rows": [row.as_json() for row in rows]}


def line(name: str, turns: Sequence[Rows], index: int) -> tuple[str, ...]:
    """The cells of one policy. turns: the rows of all policies, once for each turn."""
    row = turns[0][index]
    ratio = median(rows[index]["cpu_ms_per_frame"] / rows[0]["cpu_ms_per_frame"] for rows in turns)
    return (
        name, row["policy"], number(row["f1_dense"]), number(row["f1_dense"] - turns[0][0]["f1_dense"], "+.3f"),
        number(median(rows[index]["cpu_ms_per_frame"] for rows in turns), ".2f"), number(ratio, ".2f"),
        number(row["cnn_fraction"], ".1%"), number(row["partial_fraction"], ".1%"),
    )  # fmt: skip


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--again", action="store_true", help="measure also what is known from an earlier run")
    common.add_clips(made, "the twelve of the means")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    store = common.Store(common.ROOT / "build" / "lattice.jsonl", options.again)
    lines, seen = [], []
    for name in options.clip or TWELVE:
        policies = (*POLICIES, *MORE) if name == CHIEF else POLICIES
        turns = []
        for turn in range(TURNS if name == CHIEF else 1):
            common.tell(f"{name}, turn {turn + 1}")
            key = (name, policies, turn, options.limit, options.runtime, options.precision)
            turns.append(store.get(key, partial(measured, name, policies, options))["rows"])
        seen.append(turns[0])
        lines += [line(name, turns, index) for index in range(len(policies))]
    for index, policy in enumerate(POLICIES):
        f1 = mean(rows[index]["f1_dense"] for rows in seen)
        gain = f1 - mean(rows[0]["f1_dense"] for rows in seen)
        ratio = mean(rows[index]["cpu_ms_per_frame"] / rows[0]["cpu_ms_per_frame"] for rows in seen)
        ms = mean(rows[index]["cpu_ms_per_frame"] for rows in seen)
        shares = (mean(rows[index][share] for rows in seen) for share in ("cnn_fraction", "partial_fraction"))
        cells = (number(f1), number(gain, "+.3f"), number(ms, ".2f"), number(ratio, ".2f"))
        lines.append(("**mean**", policy, *cells, *(number(share, ".1%") for share in shares)))
    heads = ("clip", "policy", "f1_dense", f"over {BASE}", "CPU ms", f"cost, {BASE} = 1", "whole looks", "in part")
    common.publish("lattice", common.markdown(heads, lines), options.write)


if __name__ == "__main__":
    main()
