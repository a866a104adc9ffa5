"""Does a run land where it was asked to? The policy `learned`, held to an accuracy and to a cost, on clips of 500 frames
and more.

    python benchmarks/goals.py --write
"""

from __future__ import annotations

from dataclasses import replace

import common
from common import CLIPS, LONG, TRAFFIC, number

from everyframe.pipeline import evaluation
from everyframe.pipeline.settings import AUDIT, STEERED, Goal, LabelSettings, Mode

TARGET_F1, BUDGET_MS = 0.9, 4.0
MODES: tuple[Mode, ...] = ("causal", "lookahead")
NEAR_F1, NEAR_MS = 0.03, 0.1


def main() -> None:
    made = common.parser(__doc__ or "")
    common.add_clips(made, f"{len(LONG)} of the clips")
    options = made.parse_args()
    common.need_data()
    common.one_thread()
    settings = LabelSettings(classes=TRAFFIC, limit=options.limit, audit=AUDIT, model=common.model_of(options))
    lines = [
        line(name, replace(settings, mode=mode, goal=goal))
        for mode in MODES
        for goal in (Goal(target_f1=TARGET_F1), Goal(budget_ms=BUDGET_MS))
        for name in options.clip or LONG
    ]
    heads = ("mode", "clip", "asked", "f1_dense", "CPU ms", "off by", "within", "CNN")
    common.publish(f"goals {options.runtime} {options.precision}", common.markdown(heads, lines), options.write)


def line(name: str, settings: LabelSettings) -> tuple[str, ...]:
    goal = settings.goal
    common.tell(f"{name} {settings.mode} {goal}")
    (row,) = evaluation.evaluate(str(CLIPS[name].path), [STEERED], settings)
    assert row.cpu_ms_per_frame is not None
    if goal.target_f1 is not None:
        asked, off, near = f"F1 {goal.target_f1}", row.f1_dense - goal.target_f1, NEAR_F1
    else:
        assert goal.budget_ms is not None
        asked, off, near = f"{goal.budget_ms} ms", row.cpu_ms_per_frame / goal.budget_ms - 1, NEAR_MS
    shown = f"{off:+.3f}" if goal.target_f1 is not None else f"{off:+.0%}"
    return (
        settings.mode, name, asked, number(row.f1_dense), number(row.cpu_ms_per_frame, ".2f"), shown,
        "yes" if abs(off) <= near else "**no**", number(row.cnn_fraction, ".1%"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
