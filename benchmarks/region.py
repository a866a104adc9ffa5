"""What does the rung `region` bring, and at what price? Each policy against dense in one process, causal.

    python benchmarks/region.py --write
"""

from __future__ import annotations

from collections.abc import Callable

import common
from common import CLIPS, TRAFFIC, TWELVE, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.evaluation import Row
from everyframe.pipeline.settings import LabelSettings

POLICIES = ("stride:10", "region:10", "region", "motion")
MOVING = ("dashcam_day", "dashcam_dusk")


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, "the twelve, and two that move")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    settings = LabelSettings(
        mode="causal", classes=TRAFFIC, limit=options.limit, model=common.model_of(options)
    )
    found = {}
    for name in options.clip or (*TWELVE, *MOVING):
        common.tell(name)
        found[name] = evaluation.evaluate(str(CLIPS[name].path), POLICIES, settings)
    lines = [line(name, row, rows[0]) for name, rows in found.items() for row in rows]
    lines += [mean(k, [rows for name, rows in found.items() if name in TWELVE]) for k in range(len(POLICIES))]
    heads = ("clip", "policy", "f1_dense", "CPU ms", "against stride:10", "speedup", "whole looks", "in part")
    common.publish(f"region {options.runtime} {options.precision}", common.markdown(heads, lines), options.write)


def line(name: str, row: Row, base: Row) -> tuple[str, ...]:
    ratio = row.cpu_ms_per_frame / base.cpu_ms_per_frame if row.cpu_ms_per_frame and base.cpu_ms_per_frame else None
    return (
        name, row.policy, number(row.f1_dense), number(row.cpu_ms_per_frame, ".2f"), number(ratio, ".2f"),
        number(row.speedup, ".1f"), number(row.cnn_fraction, ".1%"), number(row.partial_fraction, ".1%"),
    )  # fmt: skip


def mean(k: int, clips: list[list[Row]]) -> tuple[str, ...]:
    """Of the k-th policy over the twelve clips, its cost against that of the first on each."""
    def of(value: Callable[[Row, Row], float]) -> float:
        return sum(value(rows[k], rows[0]) for rows in clips) / max(len(clips), 1)

    def ms(row: Row) -> float:
        return row.cpu_ms_per_frame or 0.0

    return (
        "mean of twelve", POLICIES[k], number(of(lambda row, _: row.f1_dense)), number(of(lambda row, _: ms(row)), ".2f"),
        number(of(lambda row, base: ms(row) / ms(base)), ".2f"), number(of(lambda row, _: row.speedup or 0.0), ".1f"),
        number(of(lambda row, _: row.cnn_fraction), ".1%"), number(of(lambda row, _: row.partial_fraction), ".1%"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
