"""What does looking between key frames bring in lookahead mode, and at what price? Both sides in one process for each clip.

Costs on the first clip are measured in two turns of all policies, and the least counts: others on the same machine make a turn
dearer, never cheaper. What is known of an earlier run of the same code is taken up again.

    python benchmarks/lattice.py --write
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import mean
from typing import Any

import common
from common import CLIPS, TRAFFIC, TWELVE, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.settings import LabelSettings

BASE = "stride:10"
POLICIES = (BASE, "lattice:16", "lattice:26")
MORE = ("lattice:18", "stride:26", "motion")
CHIEF = "pets_s2l1_ip"
TURNS = 2
Rows = Sequence[Mapping[str, Any]]


def measured(name: str, policies: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """One row for each policy, as JSON keeps them."""
    settings = LabelSettings(
        mode="lookahead", classes=TRAFFIC, limit=options.limit, model=common.model_of(options)
    )
    rows = evaluation.evaluate(str(CLIPS[name].path), policies, settings)
    return {"rows": [row.as_json() for row in rows]}


def least(turns: Sequence[Rows], index: int) -> float:
    """CPU ms of one policy. turns: the rows of all policies, once for each turn."""
    return min(rows[index]["cpu_ms_per_frame"] for rows in turns)


def cells(turns: Sequence[Rows], index: int) -> dict[str, float]:
    """The figures of one policy on one clip."""
    row, base = turns[0][index], turns[0][0]
    ms = least(turns, index)
    return {
        "f1": row["f1_dense"], "gain": row["f1_dense"] - base["f1_dense"], "ms": ms, "ratio": ms / least(turns, 0),
        "whole": row["cnn_fraction"], "part": row["partial_fraction"],
    }  # fmt: skip


def line(name: str, policy: str, found: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """A line of the table: means over the clips in `found`."""
    forms = {"f1": ".3f", "gain": "+.3f", "ms": ".2f", "ratio": ".2f", "whole": ".1%", "part": ".1%"}
    return name, policy, *(number(mean(each[key] for each in found), form) for key, form in forms.items())


def main() -> None:
    made = common.parser(__doc__ or "")
    made.add_argument("--again", action="store_true", help="measure also what is known from an earlier run")
    common.add_clips(made, "the twelve of the means")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    store = common.Store(common.ROOT / "build" / "lattice.jsonl", options.again)
    lines = []
    seen: dict[str, list[dict[str, float]]] = {policy: [] for policy in POLICIES}
    for name in options.clip or TWELVE:
        policies = (*POLICIES, *MORE) if name == CHIEF else POLICIES
        turns = []
        for turn in range(TURNS if name == CHIEF else 1):
            common.tell(f"{name}, turn {turn + 1}")
            key = (name, policies, turn, options.limit, options.runtime, options.precision)
            turns.append(store.get(key, partial(measured, name, policies, options))["rows"])
        for index, policy in enumerate(policies):
            found = cells(turns, index)
            lines.append(line(name, policy, [found]))
            if policy in seen:
                seen[policy].append(found)
    lines += [line("**mean**", policy, found) for policy, found in seen.items()]
    heads = ("clip", "policy", "f1_dense", f"over {BASE}", "CPU ms", f"cost, {BASE} = 1", "whole looks", "in part")
    common.publish("lattice", common.markdown(heads, lines), options.write)


if __name__ == "__main__":
    main()
